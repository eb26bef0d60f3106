"""The variables by which the service speaks to its processes."""
