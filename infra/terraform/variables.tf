variable "project" {
  description = "The project's id. Buckets and accounts are named after it."
  type        = string
}

variable "region" {
  description = "Where the functions run."
  type        = string
  default     = "europe-west1"
}

variable "bucket_location" {
  description = "Where our buckets are. Copies into a customer's bucket are quickest where theirs is too."
  type        = string
  default     = "EU"
}

variable "firestore_location" {
  description = "Where the database is. It can never be moved."
  type        = string
  default     = "eur3"
}

variable "domain" {
  description = "The host name that clients call. Its A record points at the output `address`."
  type        = string
}

variable "mail_from" {
  description = "The address that mail comes from: SendGrid takes only one that it has verified. Unless set, waybill@ the domain."
  type        = string
  default     = ""
}

variable "sendgrid_url" {
  description = "SendGrid's address. Of an account in the EU it is https://api.eu.sendgrid.com."
  type        = string
  default     = "https://api.sendgrid.com"
}

variable "private_addresses" {
  description = "Networks that are not public and may be called all the same, one after the other with commas, as 10.1.0.0/16. Unless set, none."
  type        = string
  default     = ""
}

variable "login_region" {
  description = "The region that the login names in its catalog. A client without a region takes any."
  type        = string
  default     = "RegionOne"
}

variable "customers" {
  description = "The customers: their id, which names their folders, to their slug, which names their account."
  type        = map(string)

  validation {
    # An account's name holds 30 characters, and `customer-` and `-data-export` take 21 of them.
    condition     = alltrue([for slug in values(var.customers) : can(regex("^[a-z0-9]([a-z0-9-]{0,7}[a-z0-9])?$", slug))])
    error_message = "A slug is 1 to 9 lower-case letters, digits and inner hyphens."
  }

  validation {
    condition     = length(distinct(values(var.customers))) == length(var.customers)
    error_message = "Two customers have one slug: they would share an account."
  }

  validation {
    condition     = alltrue([for id in keys(var.customers) : can(regex("^[^/]+$", id))])
    error_message = "A customer's id names one folder: it is not empty and holds no slash."
  }
}
