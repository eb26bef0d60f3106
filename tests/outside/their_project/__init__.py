"""A Dagster project that exists, and gets Carbonation in two ways."""
