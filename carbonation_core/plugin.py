"""The plugin: what it may bring, where it is found, and what its callables must return."""

import hashlib
import importlib
import importlib.metadata
import inspect
import logging
import os
import reprlib
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from types import CodeType, MappingProxyType
from typing import Any, Protocol

from sqlalchemy import Dialect
from sqlalchemy import inspect as mapped

from carbonation_core.config.loading import Config
from carbonation_core.config.toml import place
from carbonation_core.db import columns
from carbonation_core.db.catalog import file_query
from carbonation_core.db.models import BASE_COLUMNS, FileBase, Group
from carbonation_core.disk.file_system import is_of_environment
from carbonation_core.errors import AttemptFailed, ConfigError, EnvironmentFault, QueryError
from carbonation_core.process import is_told_to_end
from carbonation_core.rules.rule_sets import Kind, PluginNames
from carbonation_core.text import listing, nearest

log = logging.getLogger(__name__)

ENTRY_POINTS = "carbonation.plugin"
LONGEST_ERROR = 2000  # characters of what a plugin raised; the rest is in the log
_EARLIER_RELEASE = "carbonation"  # the package of carbonation 0.0.x
_IMPORTS_EARLIER = (
    'imports "carbonation", which is the earlier release; write "from carbonation_core import Plugin" and '
    '"from carbonation_core import FileBase" where it imports these two'
)


class Extractor(Protocol):
    """Metadata of a group, read from its files (paths in order of extension).

    One that has a parameter `fields` is given those of the group's key, with
    `group_by = "pattern"`: texts, whole numbers, and times in UTC, by name.
    """

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


class MemberFunction(Protocol):
    """The members that a manifest lists, by names relative to its directory, or how many there are."""

    def __call__(self, *, file_path: Path) -> list[str] | int: ...


class IntegrityFunction(Protocol):
    """Why a file is not intact; None if it is."""

    def __call__(self, *, file_path: Path, **kwargs: Any) -> str | None: ...


@dataclass(frozen=True)
class QueryDefaults:
    """What `query_files` does when it is not told."""

    limit: int | None = None
    order_by: str | None = None
    columns: tuple[str, ...] | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "QueryDefaults":
        """Those of a dict; raises `ConfigError` for a key that there is not."""
        known = [key.name for key in fields(cls)]
        for key in given:
            if key not in known:
                raise ConfigError(f'query_defaults has "{key}"; {nearest(key, known)}')
        named = given.get("columns")
        return cls(**{**given, "columns": tuple(named) if isinstance(named, list) else named})


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
    integrity_functions: Mapping[str, Callable[..., str | None]] = field(default_factory=dict)
    member_functions: Mapping[str, MemberFunction] = field(default_factory=dict)
    module: str | None = field(default=None, repr=False, compare=False)  # that it was loaded from

    def __post_init__(self) -> None:
        """Plugins that exist give the defaults of a query as a dict, or None."""
        given: object = self.query_defaults
        if given is None or isinstance(given, Mapping):
            object.__setattr__(self, "query_defaults", QueryDefaults.of(given or {}))

    @property
    def names(self) -> PluginNames:
        """What rule sets may name."""
        return PluginNames(
            tuple(self.extractors),
            tuple(self.group_functions),
            tuple(self.selection_functions),
            tuple(self.routing_functions),
            tuple(self.integrity_functions),
            {column.key: columns.example(column) for column in own_columns(self)},
            tuple(self.member_functions),
        )

    def takes_fields(self, extractor: str) -> bool:
        """Whether an extractor has a parameter for the fields of a group's key."""
        return "fields" in (self._parameters("extractor", extractor) or {})

    def keywords(self, kind: Kind, name: str) -> list[str] | None:
        """The keyword arguments that a function takes; None if any, or if nobody can tell."""
        parameters = self._parameters(kind, name)
        if parameters is None or any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
            return None
        return [
            one.name
            for one in parameters.values()
            if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        ]

    def _parameters(self, kind: Kind, name: str) -> Mapping[str, inspect.Parameter] | None:
        try:
            return inspect.signature(getattr(self, _KINDS[kind][0])[name]).parameters
        except (TypeError, ValueError):  # of a builtin nobody can tell
            return None

    def asked(self, kind: Kind, name: str, /, *arguments: object, **keywords: object) -> Any:
        """What a function answers: a dict, a yes or no, or text or None, by its kind.

        The one place where functions of a plugin are called. Whatever one raises,
        be it to end the process, fails this attempt and no more. Raises
        `AttemptFailed`, or `EnvironmentFault` where the disk is at fault.
        """
        functions, answer = _KINDS[kind]
        function: Callable[..., object] = getattr(self, functions)[name]
        try:
            # What it returned may raise, too, when it is looked at.
            return answer(function(*arguments, **keywords))
        except _AnswerError as wrong:
            raise AttemptFailed(f'{kind} "{name}" should return {wrong}') from None
        except BaseException as error:
            if is_told_to_end(error):
                raise
            failed = EnvironmentFault if is_of_environment(error) else AttemptFailed
            function = getattr(function, "func", function)  # of a partial
            modules = (getattr(function, "__module__", None), self.file_model.__module__)
            told = _told(error, modules, getattr(function, "__code__", None))
            log.debug('%s "%s" raised %s', kind, name, type(error).__name__, exc_info=error)
            raise failed(f'{kind} "{name}" raised {told}') from error


