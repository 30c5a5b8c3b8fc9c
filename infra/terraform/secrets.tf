# Secrets that functions get in their environment. Whoever deploys makes them, with their first version, before the first
# deployment: a function cannot be deployed before. So Terraform's state holds none, and Terraform can destroy none.

locals {
  secret_ids = { for variable in local.secrets : variable => replace(lower(variable), "_", "-") }
}

resource "google_secret_manager_secret_iam_member" "own" {
  for_each = merge([
    for function in local.bundle.functions : {
      for secret in try(function.secrets, []) : "${function.account} ${secret}" => { account = function.account, secret = secret }
    }
  ]...)

  secret_id = local.secret_ids[each.value.secret]
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.own[each.value.account].member

  depends_on = [google_project_service.api]
}

# Terraform once made them. What was encrypted with one could never be read again without it.
removed {
  from = google_secret_manager_secret.own

  lifecycle {
    destroy = false
  }
}
