"""One log of all processes."""
