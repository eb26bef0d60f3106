"""Database settings that do not belong in config.toml: the environment, then secrets.toml."""

import os
import stat
from collections.abc import Mapping
from typing import Any

import platformdirs

from carbonation_core.errors import ConfigError
from carbonation_core.toml import nearest, parse_toml, place, read_toml

PREFIX = "CARBONATION_DATABASE_"
KEYS = ("drivername", "username", "password", "host", "port", "name")


def database_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` and, for each key it lacks, the environment's or secrets.toml's value.

    Raises `ConfigError` when secrets.toml can be read by others or is not usable.
    """
    return {**_from_file(), **_from_environment(), **given}


def _from_environment() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in KEYS:
        variable = PREFIX + key.upper()
        value = os.environ.get(variable)
        if value is None:
            continue
        if key == "port" and not value.isdecimal():
            raise ConfigError(f"environment: {variable}: should be a whole number")
        found[key] = int(value) if key == "port" else value
    return found


def _from_file() -> dict[str, Any]:
    path = platformdirs.user_config_path("carbonation") / "secrets.toml"
    try:
        mode = path.stat().st_mode
    except OSError:
        return {}
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"{path}: others can read it; run: chmod 600 {path}")
    data = parse_toml(read_toml(path), str(path))
    for table in data:
        if table != "database":
            raise ConfigError(f'{path}: there is no table "{table}" here; known: "database"')
    section = data.get("database", {})
    if not isinstance(section, dict):
        raise ConfigError(f"{place(path, '[database]')}: should be a table")
    for key in section:
        if key not in KEYS:
            raise ConfigError(f'{place(path, "[database]")}: there is no key "{key}"; {nearest(key, KEYS)}')
    return section