class _AnswerError(Exception):
    """Not what a function of that kind should return."""


def _mapping(returned: object) -> object:
    if not isinstance(returned, Mapping):
        raise _AnswerError(f"a dict, not {type(returned).__name__}")
    return {str.__str__(key) if isinstance(key, str) else key: value for key, value in returned.items()}


def _text_or_none(wanted: str) -> Callable[[object], object]:
    def answer(returned: object) -> object:
        if returned is None:
            return None
        text = str.__str__(returned) if isinstance(returned, str) else ""  # what a subclass holds
        if not text:
            raise _AnswerError(f"{wanted} or None, not {reprlib.repr(returned)}")
        return text

    return answer


def _members(returned: object) -> object:
    if isinstance(returned, int) and not isinstance(returned, bool) and returned > 0:
        return returned
    if (
        isinstance(returned, list | tuple)
        and returned
        and all(isinstance(one, str) and one for one in returned)
    ):
        return [str.__str__(one) for one in returned]
    raise _AnswerError(f"a list of names, or their number, not {reprlib.repr(returned)}")


# Where a plugin has its functions of each kind, and what is made of what they return.
_KINDS: Mapping[Kind, tuple[str, Callable[[object], object]]] = MappingProxyType(
    {
        "extractor": ("extractors", _mapping),
        "group function": ("group_functions", _text_or_none("a key")),
        "selection function": ("selection_functions", bool),
        "routing function": ("routing_functions", _text_or_none("the name of an archive")),
        "integrity function": ("integrity_functions", _text_or_none("a reason")),
        "member function": ("member_functions", _members),
    }
)


def _told(error: BaseException, modules: Iterable[object], begins: CodeType | None = None) -> str:
    """Type and text of what was raised, and the last line in the packages of these modules that led to it.

    If none did, the last line at all, or where the code that was to run begins.
    """
    packages = [_package(module) for module in modules]
    lines = [(begins.co_filename, begins.co_firstlineno)] if begins else []
    own = []
    for frame, line in traceback.walk_tb(error.__traceback__):
        package = _package(frame.f_globals.get("__name__"))
        if package != "importlib" and frame.f_globals is not globals():
            lines.append((frame.f_code.co_filename, line))
            own += lines[-1:] if package in packages else []
    place = "".join(f" ({file}, line {line})" for file, line in (own or lines)[-1:])
    try:
        text = str(error)[:LONGEST_ERROR]
    except BaseException as mute:  # an exception of a plugin may be as broken as what raised it
        if is_told_to_end(mute):
            raise
        text = ""
    return f"{type(error).__name__}{': ' if text else ''}{text}{place}"


def _package(module: object) -> str:
    return str(module).partition(".")[0]


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
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if _package(error.name) == _EARLIER_RELEASE != _package(module_name):
            line = _told(error, [module_name]).rpartition(" (")[2].rstrip(")")
            raise ConfigError(f'{where}: plugin "{target}" {_IMPORTS_EARLIER} ({line})') from None
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise ConfigError(
                f'{where}: plugin "{target}" needs a module that is not installed: {error.name}'
            ) from error
        raise ConfigError(
            f'{where}: there is no package "{module_name}", neither installed nor in {directory}'
        ) from None
    except BaseException as error:
        if is_told_to_end(error):
            raise
        raise ConfigError(
            f'{where}: plugin "{target}" cannot be imported: {_told(error, [module_name])}'
        ) from error
    plugin = getattr(module, attribute or "plugin", None)
    if plugin is None:
        raise ConfigError(f'{where}: package "{module_name}" has no "{attribute or "plugin"}"')
    if not isinstance(plugin, Plugin):
        if _package(type(plugin).__module__) == _EARLIER_RELEASE:
            raise ConfigError(f'{where}: plugin "{target}" {_IMPORTS_EARLIER}')
        raise ConfigError(
            f'{where}: "{target}" should be a carbonation_core.Plugin, not {type(plugin).__name__}'
        )
    fault = _fault(plugin)
    if fault:
        raise ConfigError(f'{where}: plugin "{target}": {fault}')
    if plugin.module is None:
        object.__setattr__(plugin, "module", module_name)
    loaded_code(plugin)  # as later its files may be others
    return plugin


