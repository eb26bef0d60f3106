"""Dagster's own parts, fitted to runs that last milliseconds."""
