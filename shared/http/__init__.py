"""What the HTTP functions share: routes, problem details, paging."""