def loaded_code(plugin: Plugin) -> str:
    """What `code_on_disk` was when the plugin was loaded."""
    return _loaded_code(plugin.module, plugin.file_model)


@cache
def _loaded_code(module: str | None, file_model: type[FileBase]) -> str:
    return _code_on_disk(module, file_model)


def code_on_disk(plugin: Plugin) -> str:
    """SHA-256 of the plugin's files: of the package that config.toml names, and of its model's."""
    return _code_on_disk(plugin.module, plugin.file_model)


def _code_on_disk(module: str | None, file_model: type[FileBase]) -> str:
    digest = hashlib.sha256()
    for lies in dict.fromkeys(_files_of(name) for name in (module, file_model.__module__) if name):
        for one in sorted(lies.rglob("*.py") if lies.is_dir() else [lies]):
            with suppress(OSError):  # an editor may exchange it just now
                content = one.read_bytes()
                # Not by the whole path, as another host may have it elsewhere.
                digest.update(f"{one.relative_to(lies.parent)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _files_of(module: str) -> Path:
    """The directory of the outermost package of a module; its file, where that is none's.

    A namespace package has no file, and may lie in several directories. Of
    those only the one counts in which the module, or a package that has it, lies.
    """
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        if file := getattr(sys.modules.get(".".join(parts[:end])), "__file__", None):
            is_alone = end == 1 and Path(file).name != "__init__.py"
            return Path(file) if is_alone else Path(file).parent
    return Path(os.devnull)


def _fault(plugin: Plugin) -> str | None:
    model = plugin.file_model
    if not (isinstance(model, type) and issubclass(model, FileBase)):
        return "file_model should be a class that inherits from carbonation_core.FileBase"
    if getattr(model, "__tablename__", None) != "files":
        return 'file_model should have __tablename__ = "files"'
    for column in Group.__table__.columns:
        theirs = mapped(model).local_table.columns.get(column.name)
        if theirs is None or repr(theirs.type) != repr(column.type) or theirs.nullable != column.nullable:
            return f'file_model changes column "{column.name}", which is the service\'s own'
    for column in own_columns(plugin):
        if not column.nullable:
            reason = "a group has a row before it has metadata"
            return f'column "{column.key}" of file_model should be nullable: {reason}'
        if refusal := columns.refusal(column):
            return f'column "{column.key}" of file_model cannot be {column.type!r}: {refusal}'
    for functions, _ in _KINDS.values():
        for name, function in getattr(plugin, functions).items():
            if not callable(function):
                return f'{functions}["{name}"] should be callable'
    defaults = plugin.query_defaults
    try:
        file_query(model, None, defaults.columns, defaults.order_by, defaults.limit)
    except QueryError as error:
        return f"query_defaults: {error}"
    return None


def own_columns(plugin: Plugin) -> list[Any]:
    """The columns that the plugin adds to the base ones, as SQLAlchemy columns."""
    table = mapped(plugin.file_model).local_table
    return [column for column in table.columns if column.name not in BASE_COLUMNS]


def checked_metadata(plugin: Plugin, returned: object, dialect: Dialect | None = None) -> dict[str, Any]:
    """What an extractor returned, as values for the plugin's columns, times in UTC.

    `dialect` is the database's, whose own limits then hold, too. Raises
    `AttemptFailed` naming column, type wanted and value.
    """
    if not isinstance(returned, Mapping):
        raise AttemptFailed(f"the extractor should return a dict, not {type(returned).__name__}")
    known = {column.key: column for column in own_columns(plugin)}
    values: dict[str, Any] = {}
    for key, value in returned.items():
        if key in BASE_COLUMNS:
            raise AttemptFailed(f'the extractor returned "{key}", which is a column of the service itself')
        if key not in known:
            raise AttemptFailed(
                f'the extractor returned "{key}", which is no column of the plugin; columns: {listing(known)}'
            )
        values[key] = columns.fitted(known[key], value, dialect)
    return values
