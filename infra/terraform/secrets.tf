# Secrets that functions get in their environment. Only who deploys knows their values: Terraform's state holds none.

resource "google_secret_manager_secret" "own" {
  for_each = local.secrets

  secret_id = replace(lower(each.key), "_", "-")

  replication {
    auto {}
  }

  depends_on = [google_project_service.api]

  lifecycle {
    # What was encrypted with it could never be read again.
    prevent_destroy = true
  }
}

resource "google_secret_manager_secret_iam_member" "own" {
  for_each = merge([
    for function in local.bundle.functions : {
      for secret in try(function.secrets, []) : "${function.account} ${secret}" => { account = function.account, secret = secret }
    }
  ]...)

  secret_id = google_secret_manager_secret.own[each.value.secret].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.own[each.value.account].member
}
