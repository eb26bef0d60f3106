"""What a line of the log is, and its file."""
