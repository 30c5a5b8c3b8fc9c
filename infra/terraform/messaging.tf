# A topic a function, and the topics where what cannot be delivered is kept.

resource "google_pubsub_topic" "function" {
  for_each = local.topic_functions

  name = each.value.trigger.topic

  depends_on = [google_project_service.api]
}

resource "google_pubsub_topic" "dead_letter" {
  for_each = local.dead_letters

  name = each.key

  depends_on = [google_project_service.api]
}

# A topic without a subscription loses what is published to it.
resource "google_pubsub_subscription" "dead_letter" {
  for_each = local.dead_letters

  name                       = each.key
  topic                      = google_pubsub_topic.dead_letter[each.key].id
  message_retention_duration = "604800s"

  expiration_policy {
    ttl = ""
  }
}

# What a bucket's objects are told by: Cloud Storage publishes, to a topic that Eventarc makes, and the trigger
# receives as the function's own account.
# https://cloud.google.com/eventarc/docs/run/route-trigger-cloud-storage#before-you-begin
data "google_storage_project_service_account" "this" {
  depends_on = [google_project_service.api]
}

resource "google_project_iam_member" "storage_publishes" {
  project = var.project
  role    = "roles/pubsub.publisher"
  member  = data.google_storage_project_service_account.this.member
}

resource "google_project_iam_member" "receives" {
  for_each = toset([for function in local.bundle.functions : function.account if can(function.trigger.bucket)])

  project = var.project
  role    = "roles/eventarc.eventReceiver"
  member  = google_service_account.own[each.key].member
}

# Pub/Sub itself moves a message over: it publishes to the dead-letter topic, and acknowledges on the
# subscription, whose name is Eventarc's and not known here; hence that role on the project.
# https://cloud.google.com/pubsub/docs/handling-failures#grant_forwarding_permissions
locals {
  pubsub_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_topic_iam_member" "dead_letter" {
  for_each = local.dead_letters

  topic  = google_pubsub_topic.dead_letter[each.key].id
  role   = "roles/pubsub.publisher"
  member = local.pubsub_agent
}

resource "google_project_iam_member" "dead_letter" {
  project = var.project
  role    = "roles/pubsub.subscriber"
  member  = local.pubsub_agent

  depends_on = [google_pubsub_topic.function]
}

# Eventarc makes a trigger's subscription itself, and neither google_cloudfunctions2_function nor
# google_eventarc_trigger can say what happens to what it cannot deliver; Google's documentation says to update
# the subscription afterwards. https://cloud.google.com/eventarc/docs/retry-events
# https://github.com/hashicorp/terraform-provider-google/issues/25069
# So this needs gcloud where Terraform runs. It is run again whenever the function is deployed again, since that
# may make the trigger anew; doing it twice is doing it once. Terraform sees no change that others make to it.
resource "terraform_data" "dead_letter" {
  for_each = { for name, function in local.event_functions : name => function if can(function.dead_letter) }

  triggers_replace = [
    google_cloudfunctions2_function.own[each.key].event_trigger[0].trigger,
    google_storage_bucket_object.source[each.key].name,
    google_pubsub_topic.dead_letter[each.value.dead_letter].id,
    each.value.attempts,
    each.value.timeout,
  ]

  provisioner "local-exec" {
    interpreter = ["bash", "-ceu"]
    command     = <<-EOT
      subscription=$(gcloud eventarc triggers describe "$TRIGGER" --format='value(transport.pubsub.subscription)')
      test -n "$subscription"
      gcloud pubsub subscriptions update "$subscription" --quiet \
        --dead-letter-topic="$TOPIC" --max-delivery-attempts="$ATTEMPTS" --ack-deadline="$DEADLINE"
    EOT

    environment = {
      TRIGGER  = google_cloudfunctions2_function.own[each.key].event_trigger[0].trigger
      TOPIC    = google_pubsub_topic.dead_letter[each.value.dead_letter].id
      ATTEMPTS = each.value.attempts
      # Delivered again while its first attempt still runs, a message would use up its attempts unheard.
      DEADLINE = max(10, each.value.timeout)
    }
  }

  depends_on = [google_pubsub_topic_iam_member.dead_letter, google_project_iam_member.dead_letter]
}
