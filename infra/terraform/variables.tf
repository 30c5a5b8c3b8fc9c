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
  description = "Where our buckets are. Unless set, in the functions' region. Buckets that are there cannot move."
  type        = string
  default     = ""
}

variable "firestore_location" {
  description = "Where the database is. It can never be moved."
  type        = string
  default     = "eur3"
}

variable "import_database" {
  description = "Whether the database `(default)` is there already and is to be taken over. `firestore_location` must be its location."
  type        = bool
  default     = false
}

variable "domain" {
  description = "The host name that clients call. The output `dns_records` has what the DNS must say of it."
  type        = string
}

variable "other_hosts" {
  description = "Other host names that have a certificate and lead here, such as api.SITE.DOMAIN, or a domain before or after it is `domain`."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for host in var.other_hosts : can(regex("^[a-z0-9-]+([.][a-z0-9-]+)+$", host))])
    error_message = "A host name is in lower case, whole, and without a wildcard or a final dot."
  }
}

variable "all_users_refused" {
  description = "Whether the organisation shares with its own domains alone, and so refuses `allUsers`."
  type        = bool
  default     = false
}

variable "egress_range" {
  description = "A free range of 16 addresses, as 10.8.0.0/28. It gives the functions that call customers a network of their own and one fixed address."
  type        = string
  default     = ""

  validation {
    condition     = var.egress_range == "" || (can(cidrhost(var.egress_range, 15)) && endswith(var.egress_range, "/28"))
    error_message = "It is a range of 16 addresses: an address and /28, as 10.8.0.0/28."
  }
}

variable "egress_network" {
  description = "The id of a network that is there already, projects/PROJECT/global/networks/NAME, for `egress_range` to be in."
  type        = string
  default     = ""
}

variable "alert_email" {
  description = "Who is mailed when something needs an operator. Unless set, nobody: alerts are seen in Cloud Monitoring only."
  type        = string
  default     = ""
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

variable "login_region" {
  description = "The region that the login names in its catalog. A client without a region takes any."
  type        = string
  default     = "RegionOne"
}

variable "service_accounts" {
  description = "How many service accounts the project may have: its quota “Service Account Count”. Each customer has one."
  type        = number
  default     = 100
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
    condition     = alltrue([for id in keys(var.customers) : can(regex("^[0-9A-Za-z][0-9A-Za-z_-]{0,127}$", id))])
    error_message = "A customer's id is 1 to 128 ASCII letters, digits, _ and -, the first a letter or digit."
  }
}
