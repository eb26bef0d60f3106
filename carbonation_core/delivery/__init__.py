"""Looks at what was delivered, and keeps groups true to their files."""
