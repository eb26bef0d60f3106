"""Engines and transactions, the same to their callers on every database."""

import json
import sqlite3
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, select
from sqlalchemy.exc import NoSuchModuleError, OperationalError

from carbonation_core.config import DatabaseSection
from carbonation_core.errors import ConfigError, DatabaseError
from carbonation_core.toml import place

LOCK_WAIT = timedelta(seconds=60)  # how long a SQLite writer waits for the others
READ_ONLY = "carbonation_read_only"  # execution option: begin without the write lock
_EXTRAS = {"postgresql": "postgresql", "pymysql": "pymysql", "mysql": "mariadb", "mariadb": "mariadb"}
_DEFAULT_DRIVERS = {
    "postgresql": "postgresql+psycopg2",
    "mariadb": "mariadb+mysqldb",
    "mysql": "mysql+mysqldb",
}


def make_engine(
    database: DatabaseSection,
    jsonable: Callable[[object], object] = str,
    file: str | Path = "config.toml",
) -> Engine:
    """An engine for the configured database; it connects when it is first used.

    `jsonable` turns what JSON lacks into something it has, `file` is where the
    configuration stands. Raises `ConfigError` when the driver is not installed.
    """
    drivername = _DEFAULT_DRIVERS.get(database.drivername, database.drivername)
    url = URL.create(
        drivername,
        username=database.username,
        password=database.password,
        host=database.host,
        port=database.port,
        database=database.name,
    )
    options: dict[str, Any] = {}
    if drivername == "sqlite":
        url = URL.create("sqlite", database=database.name)
        options["connect_args"] = {"timeout": LOCK_WAIT.total_seconds()}
    else:
        options["isolation_level"] = "READ COMMITTED"
        options["pool_pre_ping"] = True
    try:
        engine = create_engine(
            url,
            echo=database.echo,
            json_serializer=lambda value: json.dumps(value, default=jsonable),
            **options,
        )
    except (ModuleNotFoundError, NoSuchModuleError):
        extra = next(extra for part, extra in _EXTRAS.items() if part in drivername)
        raise ConfigError(
            f'{place(file, "[database]", "drivername")}: the driver of "{drivername}" is not installed; '
            f'run: pip install "carbonation-dagster[{extra}]"'
        ) from None
    # Whoever forgets an engine, or ends the process, leaves no open connection.
    weakref.finalize(engine, engine.pool.dispose)
    if drivername == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # Without this the driver begins transactions of its own, and too late.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    # A `move` removes its source once the record of its copy is committed, so
    # a commit must survive a power cut; NORMAL could lose the last ones.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A writer that began as a reader cannot wait for the lock, only fail.
    read_only = connection.get_execution_options().get(READ_ONLY)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes; it commits at the end, or leaves nothing."""
    with _explained(engine), engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One transaction that sees a single state and writes nothing."""
    with _explained(engine), engine.connect() as connection:
        yield connection.execution_options(**{READ_ONLY: True})


@contextmanager
def _explained(engine: Engine) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        missing = engine.dialect.name == "sqlite" and not Path(engine.url.database or "").exists()
        if missing or error.connection_invalidated or "unable to open" in str(error.orig):
            where = engine.url.render_as_string(hide_password=True)
            raise DatabaseError(f"database {where} cannot be reached: {error.orig}") from error
        raise


def database_now(connection: Connection) -> datetime:
    """The database's clock, which all hosts share. SQLite's is its one host's."""
    if connection.dialect.name == "sqlite":
        return datetime.now(UTC)
    if connection.dialect.name == "postgresql":
        now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return now.astimezone(UTC)
    now = connection.execute(select(func.utc_timestamp(6))).scalar_one()
    return now.replace(tzinfo=UTC)
