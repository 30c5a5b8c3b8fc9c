"""Datasets: the images of work orders with their labels, and the tasks that export them."""
