"""What the HTTP functions share: declared routes, errors by surface, the OpenAPI document, paging."""
