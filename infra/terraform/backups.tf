# Point-in-time recovery reaches seven days back, and dies with the database. A backup does not.
# https://cloud.google.com/firestore/docs/backups
resource "google_firestore_backup_schedule" "daily" {
  database = google_firestore_database.default.name
  # Fourteen days: what somebody notices after a holiday is still there.
  retention = "1209600s"

  daily_recurrence {}
}
