"""A database as a URL names it, for whoever has it not in config.toml yet."""

import os
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from carbonation_core.config.secrets import settings
from carbonation_core.config.sections import DatabaseSection
from carbonation_core.config.toml import at_home, parse, place
from carbonation_core.errors import ConfigError
from carbonation_core.text import listing

_EXAMPLES = '"postgresql://user@host/name", "mariadb+pymysql://user@host/name", "sqlite:////path/to/file.db"'


def section_of(url: str, option: str, directory: Path) -> DatabaseSection:
    """`[database]` as it would stand in a config.toml in that directory.

    What the URL does not say, as a password, comes from the environment or
    secrets.toml, as always. Raises `ConfigError` that begins with `option`, and
    never repeats the URL.
    """
    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError(f"{option}: is no URL of a database, such as {_EXAMPLES}") from None
    if found.query:
        raise ConfigError(f"{option}: there are no keys in config.toml for {listing(found.query)}")
    said = {
        "drivername": found.drivername,
        "username": found.username,
        "password": found.password,
        "host": found.host,
        "port": found.port,
        "name": found.database,
    }
    given = settings("database", {key: one for key, one in said.items() if one}, DatabaseSection)
    if "name" not in given:
        raise ConfigError(f"{option}: names no database; it should be such as {_EXAMPLES}")
    section = parse(DatabaseSection, given, option)
    if section.drivername != "sqlite":
        return section
    if found.host:
        fault = "a file has no host; after sqlite: come three slashes, and four if the path is absolute"
        raise ConfigError(f"{place(option)}: {fault}")
    name = os.path.normpath(directory / at_home(section.name))
    return DatabaseSection(drivername="sqlite", name=name)
