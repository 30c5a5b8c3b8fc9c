output "address" {
  description = "The A record of `domain`."
  value       = google_compute_global_address.front_door.address
}

output "customer_accounts" {
  description = "The account of each customer, to be granted `customer_grant` on their bucket."
  value       = { for id, account in google_service_account.customer : id => account.email }
}

output "customer_grant" {
  description = "What a customer grants that account. They do it; nothing here can."
  value       = local.bundle.customer_grant
}
