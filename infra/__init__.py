"""What Waybill runs on: the list of functions, the cloud's resources, and the cloud on a laptop."""
