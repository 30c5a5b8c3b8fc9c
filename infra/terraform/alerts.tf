# What wakes an operator. Each names the page, and the place in it, that says what to do.

resource "google_monitoring_notification_channel" "operators" {
  count = var.alert_email == "" ? 0 : 1

  display_name = "Waybill's operators"
  type         = "email"
  labels       = { email_address = var.alert_email }

  depends_on = [google_project_service.api]
}

# What could not be delivered in all its attempts.
resource "google_monitoring_alert_policy" "dead_letter" {
  for_each = local.dead_letters

  display_name          = "Waybill: messages in ${each.key}"
  combiner              = "OR"
  notification_channels = google_monitoring_notification_channel.operators[*].id

  conditions {
    display_name = "a message for five minutes"

    condition_threshold {
      filter          = "resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = \"${google_pubsub_subscription.dead_letter[each.key].name}\" AND metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "300s"

      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    content = "A function failed at every attempt. docs/operators/deploying.md, \"What goes wrong, and what then\": dead letter."
  }
}

# Nobody ticks: no export begins, and nothing that stalled is resumed. It is seen once the first tick has come.
resource "google_monitoring_alert_policy" "silent" {
  for_each = { for name, function in local.topic_functions : name => function if try(function.scheduled, false) }

  display_name          = "Waybill: ${each.key} is silent"
  combiner              = "OR"
  notification_channels = google_monitoring_notification_channel.operators[*].id

  conditions {
    display_name = "no success for ten minutes"

    condition_absent {
      filter   = "resource.type = \"cloud_run_revision\" AND resource.labels.service_name = \"${google_cloudfunctions2_function.own[each.key].name}\" AND metric.type = \"run.googleapis.com/request_count\" AND metric.labels.response_code_class = \"2xx\""
      duration = "600s"

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    content = "Look at the job of Cloud Scheduler, then at the function's log. docs/operators/operating.md, at its end."
  }
}

# The engine's line for each work that ended as failed, of any kind: shared/work/engine.py.
resource "google_logging_metric" "failed" {
  name        = "waybill-failed-work"
  description = "Works that failed, by kind"
  filter      = "resource.type=\"cloud_run_revision\" AND severity=ERROR AND jsonPayload.message=\"work failed\""

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"

    labels {
      key        = "kind"
      value_type = "STRING"
    }
  }

  label_extractors = { kind = "EXTRACT(jsonPayload.kind)" }

  depends_on = [google_project_service.api]
}

# One customer's bucket that refuses fails its run at each due time, and its owners are mailed. More than that is ours.
resource "google_monitoring_alert_policy" "failing" {
  display_name          = "Waybill: much fails"
  combiner              = "OR"
  notification_channels = google_monitoring_notification_channel.operators[*].id

  conditions {
    display_name = "more than five of a kind in an hour"

    condition_threshold {
      filter          = "resource.type = \"cloud_run_revision\" AND metric.type = \"logging.googleapis.com/user/${google_logging_metric.failed.name}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 5
      duration        = "0s"

      aggregations {
        alignment_period     = "3600s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
        group_by_fields      = ["metric.label.kind"]
      }
    }
  }

  documentation {
    content = "`python -m infra status` says which failed, and why. docs/operators/symptoms.md."
  }
}
