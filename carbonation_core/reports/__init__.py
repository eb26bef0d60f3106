"""How the service does, where a file stands, what would happen."""
