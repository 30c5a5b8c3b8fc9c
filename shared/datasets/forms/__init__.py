"""The forms in which datasets are exported: where images go, and what is written of their labels."""
