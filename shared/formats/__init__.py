"""The formats that files are written in. Each is a module; this is where they are registered."""
