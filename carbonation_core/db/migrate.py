"""Schema versions: the core's branch and the plugin's, moved together."""

import traceback
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import (
    Connection,
    Engine,
    String,
    column,
    delete,
    func,
    insert,
    inspect,
    select,
    table,
    text,
)
from sqlalchemy.dialects.mysql.base import MySQLDialect
from sqlalchemy.exc import DBAPIError

from carbonation_core.db import sqlite, tables
from carbonation_core.db.engine import altering, make_file, reading, writing
from carbonation_core.db.models import BASE_COLUMNS, VERSION_TABLE, Base, FileBase, path_digest
from carbonation_core.db.schema import VERSIONS, missing_in
from carbonation_core.errors import ConfigError, DatabaseError
from carbonation_core.text import listing

UPGRADE_WAIT = 600  # seconds for the upgrade of somebody else
_OF_PLUGINS = ("column", "index", "unique_constraint", "foreign_key_constraint")
_UNFINISHED = "unfinished_copy"  # a revision that no release knows, so that none takes it for a whole one
_versions = table(VERSION_TABLE, column("version_num", String))
_EARLIER = {"files", "file_components", "service_state"}  # the tables of the earlier release


@dataclass(frozen=True)
class SchemaStatus:
    """Where the schema stands: revisions applied, and those still to come, oldest first."""

    applied: tuple[str, ...]
    pending: tuple[str, ...]
    unknown: tuple[str, ...]  # applied by a newer release, or by another plugin

    @property
    def is_empty(self) -> bool:
        """No revision was ever applied."""
        return not self.applied

    @property
    def is_current(self) -> bool:
        """Every known revision is applied, and no other."""
        return not self.pending and not self.unknown and bool(self.applied)


def upgrade(engine: Engine, plugin_migrations: Path | None, to: str = "heads") -> SchemaStatus:
    """Apply what is pending, and say what it was; safe to repeat and to run twice at once."""
    make_file(engine)
    with altering(engine) as connection, _alone(connection):
        before = _status(connection, plugin_migrations)
        if before.unknown:
            raise DatabaseError(_too_new(engine, before))
        if before.is_empty:
            _compare_bytes(connection)
        config = alembic_config(plugin_migrations)
        config.attributes["connection"] = connection
        with _applying(plugin_migrations):
            command.upgrade(config, to)
    return before


@contextmanager
def _applying(plugin_migrations: Path | None) -> Iterator[None]:
    """What a revision of the plugin raises, as a `DatabaseError` that names its line."""
    try:
        yield
    except CommandError as error:
        raise DatabaseError(f"the schema cannot be upgraded: {error}") from error
    except (Exception, SystemExit) as error:
        if line := _line_in(plugin_migrations, error):
            raise DatabaseError(f"the schema cannot be upgraded: {_words_of(error)} ({line})") from error
        raise


@contextmanager
def reading_revisions(plugin_migrations: Path | None) -> Iterator[None]:
    """What is wrong with the plugin's revisions, as a `ConfigError`."""
    try:
        yield
    except KeyError as error:  # as Alembic does not find by name what a revision follows
        reason = f'a revision follows, or depends on, "{error.args[0]}", which there is not'
        raise ConfigError(f"{plugin_migrations}: {reason}") from error
    except (Exception, SystemExit) as error:
        line = _line_in(plugin_migrations, error)
        raise ConfigError(f"{plugin_migrations}: {_words_of(error)}{f' ({line})' if line else ''}") from error


def _words_of(error: BaseException) -> str:
    if isinstance(error, DBAPIError):
        error = error.orig or error
    return str(error) if isinstance(error, CommandError) else f"{type(error).__name__}: {error}"


