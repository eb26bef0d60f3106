"""The databases that tests run on: SQLite, or the server that TEST_DATABASE names.

It is the URL, as SQLAlchemy takes it, of somebody who may make databases there.
`tests/on_server` starts a server of its own and sets it.

On a server run the tests that have a project (`make`, `site`) or ask for
`on_each_database`, unless one database is enough for what they state: `one`
marks a test or a module whose facts are about bytes, names, rules or times, and
`each` a test of such a module that is about the database all the same.
"""

import os
import tempfile
import uuid
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Engine, NullPool, create_engine, make_url, text, update
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.schema import CreateColumn
from sqlalchemy.types import SchemaType

from carbonation_core.config.sections import DatabaseSection
from carbonation_core.db import migrate
from carbonation_core.db.engine import make_engine, writing
from carbonation_core.db.models import Base, Counter, FileBase
from carbonation_core.plugin import Plugin, own_columns

SERVER = make_url(os.environ["TEST_DATABASE"]) if os.environ.get("TEST_DATABASE") else None
SQLITE = SERVER is None

of_sqlite = pytest.mark.skipif(not SQLITE, reason="is about SQLite's file")
one = pytest.mark.databases("one")
each = pytest.mark.databases("each")

_made: list[DatabaseSection] = []
_free: dict[type[FileBase], list[DatabaseSection]] = defaultdict(list)
_lent: dict[str, type[FileBase]] = {}  # by name
_compiled: dict[Any, Any] = {}


def is_asked(item: pytest.Item) -> bool:
    """Whether the test states a fact about the database, so that each kind has to show it."""
    mark = item.get_closest_marker("databases")
    asks = "on_each_database" in getattr(item, "fixturenames", ())
    return asks and (mark is None or mark.args == ("each",))


@cache
def unreachable() -> str | None:
    """Why the tests cannot run, and how to start the server."""
    if SERVER is None:
        return None
    try:
        with _server().connect():
            return None
    except OperationalError as error:
        return (
            f"there is no server at {SERVER.render_as_string()} ({error.orig}); to start one for the tests "
            f"alone: tests/on_server {SERVER.get_backend_name()} make test"
        )


def fresh(directory: Path) -> DatabaseSection:
    """An empty database; on SQLite the usual one of a project in that directory."""
    if SERVER is None:
        return DatabaseSection(name=str(directory / "carbonation.db"))
    name = f"carbonation_test_{uuid.uuid4().hex}"
    with _server().connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    _made.append(
        DatabaseSection.model_validate(
            {
                "drivername": SERVER.drivername,
                "username": SERVER.username,
                "password": SERVER.password,
                "host": SERVER.host,
                "port": SERVER.port,
                "name": name,
            }
        )
    )
    return _made[-1]


def at_head(directory: Path, model: type[FileBase]) -> DatabaseSection:
    """An empty schema of the core with that model's columns, without the seconds of a migration."""
    section = fresh(directory) if SQLITE or not _free[model] else _free[model].pop()
    if SQLITE:
        Path(section.name).write_bytes(_template(model))
    elif section.name in _lent:
        _empty(section)
    else:
        _migrate(section, model)
    _lent[section.name] = model
    return section


def give_back(section: DatabaseSection) -> None:
    """Whoever comes next may have a database that came from `at_head`."""
    if not SQLITE:
        _free[_lent[section.name]].append(section)


def drop_all() -> None:
    """Remove what was made on the server, whose next one may be another."""
    _free.clear()
    _lent.clear()
    force = " WITH (FORCE)" if SERVER is not None and SERVER.drivername.startswith("postgresql") else ""
    while _made:
        with _server().connect() as connection:
            connection.execute(text(f"DROP DATABASE {_made.pop().name}{force}"))


def compiled_once(engine: Engine) -> Engine:
    """The engine, which compiles no statement that one of another test has compiled.

    That is four tenths of a test's time. It holds for engines that are made alike:
    what is compiled has the options of the first one.
    """
    if SQLITE:
        engine.dialect.__class__ = _OneForAll
        engine.update_execution_options(compiled_cache=_compiled)
    return engine


class _OneForAll(SQLiteDialect_pysqlite):
    """A statement is compiled for a dialect, and each engine has one of its own: they count as one."""

    supports_statement_cache = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _OneForAll)

    def __hash__(self) -> int:
        return hash(_OneForAll)


def as_toml(section: DatabaseSection) -> str:
    """The section of config.toml; nothing for the SQLite that a project has without one."""
    if SQLITE:
        return ""
    given = section.model_dump(exclude_unset=True, exclude_none=True)
    lines = (f"{key} = {value!r}\n" for key, value in given.items())
    return "[database]\n" + "".join(lines)


def as_url(section: DatabaseSection) -> str:
    """The URL of the database, with its password."""
    return make_engine(section).url.set(query={}).render_as_string(hide_password=False)


def _server() -> Engine:
    assert SERVER is not None
    return _server_engine(SERVER)


@cache
def _server_engine(url: URL) -> Engine:
    return create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)


def _migrate(section: DatabaseSection, model: type[FileBase]) -> None:
    engine = make_engine(section)
    migrate.upgrade(engine, None)
    with writing(engine) as connection:
        for column in own_columns(Plugin(model)):
            if isinstance(column.type, SchemaType):
                column.type.create(connection, checkfirst=True)  # which ADD COLUMN does not do on PostgreSQL
            definition = CreateColumn(column).compile(dialect=engine.dialect)
            connection.exec_driver_sql(f"ALTER TABLE files ADD COLUMN {definition}")
    engine.dispose()


def _empty(section: DatabaseSection) -> None:
    """No rows, and ids that begin with 1."""
    engine = make_engine(section)
    again = (
        "ALTER SEQUENCE {}_id_seq RESTART"
        if engine.dialect.name == "postgresql"
        else "ALTER TABLE {} AUTO_INCREMENT = 1"
    )
    with writing(engine) as connection:
        for table in reversed(Base.metadata.sorted_tables):
            if table is not Counter.__table__:
                connection.execute(table.delete())
        connection.execute(update(Counter).values(value=0))
    with writing(engine) as connection:
        for table in Base.metadata.sorted_tables:
            if table.autoincrement_column is not None:
                connection.execute(text(again.format(table.name)))
    engine.dispose()


@cache
def _template(model: type[FileBase]) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        section = fresh(Path(directory))
        _migrate(section, model)
        return Path(section.name).read_bytes()
