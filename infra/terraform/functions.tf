# The functions, each from the folder that `python -m infra.package` made for it.

data "archive_file" "source" {
  for_each = local.bundle.functions

  type             = "zip"
  source_dir       = "${path.module}/../../dist/${each.key}"
  output_path      = "${path.module}/../../dist/${each.key}.zip"
  output_file_mode = "0644"
}

resource "google_storage_bucket_object" "source" {
  for_each = local.bundle.functions

  bucket = google_storage_bucket.source.name
  # Named by what it holds: a function is deployed again exactly when its source changed.
  name   = "${each.key}/${data.archive_file.source[each.key].output_sha256}.zip"
  source = data.archive_file.source[each.key].output_path
}

resource "google_cloudfunctions2_function" "own" {
  for_each = local.bundle.functions

  # A Cloud Run service, which it becomes, can have no underscore in its name.
  # https://cloud.google.com/run/docs/reference/rest/v1/namespaces.services
  name        = replace(each.key, "_", "-")
  location    = var.region
  description = each.value.does

  build_config {
    runtime         = "python311"
    entry_point     = each.key
    service_account = google_service_account.build.id

    source {
      storage_source {
        bucket = google_storage_bucket.source.name
        object = google_storage_bucket_object.source[each.key].name
      }
    }
  }

  service_config {
    timeout_seconds                  = each.value.timeout
    available_memory                 = each.value.memory
    max_instance_request_concurrency = each.value.concurrency
    # More than one request at once needs a whole CPU; else Google takes what fits the memory.
    # https://cloud.google.com/functions/docs/configuring/concurrency
    available_cpu         = each.value.concurrency > 1 ? "1" : null
    service_account_email = google_service_account.own[each.value.account].email
    ingress_settings      = can(each.value.trigger.http) ? "ALLOW_INTERNAL_AND_GCLB" : "ALLOW_INTERNAL_ONLY"

    environment_variables = {
      # As many threads as requests: functions-framework takes four a processor unless it is told.
      # https://github.com/GoogleCloudPlatform/functions-framework-python
      THREADS                   = tostring(each.value.concurrency)
      GOOGLE_CLOUD_PROJECT      = var.project
      WAYBILL_URL               = "https://${var.domain}"
      WAYBILL_MAIL_FROM         = coalesce(var.mail_from, "waybill@${var.domain}")
      WAYBILL_SENDGRID_URL      = var.sendgrid_url
      WAYBILL_PRIVATE_ADDRESSES = var.private_addresses
      WAYBILL_REGION            = var.login_region
    }

    dynamic "secret_environment_variables" {
      for_each = toset(try(each.value.secrets, []))

      content {
        key        = secret_environment_variables.value
        project_id = var.project
        secret     = google_secret_manager_secret.own[secret_environment_variables.value].secret_id
        version    = "latest"
      }
    }
  }

  dynamic "event_trigger" {
    for_each = can(each.value.trigger.topic) ? [google_pubsub_topic.function[each.key].id] : []

    content {
      trigger_region        = var.region
      event_type            = "google.cloud.pubsub.topic.v1.messagePublished"
      pubsub_topic          = event_trigger.value
      retry_policy          = try(each.value.retry, false) ? "RETRY_POLICY_RETRY" : "RETRY_POLICY_DO_NOT_RETRY"
      service_account_email = google_service_account.own[each.value.account].email
    }
  }

  dynamic "event_trigger" {
    for_each = can(each.value.trigger.bucket) ? [google_storage_bucket.own[each.value.trigger.bucket]] : []

    content {
      # Where the bucket is, wherever the function runs.
      # https://cloud.google.com/functions/docs/calling/storage#trigger-location
      trigger_region        = lower(event_trigger.value.location)
      event_type            = "google.cloud.storage.object.v1.finalized"
      retry_policy          = try(each.value.retry, false) ? "RETRY_POLICY_RETRY" : "RETRY_POLICY_DO_NOT_RETRY"
      service_account_email = google_service_account.own[each.value.account].email

      event_filters {
        attribute = "bucket"
        value     = event_trigger.value.name
      }
    }
  }

  depends_on = [
    google_project_iam_member.build,
    google_project_iam_member.build_sources,
    google_project_iam_member.receives,
    google_project_iam_member.storage_publishes,
    google_secret_manager_secret_iam_member.own,
  ]
}

# Who may call: everyone where the bundle says public; of an event function its own account, as which its
# trigger delivers; else nobody, until someone is granted it.
resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = { for name, function in local.bundle.functions : name => function if !can(function.trigger.http) || try(function.public, false) }

  location = var.region
  name     = google_cloudfunctions2_function.own[each.key].name
  role     = "roles/run.invoker"
  member   = try(each.value.public, false) ? "allUsers" : google_service_account.own[each.value.account].member
}

# The token of a download's link stands in its path, and Cloud Run logs the URL of each request by itself; so would
# the load balancer, once its logs are turned on, and whoever is told where a caller came from. None of these is kept.
# An exclusion of a project is one of its sink _Default; other sinks need their own.
# https://cloud.google.com/logging/docs/reference/v2/rest/v2/projects.exclusions
resource "google_logging_project_exclusion" "links" {
  name        = "waybill-links"
  description = "Requests for downloads: their URLs hold a secret."
  filter      = "httpRequest.requestUrl:\"/downloads/\" OR httpRequest.referer:\"/downloads/\""

  depends_on = [google_project_service.api]
}

# One front door for all HTTP functions: the longest path prefix of whole segments decides, as locally.
# HTTPS only: a redirect from HTTP would turn a client's POST into a GET.

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

resource "google_compute_managed_ssl_certificate" "front_door" {
  name = "waybill"

  managed {
    domains = [var.domain]
  }

  depends_on = [google_project_service.api]
}

resource "google_compute_target_https_proxy" "front_door" {
  name             = "waybill"
  url_map          = google_compute_url_map.front_door.id
  ssl_certificates = [google_compute_managed_ssl_certificate.front_door.id]
}

resource "google_compute_global_address" "front_door" {
  name = "waybill"

  depends_on = [google_project_service.api]
}

resource "google_compute_global_forwarding_rule" "front_door" {
  name                  = "waybill"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.front_door.id
  port_range            = "443"
  target                = google_compute_target_https_proxy.front_door.id
}
