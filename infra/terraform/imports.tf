# A project whose database exists, as one in which Firestore was used before: Terraform takes it over, and makes none.

import {
  for_each = toset(var.import_database ? ["(default)"] : [])

  to = google_firestore_database.default
  id = "projects/${var.project}/databases/${each.key}"
}
