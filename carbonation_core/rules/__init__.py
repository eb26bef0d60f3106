"""rules.toml as values, and what follows from them. Pure."""
