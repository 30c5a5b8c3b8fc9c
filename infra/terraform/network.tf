# The way out of the functions that call what customers name: through a network of ours, to the internet from one fixed
# address, and to the private networks that are joined to it. Nothing of this is made until `egress_range` is given.
# https://cloud.google.com/functions/docs/networking/network-settings#associate-static-ip

locals {
  egress         = var.egress_range != ""
  egress_network = local.egress ? coalesce(var.egress_network, try(google_compute_network.egress[0].id, null)) : null
}

resource "google_compute_network" "egress" {
  count = local.egress && var.egress_network == "" ? 1 : 0

  name                    = "waybill"
  auto_create_subnetworks = false

  depends_on = [google_project_service.api]
}

# All that these functions send goes this way, calls to Google's own APIs too.
resource "google_compute_subnetwork" "egress" {
  count = local.egress ? 1 : 0

  name                     = "waybill-egress"
  region                   = var.region
  network                  = local.egress_network
  ip_cidr_range            = var.egress_range
  private_ip_google_access = true
}

resource "google_vpc_access_connector" "egress" {
  count = local.egress ? 1 : 0

  name   = "waybill"
  region = var.region

  subnet {
    name = google_compute_subnetwork.egress[0].name
  }

  machine_type  = "e2-micro"
  min_instances = 2
  max_instances = local.connector_instances

  depends_on = [google_project_service.api]
}

resource "google_compute_address" "egress" {
  count = local.egress ? 1 : 0

  name   = "waybill-egress"
  region = var.region

  depends_on = [google_project_service.api]

  lifecycle {
    # Customers' firewalls have it in their lists.
    prevent_destroy = true
  }
}

resource "google_compute_router" "egress" {
  count = local.egress ? 1 : 0

  name    = "waybill-egress"
  region  = var.region
  network = local.egress_network
}

locals {
  # A connector grows and never shrinks; more than ten machines Google does not give.
  connector_instances = 10
}

resource "google_compute_router_nat" "egress" {
  count = local.egress ? 1 : 0

  name                               = "waybill-egress"
  router                             = google_compute_router.egress[0].name
  region                             = var.region
  nat_ip_allocate_option             = "MANUAL_ONLY"
  nat_ips                            = [google_compute_address.egress[0].self_link]
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"

  # One address has 64,512 ports, and each machine of the connector its share: ten times this fits. Google's default, 64,
  # is how many connections a machine could have to one server. https://cloud.google.com/nat/docs/ports-and-addresses
  min_ports_per_vm = 4096

  subnetwork {
    name                    = google_compute_subnetwork.egress[0].id
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }
}
