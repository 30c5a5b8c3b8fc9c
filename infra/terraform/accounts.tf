# Who the functions run as, and what each may do.

resource "google_service_account" "own" {
  for_each = local.bundle.accounts

  account_id   = each.key
  display_name = each.key

  depends_on = [google_project_service.api]
}

resource "google_project_iam_member" "firestore" {
  for_each = { for name, account in local.bundle.accounts : name => account if account.firestore }

  project = var.project
  role    = "roles/datastore.user"
  member  = google_service_account.own[each.key].member
}

# To the topics that the bundle names, and to no other.
resource "google_pubsub_topic_iam_member" "publishes" {
  for_each = merge([
    for name, account in local.bundle.accounts : {
      for topic in account.publishes : "${name} ${topic}" => { account = name, topic = topic }
    }
  ]...)

  topic  = google_pubsub_topic.function[each.value.topic].id
  role   = "roles/pubsub.publisher"
  member = google_service_account.own[each.value.account].member
}

# Where Google's own roles would permit more.
resource "google_project_iam_custom_role" "own" {
  for_each = local.bundle.roles

  role_id     = each.key
  title       = each.key
  permissions = each.value

  depends_on = [google_project_service.api]
}

# A customer's own account: what touches their bucket is done as it, and they grant it what it may do there.
# Nothing here grants anything in a customer's bucket.
resource "google_service_account" "customer" {
  for_each = var.customers

  account_id   = "customer-${each.value}-data-export"
  display_name = "Data export of ${each.key}"

  depends_on = [google_project_service.api]

  lifecycle {
    # An account made again under the same name is another one: what the customer granted would be lost.
    prevent_destroy = true
  }
}

resource "google_service_account_iam_member" "impersonates" {
  for_each = {
    for pair in setproduct([for name, account in local.bundle.accounts : name if account.impersonates], keys(var.customers)) :
    "${pair[0]} as ${pair[1]}" => { account = pair[0], customer = pair[1] }
  }

  service_account_id = google_service_account.customer[each.value.customer].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = google_service_account.own[each.value.account].member
}

# Who signs URLs: the account has IAM do it, in its own name.
# https://cloud.google.com/storage/docs/access-control/signing-urls-with-helpers#required-roles
resource "google_service_account_iam_member" "signs" {
  for_each = { for name, account in local.bundle.accounts : name => account if try(account.signs, false) }

  service_account_id = google_service_account.own[each.key].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = google_service_account.own[each.key].member
}

# Who builds the functions' images. New projects give the default account no right to.
# https://cloud.google.com/functions/docs/securing/build-custom-sa
resource "google_service_account" "build" {
  account_id   = "waybill-build"
  display_name = "Builds the functions"

  depends_on = [google_project_service.api]
}

resource "google_project_iam_member" "build" {
  for_each = toset(["roles/artifactregistry.writer", "roles/logging.logWriter"])

  project = var.project
  role    = each.key
  member  = google_service_account.build.member
}

# Only where functions' sources are: the photographs are in this project too.
resource "google_project_iam_member" "build_sources" {
  project = var.project
  role    = "roles/storage.objectViewer"
  member  = google_service_account.build.member

  condition {
    title      = "sources of functions"
    expression = "resource.name.startsWith(\"projects/_/buckets/gcf-v2-\") || resource.name.startsWith(\"projects/_/buckets/${google_storage_bucket.source.name}\")"
  }
}

locals {
  # Our own, the one that builds, and one for each customer.
  service_accounts_left = var.service_accounts - length(local.bundle.accounts) - 1 - length(var.customers)
}
