"""Watch, group, check, describe, route and archive delivered files. Works without Dagster."""

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from carbonation_core.api import Database, connect, query_files, session
    from carbonation_core.db.consumers import Lag
    from carbonation_core.db.models import FileBase, FileComponent
    from carbonation_core.errors import (
        CarbonationError,
        ConfigError,
        DatabaseError,
        QueryError,
        ReadOnlyDatabase,
    )
    from carbonation_core.lifecycle import FileStatus
    from carbonation_core.plugin import Plugin, QueryDefaults, checked_metadata

    __version__: str

__all__ = [
    "CarbonationError",
    "ConfigError",
    "Database",
    "DatabaseError",
    "FileBase",
    "FileComponent",
    "FileStatus",
    "Lag",
    "Plugin",
    "QueryDefaults",
    "QueryError",
    "ReadOnlyDatabase",
    "checked_metadata",
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
        "FileComponent": "db.models",
        "FileStatus": "lifecycle",
        "Lag": "db.consumers",
        "Plugin": "plugin",
        "QueryDefaults": "plugin",
        "QueryError": "errors",
        "ReadOnlyDatabase": "errors",
        "checked_metadata": "plugin",
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
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("carbonation-dagster")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "__version__"})
