# Our buckets, named as shared/settings.py names them.

locals {
  # In the functions' own region nothing is paid for reading between the two, and each byte is stored once: of two
  # regions' storage, replication and traffic a bill was 73 %. https://cloud.google.com/storage/pricing
  bucket_location = coalesce(var.bucket_location, var.region)
}

resource "google_storage_bucket" "own" {
  for_each = local.bundle.buckets

  name                        = "${var.project}-${each.key}"
  location                    = local.bucket_location
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  # Objects are named once and never overwritten: versions and deleted copies would only be paid for.
  versioning {
    enabled = false
  }
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  dynamic "lifecycle_rule" {
    for_each = can(each.value.days) ? [each.value.days] : []

    content {
      action {
        type = "Delete"
      }
      condition {
        age = lifecycle_rule.value
      }
    }
  }

  dynamic "lifecycle_rule" {
    for_each = can(each.value.nearline_after) ? [each.value.nearline_after] : []

    content {
      action {
        type          = "SetStorageClass"
        storage_class = "NEARLINE"
      }
      condition {
        age                   = lifecycle_rule.value
        matches_storage_class = ["STANDARD"]
      }
    }
  }

  # Pages of our own site alone. https://cloud.google.com/storage/docs/cross-origin
  dynamic "cors" {
    for_each = can(each.value.cors) ? [each.value.cors] : []

    content {
      origin          = ["https://${var.domain}"]
      method          = cors.value.methods
      response_header = cors.value.headers
      max_age_seconds = cors.value.seconds
    }
  }

  depends_on = [google_project_service.api]

  lifecycle {
    # A bucket whose location changes is another bucket: what it holds would be lost.
    prevent_destroy = true
  }
}

resource "google_storage_bucket_iam_member" "own" {
  for_each = merge([
    for name, account in local.bundle.accounts : merge([
      for bucket, roles in account.storage : {
        for role in roles : "${name} ${role} ${bucket}" => { account = name, bucket = bucket, role = role }
      }
    ]...)
  ]...)

  bucket = google_storage_bucket.own[each.value.bucket].name
  role   = startswith(each.value.role, "roles/") ? each.value.role : google_project_iam_custom_role.own[each.value.role].name
  member = google_service_account.own[each.value.account].member
}

# What each customer's account may read on our side: its own folder. By managed folders and not by conditions on
# the bucket's policy, which holds 1,500 principals. https://cloud.google.com/storage/docs/managed-folders
resource "google_storage_managed_folder" "customer" {
  for_each = {
    for pair in setproduct(keys(local.bundle.customer_folders), keys(var.customers)) :
    "${pair[0]}/${pair[1]}" => { bucket = pair[0], customer = pair[1] }
  }

  bucket = google_storage_bucket.own[each.value.bucket].name
  name   = "${each.value.customer}/"
}

resource "google_storage_managed_folder_iam_member" "customer" {
  for_each = merge([
    for key, folder in google_storage_managed_folder.customer : {
      for role in local.bundle.customer_folders[split("/", key)[0]] :
      "${key} ${role}" => { folder = key, customer = split("/", key)[1], role = role }
    }
  ]...)

  bucket         = google_storage_managed_folder.customer[each.value.folder].bucket
  managed_folder = google_storage_managed_folder.customer[each.value.folder].name
  role           = each.value.role
  member         = google_service_account.customer[each.value.customer].member
}

# Where the functions' sources are uploaded to, each version under its own name.
resource "google_storage_bucket" "source" {
  name                        = "${var.project}-function-source"
  location                    = local.bucket_location
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  depends_on = [google_project_service.api]
}
