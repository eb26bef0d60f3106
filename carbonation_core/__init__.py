"""Watch, group, check, describe, route and archive delivered files. Works without Dagster."""

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from carbonation_core.api import Database, connect, query_files, session
    from carbonation_core.db.models import FileBase
    from carbonation_core.errors import (
        CarbonationError,
        ConfigError,
        DatabaseError,
        QueryError,
        ReadOnlyDatabase,
    )
    from carbonation_core.plugin import Plugin, QueryDefaults

__all__ = [
    "CarbonationError",
    "ConfigError",
    "Database",
    "DatabaseError",
    "FileBase",
    "Plugin",
    "QueryDefaults",
    "QueryError",
    "ReadOnlyDatabase",
    "connect",
    "query_files",
    "session",
]

_HOMES = MappingProxyType(
    {
        "CarbonationError": "errors",
        "ConfigError": "errors",
        "Database": "api",
        "DatabaseError": "errors",
        "FileBase": "db.models",
        "Plugin": "plugin",
        "QueryDefaults": "plugin",
        "QueryError": "errors",
        "ReadOnlyDatabase": "errors",
        "connect": "api",
        "query_files": "api",
        "session": "api",
    }
)


def __getattr__(name: str) -> Any:
    # A plugin needs no API, and whoever needs one module not the rest: SQLAlchemy
    # alone takes longer to import than a command that fails on its arguments.
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
