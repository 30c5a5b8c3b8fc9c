"""Google Cloud as Waybill uses it: thin, passed in, and made in one place (`clients`)."""
