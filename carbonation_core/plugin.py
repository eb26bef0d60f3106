"""The plugin: what it may bring, where it is found, and what its callables must return."""

import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Date, DateTime, inspect

from carbonation_core.config import Config
from carbonation_core.db.models import BASE_COLUMNS, FileBase
from carbonation_core.errors import AttemptFailed, ConfigError
from carbonation_core.ruleset import PluginNames
from carbonation_core.toml import listing, place

ENTRY_POINTS = "carbonation.plugin"


class Extractor(Protocol):
    """Metadata of a group, read from its files (paths in order of extension)."""

    def __call__(self, file_paths: list[Path]) -> dict[str, Any]: ...


class GroupFunction(Protocol):
    """The key of a file's group; None leaves the file alone."""

    def __call__(self, *, file_path: Path) -> str | None: ...


class SelectionFunction(Protocol):
    """Whether a group is wanted."""

    def __call__(self, *, metadata: dict[str, Any], **kwargs: Any) -> bool: ...


class RoutingFunction(Protocol):
    """The name of a group's archive; None asks the next routing block."""

    def __call__(self, *, metadata: dict[str, Any]) -> str | None: ...


@dataclass(frozen=True)
class QueryDefaults:
    """What `query_files` does when it is not told."""

    limit: int | None = None
    order_by: str | None = None
    columns: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Plugin:
    """Typed columns for groups, and the callables that rule sets name.

    Callables run in one thread at a time. `migrations_path` is the directory of
    the plugin's alembic revisions.
    """

    file_model: type[FileBase]
    extractors: Mapping[str, Extractor] = field(default_factory=dict)
    group_functions: Mapping[str, GroupFunction] = field(default_factory=dict)
    selection_functions: Mapping[str, Callable[..., bool]] = field(default_factory=dict)
    routing_functions: Mapping[str, RoutingFunction] = field(default_factory=dict)
    migrations_path: Path | None = None
    query_defaults: QueryDefaults = QueryDefaults()

    @property
    def names(self) -> PluginNames:
        """What rule sets may name."""
        return PluginNames(
            tuple(self.extractors),
            tuple(self.group_functions),
            tuple(self.selection_functions),
            tuple(self.routing_functions),
        )


def load_plugin(config: Config) -> Plugin:
    """The plugin that config.toml names, or the one that is registered.

    The directory of config.toml is on the import path while it loads, so that a
    plugin that lies there needs no installation. Raises `ConfigError`.
    """
    where = place(config.path, "[plugins]", "package")
    target = config.plugins.package
    if target is None:
        entries = importlib.metadata.entry_points(group=ENTRY_POINTS)
        if len(entries) != 1:
            found = listing(entry.value for entry in entries)
            raise ConfigError(
                f"{where}: should name a plugin, as not exactly one is registered; registered: {found}"
            )
        target = next(iter(entries)).value
    module_name, _, attribute = target.partition(":")
    directory = str(config.directory)
    if directory not in sys.path:
        sys.path.append(directory)
    try:
        plugin = getattr(importlib.import_module(module_name), attribute or "plugin")
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise ConfigError(
                f'{where}: plugin "{target}" needs a module that is not installed: {error.name}'
            ) from error
        raise ConfigError(
            f'{where}: there is no package "{module_name}", neither installed nor in {directory}'
        ) from None
    except AttributeError:
        raise ConfigError(f'{where}: package "{module_name}" has no "{attribute or "plugin"}"') from None
    except Exception as error:
        raise ConfigError(
            f'{where}: plugin "{target}" cannot be imported: {type(error).__name__}: {error}'
        ) from error
    if not isinstance(plugin, Plugin):
        raise ConfigError(
            f'{where}: "{target}" should be a carbonation_core.Plugin, not {type(plugin).__name__}'
        )
    fault = _fault(plugin)
    if fault:
        raise ConfigError(f'{where}: plugin "{target}": {fault}')
    return plugin


def _fault(plugin: Plugin) -> str | None:
    model = plugin.file_model
    if not (isinstance(model, type) and issubclass(model, FileBase)):
        return "file_model should be a class that inherits from carbonation_core.FileBase"
    if getattr(model, "__tablename__", None) != "files":
        return 'file_model should have __tablename__ = "files"'
    for column in own_columns(plugin):
        if not column.nullable:
            return f'column "{column.key}" of file_model should be nullable: a group has a row before it has metadata'
    for kind in ("extractors", "group_functions", "selection_functions", "routing_functions"):
        for name, function in getattr(plugin, kind).items():
            if not callable(function):
                return f'{kind}["{name}"] should be callable'
    return None


def own_columns(plugin: Plugin) -> list[Any]:
    """The columns that the plugin adds to the base ones, as SQLAlchemy columns."""
    table = inspect(plugin.file_model).local_table
    return [column for column in table.columns if column.name not in BASE_COLUMNS]


def checked_metadata(plugin: Plugin, returned: object) -> dict[str, Any]:
    """What an extractor returned, as values for the plugin's columns, times in UTC.

    Raises `AttemptFailed` naming column, type wanted and value.
    """
    if not isinstance(returned, Mapping):
        raise AttemptFailed(f"the extractor should return a dict, not {type(returned).__name__}")
    columns = {column.key: column for column in own_columns(plugin)}
    values: dict[str, Any] = {}
    for key, value in returned.items():
        if key in BASE_COLUMNS:
            raise AttemptFailed(f'the extractor returned "{key}", which is a column of the service itself')
        if key not in columns:
            raise AttemptFailed(
                f'the extractor returned "{key}", which is no column of the plugin; columns: {listing(columns)}'
            )
        values[key] = _checked(columns[key], value)
    return values


def _checked(column: Any, value: object) -> object:
    if value is None:
        return None
    try:
        wanted = column.type.python_type
    except NotImplementedError:
        return value
    if isinstance(column.type, DateTime) and isinstance(value, datetime):
        utc = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return utc if column.type.timezone else utc.replace(tzinfo=None)
    if isinstance(column.type, Date) and isinstance(value, datetime):
        wanted = date
    elif isinstance(value, bool) and wanted is not bool:
        pass
    elif isinstance(value, wanted):
        return value
    elif wanted is float and isinstance(value, int | Decimal):
        return float(value)
    elif wanted is Decimal and isinstance(value, int):
        return Decimal(value)
    elif wanted in (dict, list) and isinstance(value, dict | list):
        return value
    raise AttemptFailed(
        f'column "{column.key}" takes {wanted.__name__}, not {type(value).__name__}: {str(value)[:100]!r}'
    )


def jsonable(value: object) -> object:
    """A value as JSON can hold it: times in ISO 8601, Decimals as text."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal | Path):
        return str(value)
    raise AttemptFailed(f"{type(value).__name__} cannot be kept as JSON: {str(value)[:100]!r}")
