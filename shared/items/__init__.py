"""Items: typed records that a customer imports beside the work orders, such as technicians or accounts."""
