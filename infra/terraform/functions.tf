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

    # The build compiles our code, and the image forgets when its files were changed: compiled code that is
    # known by that time would be stale, and be compiled again at each cold start. With this variable Python
    # knows it by a hash of its source. What it is set to does not matter.
    # https://docs.python.org/3.11/library/py_compile.html#py_compile.PycInvalidationMode
    environment_variables = { SOURCE_DATE_EPOCH = "315532801" }

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
    max_instance_count    = each.value.instances.most
    service_account_email = google_service_account.own[each.value.account].email
    # What customers' servers see, and which private networks it reaches: network.tf.
    vpc_connector                 = local.egress && try(each.value.calls_customers, false) ? google_vpc_access_connector.egress[0].id : null
    vpc_connector_egress_settings = local.egress && try(each.value.calls_customers, false) ? "ALL_TRAFFIC" : null
    ingress_settings              = can(each.value.trigger.http) ? "ALLOW_INTERNAL_AND_GCLB" : "ALLOW_INTERNAL_ONLY"

    environment_variables = {
      # As many threads as requests: functions-framework takes four a processor unless it is told.
      # https://github.com/GoogleCloudPlatform/functions-framework-python
      THREADS                   = tostring(each.value.concurrency)
      GOOGLE_CLOUD_PROJECT      = var.project
      WAYBILL_URL               = "https://${var.domain}"
      WAYBILL_MAIL_FROM         = coalesce(var.mail_from, "waybill@${var.domain}")
      WAYBILL_SENDGRID_URL      = var.sendgrid_url
      WAYBILL_REGION            = var.login_region
    }

    dynamic "secret_environment_variables" {
      for_each = toset(try(each.value.secrets, []))

      content {
        key        = secret_environment_variables.value
        project_id = var.project
        secret     = local.secret_ids[secret_environment_variables.value]
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
  for_each = {
    for name, function in local.bundle.functions : name => function
    if !can(function.trigger.http) || (try(function.public, false) && !var.all_users_refused)
  }

  location = var.region
  name     = google_cloudfunctions2_function.own[each.key].name
  role     = "roles/run.invoker"
  member   = try(each.value.public, false) ? "allUsers" : google_service_account.own[each.value.account].member
}

# An organisation that shares with its own domains alone refuses `allUsers`. There Cloud Run does not ask who calls a
# public function; its ingress still takes calls from the load balancer only. Neither the functions' API nor the provider
# can say so, hence gcloud; and since the functions' API may deploy the service without it, after each change of it.
# https://cloud.google.com/run/docs/authenticating/public#invoker_check
# https://github.com/hashicorp/terraform-provider-google/issues/23360
resource "terraform_data" "public" {
  for_each = {
    for name, function in local.http_functions : name => function
    if try(function.public, false) && var.all_users_refused
  }

  input = {
    service = google_cloudfunctions2_function.own[each.key].name
    region  = var.region
  }

  provisioner "local-exec" {
    interpreter = ["bash", "-ceu"]
    command     = "gcloud run services update \"$SERVICE\" --region=\"$REGION\" --no-invoker-iam-check --quiet"

    environment = {
      SERVICE = self.input.service
      REGION  = self.input.region
    }
  }

  lifecycle {
    replace_triggered_by = [google_cloudfunctions2_function.own[each.key]]
  }
}

# The token of a download's link stands in its path, and Cloud Run logs the URL of each request by itself; so would
# the load balancer, if its logs were turned on, and whoever is told where a caller came from. None of these is kept.
# An exclusion of a project is one of its sink _Default; other sinks need their own.
# https://cloud.google.com/logging/docs/reference/v2/rest/v2/projects.exclusions
resource "google_logging_project_exclusion" "links" {
  name        = "waybill-links"
  description = "Requests for downloads: their URLs hold a secret."
  filter      = "httpRequest.requestUrl:\"/downloads/\" OR httpRequest.referer:\"/downloads/\""

  depends_on = [google_project_service.api]
}
