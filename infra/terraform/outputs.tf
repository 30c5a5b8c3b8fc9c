output "address" {
  description = "Where clients are sent: the A record of `domain` and of each of `other_hosts`."
  value       = google_compute_global_address.front_door.address
}

output "dns_records" {
  description = "What the DNS must say of each host name: its A record, and the record by which its certificate is issued."
  value = {
    for host, authorization in google_certificate_manager_dns_authorization.host : host => [
      "${host}. A ${google_compute_global_address.front_door.address}",
      "${authorization.dns_resource_record[0].name} ${authorization.dns_resource_record[0].type} ${authorization.dns_resource_record[0].data}",
    ]
  }
}

output "egress_address" {
  description = "From which address the functions call customers' servers, for customers' firewalls. None without `egress_range`."
  value       = one(google_compute_address.egress[*].address)
}

output "customer_accounts" {
  description = "The account of each customer, to be granted `customer_grant` on their bucket."
  value       = { for id, account in google_service_account.customer : id => account.email }
}

output "service_accounts_left" {
  description = "How many more customers the project's quota of service accounts has room for."
  value       = local.service_accounts_left

  # Before anything is made: an apply that ends at Google's refusal leaves some customers without their account.
  precondition {
    condition     = local.service_accounts_left >= 0
    error_message = "The customers and Waybill itself need more service accounts than the project may have. Ask Google to raise the quota “Service Account Count” of the IAM API, then set `service_accounts` to what it is by then."
  }
}

output "customer_grant" {
  description = "What a customer grants that account. They do it; nothing here can."
  value       = local.bundle.customer_grant
}
