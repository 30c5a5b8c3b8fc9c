# One front door for all HTTP functions: the longest path prefix of whole segments decides, as locally.

resource "google_compute_region_network_endpoint_group" "http" {
  for_each = local.http_functions

  name                  = google_cloudfunctions2_function.own[each.key].name
  region                = var.region
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = google_cloudfunctions2_function.own[each.key].name
  }
}

resource "google_compute_backend_service" "http" {
  for_each = local.http_functions

  name                  = google_cloudfunctions2_function.own[each.key].name
  load_balancing_scheme = "EXTERNAL_MANAGED"
  security_policy       = google_compute_security_policy.front_door.id

  # For a year a browser that was here comes by HTTPS alone. https://www.rfc-editor.org/rfc/rfc6797
  custom_response_headers = ["Strict-Transport-Security: max-age=31536000"]

  # Cloud Run logs each request already; a second log would hold the tokens of links once more.
  log_config {
    enable = false
  }

  backend {
    group = google_compute_region_network_endpoint_group.http[each.key].id
  }
}

resource "google_compute_url_map" "front_door" {
  name = "waybill"
  # A URL map must end somewhere: what no function serves goes to the first, which answers that it is not there.
  default_service = values(google_compute_backend_service.http)[0].id

  host_rule {
    hosts        = ["*"]
    path_matcher = "functions"
  }

  path_matcher {
    name            = "functions"
    default_service = values(google_compute_backend_service.http)[0].id

    dynamic "path_rule" {
      for_each = local.http_functions

      content {
        # Twice: where the endpoint that a client was given ended in a slash, its paths begin with two.
        paths = flatten([
          for prefix in path_rule.value.trigger.http :
          prefix == "/" ? ["/", "//"] : [prefix, "${prefix}/*", "/${prefix}", "/${prefix}/*"]
        ])
        service = google_compute_backend_service.http[path_rule.key].id
      }
    }
  }
}

# What one address may ask of all functions together. It keeps a flood from being paid for; how much a customer may ask is
# the functions' own affair. A minute's figure, since clients come in bursts; several people share an office's address.
resource "google_compute_security_policy" "front_door" {
  name        = "waybill"
  description = "The rate of one address"

  rule {
    description = "3,000 requests a minute from one address"
    action      = "throttle"
    priority    = 1000

    match {
      versioned_expr = "SRC_IPS_V1"

      config {
        src_ip_ranges = ["*"]
      }
    }

    rate_limit_options {
      enforce_on_key = "IP"
      conform_action = "allow"
      exceed_action  = "deny(429)"

      rate_limit_threshold {
        count        = 3000
        interval_sec = 60
      }
    }
  }

  # A policy must have a rule of this priority.
  rule {
    description = "everything else"
    action      = "allow"
    priority    = 2147483647

    match {
      versioned_expr = "SRC_IPS_V1"

      config {
        src_ip_ranges = ["*"]
      }
    }
  }

  depends_on = [google_project_service.api]
}

# TLS 1.2 and 1.3, with the ciphers that keep what was recorded secret when a key is lost.
# https://cloud.google.com/load-balancing/docs/ssl-policies-concepts
resource "google_compute_ssl_policy" "front_door" {
  name            = "waybill"
  profile         = "MODERN"
  min_tls_version = "TLS_1_2"

  depends_on = [google_project_service.api]
}

resource "google_compute_target_https_proxy" "front_door" {
  name            = "waybill"
  url_map         = google_compute_url_map.front_door.id
  certificate_map = "//certificatemanager.googleapis.com/${google_certificate_manager_certificate_map.front_door.id}"
  ssl_policy      = google_compute_ssl_policy.front_door.id
}

resource "google_compute_global_address" "front_door" {
  name = "waybill"

  depends_on = [google_project_service.api]
}

# There is no port 80. A redirect from it would let a client whose URL begins with http:// send its key in clear
# each time, and seem to work.
resource "google_compute_global_forwarding_rule" "front_door" {
  name                  = "waybill"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.front_door.id
  port_range            = "443"
  target                = google_compute_target_https_proxy.front_door.id
}
