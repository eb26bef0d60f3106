"""Settings that do not belong in config.toml: the environment, then secrets.toml."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import platformdirs

from carbonation_core.config.toml import Section, parse, parse_toml, place, read_toml
from carbonation_core.errors import ConfigError
from carbonation_core.text import listing, nearest

PREFIX = "CARBONATION_"
KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "database": ("drivername", "username", "password", "host", "port", "name"),
        "notify": ("webhook", "token"),
    }
)


def secrets_path() -> Path | None:
    """Where secrets.toml is looked for, in the user's config directory; None for a user without a home."""
    try:
        return platformdirs.user_config_path("carbonation") / "secrets.toml"
    except RuntimeError:  # no HOME, and no name under which there could be one, as in a container
        return None


def variable_of(table: str, key: str) -> str:
    """The environment's variable for a key."""
    return f"{PREFIX}{table}_{key}".upper()


def settings(table: str, given: Mapping[str, Any], model: type[Section]) -> dict[str, Any]:
    """`given` and, for each key it lacks, the environment's or secrets.toml's value.

    What comes from there is checked as `model`, so that a fault names its source.
    Raises `ConfigError`, also when secrets.toml can be read by others.
    """
    return {**_from_file(table, model), **_from_environment(table, model), **given}


def _from_environment(table: str, model: type[Section]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in KEYS[table]:
        variable = variable_of(table, key)
        value: Any = os.environ.get(variable)
        if value is None:
            continue
        if key == "port" and value.isascii() and value.isdecimal():
            value = int(value)
        parse(model, {key: value}, f"environment: {variable}")
        found[key] = value
    return found


def _from_file(table: str, model: type[Section]) -> dict[str, Any]:
    path = secrets_path()
    if path is None:
        return {}
    try:
        mode = path.stat().st_mode
    except OSError:
        return {}  # also of a home that a hardened service may not enter
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"{path}: others can read it; run: chmod 600 {path}")
    data = parse_toml(read_toml(path), str(path))
    for name in data:
        if name not in KEYS:
            raise ConfigError(f'{path}: there is no key or table "{name}"; known: {listing(KEYS)}')
    section = data.get(table, {})
    if not isinstance(section, dict):
        raise ConfigError(f"{place(path, f'[{table}]')}: should be a table")
    for key in section:
        if key not in KEYS[table]:
            raise ConfigError(
                f'{place(path, f"[{table}]")}: there is no key "{key}"; {nearest(key, KEYS[table])}'
            )
    parse(model, section, str(path), table)
    return section
