"""Customers, their sites, and the keys that reach them."""