def _line_in(plugin_migrations: Path | None, error: BaseException) -> str | None:
    """The last line of the plugin's revisions on the way to an error."""
    frames = reversed(list(traceback.walk_tb(error.__traceback__)))
    places = ((Path(frame.f_code.co_filename), line) for frame, line in frames)
    found = next(((path, line) for path, line in places if path.parent == plugin_migrations), None)
    return f"{found[0].name}, line {found[1]}" if found else None


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Hold the lock of upgrades, so that of two that start at once the second finds all done."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(int(path_digest(VERSION_TABLE)[:15], 16))))
    if connection.dialect.name not in ("mysql", "mariadb"):
        yield  # SQLite has one writer at a time anyway
        return
    name = path_digest(f"{VERSION_TABLE} of {connection.engine.url.database}")
    if connection.execute(select(func.get_lock(name, UPGRADE_WAIT))).scalar() != 1:
        raise DatabaseError("another process is upgrading the database, and does not come to an end")
    try:
        yield
        connection.exec_driver_sql("COMMIT")  # else who has the lock next may not see the last revision yet
    finally:
        connection.execute(select(func.release_lock(name)))


def _compare_bytes(connection: Connection) -> None:
    """Have MariaDB or MySQL tell names apart by their bytes, which differ in case or by a blank."""
    dialect = connection.dialect
    if not isinstance(dialect, MySQLDialect):
        return
    wanted = "utf8mb4_nopad_bin" if dialect.is_mariadb else "utf8mb4_0900_bin"
    if connection.execute(text("SELECT @@collation_database")).scalar() == wanted:
        return
    name = dialect.identifier_preparer.quote(connection.engine.url.database or "")
    change = f"ALTER DATABASE {name} CHARACTER SET utf8mb4 COLLATE {wanted}"
    if inspect(connection).get_table_names():
        raise DatabaseError(
            "the database has tables of others, and takes names for equal whose bytes differ; "
            f"run in it: {change}"
        )
    connection.execute(text(change))


def status(engine: Engine, plugin_migrations: Path | None) -> SchemaStatus:
    """What is applied and what is pending; of an SQLite database that is not there, nothing of either."""
    if engine.dialect.name == "sqlite" and not sqlite.is_there(Path(engine.url.database or "")):
        # To connect would make the file, for whoever happened to ask and as its owner.
        return SchemaStatus((), (), ())
    with reading(engine) as connection:
        return _status(connection, plugin_migrations)


def require_current(engine: Engine, plugin_migrations: Path | None) -> None:
    """Raise `DatabaseError`, saying what to run, unless the schema is this release's."""
    found = status(engine, plugin_migrations)
    where = _where(engine)
    if found.is_empty:
        raise DatabaseError(f"database {where} is not initialised; run: carbonation db init")
    if found.unknown:
        raise DatabaseError(_too_new(engine, found))
    if found.pending:
        raise DatabaseError(
            f"database {where} is older than this release "
            f"(pending: {', '.join(found.pending)}); run: carbonation db upgrade"
        )


def drift(engine: Engine, file_model: type[FileBase]) -> list[str]:
    """How the tables differ from the models, one line a difference."""
    with reading(engine) as connection:
        core = MigrationContext.configure(
            connection,
            opts={"include_name": _core_names, "include_object": _core_objects},
        )
        lines = [str(difference) for difference in compare_metadata(core, Base.metadata)]
        lines += missing_in(connection, file_model)
        lines += _other_types(connection, file_model)
        there = {column["name"] for column in inspect(connection).get_columns("files")}
    wanted = {column.name for column in file_model.__table__.columns}
    lines += [f'column "{name}" in "files" belongs to no model' for name in sorted(there - wanted)]
    return lines


def counts(engine: Engine, file_model: type[FileBase]) -> dict[str, int]:
    """How many rows each table has, by name."""
    with reading(engine) as connection:
        return tables.counts(connection, file_model)


def begin_copy(engine: Engine, plugin_migrations: Path | None) -> None:
    """Make the tables of an empty database, or of an unfinished copy, which it says to be from now on."""
    _mark(engine, is_finished=True)
    upgrade(engine, plugin_migrations)
    _mark(engine, is_finished=False)


def end_copy(connection: Connection) -> None:
    """Let the database be used as any other."""
    connection.execute(delete(_versions).where(_versions.c.version_num == _UNFINISHED))


