"""What Dagster shows of one configuration."""
