"""config.toml as frozen values; every fault names file, table and key."""
