"""What lies on disk against what the database says."""