def _mark(engine: Engine, *, is_finished: bool) -> None:
    with writing(engine) as connection:
        if inspect(connection).has_table(VERSION_TABLE):
            end_copy(connection)
            if not is_finished:
                connection.execute(insert(_versions).values(version_num=_UNFINISHED))


def _other_types(connection: Connection, file_model: type[FileBase]) -> list[str]:
    """The plugin's columns whose type in the database is another than in the model, a sentence each."""
    tables = file_model.metadata.tables
    context = MigrationContext.configure(
        connection,
        opts={
            "include_name": lambda name, kind, _parents: kind != "table" or name in tables,
            "include_object": lambda _thing, name, kind, *_: kind != "column" or name not in BASE_COLUMNS,
        },
    )
    found = compare_metadata(context, file_model.metadata)
    changes = [one for changes in found if isinstance(changes, list) for one in changes]
    return [
        f'column "{name}" of the plugin is {there.compile(connection.dialect)} in "{table}", '
        f"and {wanted.compile(connection.dialect)} in the model"
        for kind, _, table, name, _, there, wanted in changes
        if kind == "modify_type"
    ]


def _core_names(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or name in Base.metadata.tables


def _core_objects(_thing: object, name: str | None, kind: str, reflected: bool, _other: object) -> bool:
    # What only the database has in `files` is the plugin's.
    return not (reflected and kind in _OF_PLUGINS and name not in BASE_COLUMNS)


def _where(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)


def _too_new(engine: Engine, found: SchemaStatus) -> str:
    if _UNFINISHED in found.unknown:
        return (
            f"database {_where(engine)} is an unfinished copy of another; with the config.toml that names "
            "that one, run once more: carbonation db copy"
        )
    return (
        f"database {_where(engine)} has revisions that this release and its plugin do not know "
        f"({', '.join(found.unknown)}); install the release or plugin that made them"
    )


def _status(connection: Connection, plugin_migrations: Path | None) -> SchemaStatus:
    with reading_revisions(plugin_migrations):
        script = ScriptDirectory.from_config(alembic_config(plugin_migrations))
        known = {revision.revision: revision for revision in script.walk_revisions()}
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    heads = context.get_current_heads()
    if not heads:
        _require_room(connection)
    unknown = tuple(sorted(head for head in heads if head not in known))
    applied = {
        revision.revision
        for head in heads
        if head in known
        for revision in script.iterate_revisions(head, "base", implicit_base=True)
    }
    # walk_revisions goes from the newest to the oldest
    pending = tuple(revision for revision in reversed(known) if revision not in applied)
    return SchemaStatus((*sorted(applied), *unknown), pending, unknown)


def _require_room(connection: Connection) -> None:
    """Raise `DatabaseError` if others have tables under the names of ours."""
    inspector = inspect(connection)
    there = {*inspector.get_table_names(), *inspector.get_view_names()}
    found = there & Base.metadata.tables.keys()
    if VERSION_TABLE in there or not found:
        return
    whose = "an earlier release" if found >= _EARLIER else "another program, under names that ours have"
    then = ", then: carbonation db import OLD_CONFIG" if found >= _EARLIER else ""
    raise DatabaseError(
        f"database {_where(connection.engine)} has tables of {whose}: {listing(found)}; "
        f"name an empty one in config.toml, [database], and run: carbonation db init{then}"
    )


def alembic_config(plugin_migrations: Path | None) -> AlembicConfig:
    """Alembic's configuration for the core's revisions and the plugin's."""
    config = AlembicConfig(cmd_opts=Namespace(quiet=True))
    config.set_main_option("script_location", _literal(VERSIONS.parent))
    locations = [VERSIONS, *([plugin_migrations] if plugin_migrations else [])]
    config.set_main_option("version_locations", "\n".join(map(_literal, locations)))
    config.set_main_option("path_separator", "newline")
    return config


def _literal(path: Path) -> str:
    """The path as Alembic's configuration gives it back, which replaces what stands between %( and )."""
    return str(path).replace("%", "%%")
