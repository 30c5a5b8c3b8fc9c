# A certificate for each host name, proved by a record in the DNS: so it is issued before any client is sent here, and a
# wildcard, which reaches one label deep and so no `api.<site>.<domain>`, is not needed.
# https://cloud.google.com/certificate-manager/docs/domain-authorization#dns-auth

locals {
  # A name of Google's for each host. What is made for one is never changed into another's, so `domain` can change.
  hosts = { for host in setunion([var.domain], var.other_hosts) : host => "waybill-${substr(sha256(host), 0, 12)}" }
}

resource "google_certificate_manager_dns_authorization" "host" {
  for_each = local.hosts

  name   = each.value
  domain = each.key

  depends_on = [google_project_service.api]
}

resource "google_certificate_manager_certificate" "host" {
  for_each = local.hosts

  name = each.value

  managed {
    domains            = [each.key]
    dns_authorizations = [google_certificate_manager_dns_authorization.host[each.key].id]
  }
}

resource "google_certificate_manager_certificate_map" "front_door" {
  name = "waybill"

  depends_on = [google_project_service.api]
}

resource "google_certificate_manager_certificate_map_entry" "host" {
  for_each = local.hosts

  name         = each.value
  map          = google_certificate_manager_certificate_map.front_door.name
  hostname     = each.key
  certificates = [google_certificate_manager_certificate.host[each.key].id]
}
