# Waybill in a Google Cloud project. What there is to make is read from infra/bundle.yaml, which the local suite
# reads too; these files say only how Google Cloud makes it.

terraform {
  required_version = "~> 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "6.39.0"
    }
    archive = {
      source  = "hashicorp/archive"
      version = "2.7.0"
    }
  }

  # The bucket is named by `terraform init -backend-config=bucket=...`.
  backend "gcs" {
    prefix = "waybill"
  }
}

provider "google" {
  project = var.project
  region  = var.region
}

data "google_project" "this" {}

locals {
  bundle = yamldecode(file("${path.module}/../bundle.yaml"))

  http_functions  = { for name, function in local.bundle.functions : name => function if can(function.trigger.http) }
  topic_functions = { for name, function in local.bundle.functions : name => function if can(function.trigger.topic) }
  event_functions = { for name, function in local.bundle.functions : name => function if !can(function.trigger.http) }

  secrets      = toset(flatten([for function in local.bundle.functions : try(function.secrets, [])]))
  dead_letters = toset([for function in local.bundle.functions : function.dead_letter if can(function.dead_letter)])
}

resource "google_project_service" "api" {
  for_each = toset([
    "artifactregistry.googleapis.com",
    "certificatemanager.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudfunctions.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "cloudscheduler.googleapis.com",
    "compute.googleapis.com",
    "eventarc.googleapis.com",
    "firestore.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "pubsub.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "storage.googleapis.com",
    "vpcaccess.googleapis.com",
  ])

  project            = var.project
  service            = each.key
  disable_on_destroy = false
}

# The one Scheduler job is not made here: `python -m infra ticks` makes and updates it from the same bundle.
