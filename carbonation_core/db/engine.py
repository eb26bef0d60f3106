"""Engines and transactions, the same to their callers on every database."""

import functools
import json
import logging
import math
import random
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import URL, Insert, create_engine, event, func, select
from sqlalchemy import Connection as Connection  # these two for annotations everywhere
from sqlalchemy import Engine as Engine
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    StatementError,
)
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import ConnectionPoolEntry

from carbonation_core.config.sections import DatabaseSection
from carbonation_core.config.toml import place
from carbonation_core.db import lifelines, meters, sqlite, tallies
from carbonation_core.errors import CarbonationError, ConfigError, DatabaseError, Overtaken, ReadOnlyDatabase
from carbonation_core.text import listing

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS = 5  # of a use case that is overtaken
_DEADLINE: ContextVar[float] = ContextVar("deadline", default=math.inf)  # by the monotonic clock
_WAITED = "carbonation_waited"  # seconds for SQLite's lock, among what a connection knows
_WHOLE_FILE = "database"  # SQLite's lock, as it is counted
READ_ONLY = "carbonation_read_only"  # execution option: begin without the write lock
_POSTGRESQL_FORBIDS = ("42501", "25006")  # insufficient_privilege, read_only_sql_transaction
_MARIADB_FORBIDS = (1044, 1142, 1143, 1290, 1792)  # access to a database, table, column; read only
_MARIADB_REFUSES = (3140, 3819, 4025)  # MySQL's JSON and CHECK, and MariaDB's, which are no DataErrors
_FORBIDS = frozenset({*_POSTGRESQL_FORBIDS, *_MARIADB_FORBIDS})
_EXTRAS = {"postgresql": "postgresql", "pymysql": "pymysql", "mysql": "mariadb", "mariadb": "mariadb"}
_DEFAULT_DRIVERS = {
    "postgresql": "postgresql+psycopg2",
    "mariadb": "mariadb+mysqldb",
    "mysql": "mysql+mysqldb",
}
LOCK_WAIT = 9  # seconds; a use case waits `ATTEMPTS` times so long, unless it has less time, as in a tick
IDLE = 300  # seconds that a transaction that writes may do nothing, as on a disk that hangs
# What holds on each server for the whole of a connection: what does not fit is an
# error, not a shorter value. What follows "M!" MariaDB reads, and MySQL leaves out;
# which of them it is no drivername tells for sure.
_OF_MARIADB = (
    "SET time_zone = '+00:00', sql_mode = 'TRADITIONAL', "
    f"innodb_lock_wait_timeout = {LOCK_WAIT} /*M!100300 , idle_write_transaction_timeout = {IDLE} */",
)
_SET_UP = MappingProxyType(
    {
        "postgresql": (
            "SET TimeZone = 'UTC'",
            *lifelines.OF_POSTGRESQL,
            f"SET lock_timeout = '{LOCK_WAIT}s'",
        ),
        "mysql": _OF_MARIADB,
        "mariadb": _OF_MARIADB,
    }
)
# Errors by which a database says that it let another transaction go first:
# PostgreSQL's SQLSTATE, the numbers of MariaDB and MySQL, SQLite's primary code.
_OVERTAKEN = frozenset({"40001", "40P01", "55P03", 1205, 1213, sqlite3.SQLITE_BUSY})
_NO_DATABASE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})  # the file is something else


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
        query={} if drivername.startswith("postgresql") else {"charset": "utf8mb4"},
    )
    options: dict[str, Any] = {}
    if drivername == "sqlite":
        url = URL.create("sqlite", database=database.name)
        options["creator"] = functools.partial(sqlite.connect, Path(database.name))
    else:
        options["isolation_level"] = "READ COMMITTED"
        options["pool_pre_ping"] = True
        if drivername == "postgresql+psycopg2":
            options["executemany_mode"] = "values_plus_batch"  # else each row that is updated is a round trip
        options["connect_args"] = lifelines.of_client(drivername)
    if database.echo:
        # Not by the engine's own `echo`, which writes to standard output.
        logging.getLogger("sqlalchemy.engine").setLevel(logging.INFO)
    try:
        engine = create_engine(
            url,
            # Errors are for the log; what a statement was about is not.
            hide_parameters=not database.echo,
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
        event.listen(engine, "begin", _begin_sqlite)
        event.listen(engine, "commit", _commit_sqlite)
        event.listen(engine, "checkout", functools.partial(_require_file, Path(database.name)))
        event.listen(engine, "checkin", _end_sqlite)
    else:
        if engine.dialect.name != "postgresql":
            event.listen(engine, "connect", lambda connection, _: lifelines.put_on(connection))
        event.listen(engine, "connect", functools.partial(_set_up_server, _SET_UP[engine.dialect.name]))
    return engine


def _begin_sqlite(connection: Connection) -> None:
    # A writer that began as a reader cannot wait for the lock, only fail.
    read_only = connection.get_execution_options().get(READ_ONLY)
    if not read_only and sqlite.is_reader(connection.connection.dbapi_connection):
        raise ReadOnlyDatabase(
            _refusal(connection.engine, "it, or what belongs beside it, cannot be written")
        )
    if read_only:
        connection.exec_driver_sql("BEGIN")
        return
    file: Any = connection.connection.dbapi_connection
    asked = time.monotonic()
    try:
        with sqlite.patient(file, sqlite.SILENCE.total_seconds()):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
    except OperationalError as error:
        if _code(error) != sqlite3.SQLITE_BUSY:
            raise
        sqlite.say_locked(Path(connection.engine.url.database or ""))
        left = max(_DEADLINE.get() - time.monotonic(), 0)
        with sqlite.patient(file, min(sqlite.LOCK_WAIT.total_seconds(), left)):
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            except OperationalError:
                meters.waited_in_vain(connection.engine, _WHOLE_FILE, time.monotonic() - asked)
                raise
    connection.info[_WAITED] = time.monotonic() - asked


def _commit_sqlite(connection: Connection) -> None:
    file = Path(connection.engine.url.database or "")
    if not sqlite.is_of(connection.connection.dbapi_connection, file):
        raise DatabaseError(sqlite.gone(file))


def _require_file(path: Path, connection: sqlite3.Connection, _record: object, _proxy: object) -> None:
    if not sqlite.is_of(connection, path):
        raise DisconnectionError  # have the pool open what lies there now


def _end_sqlite(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    if sqlite.is_used_up(connection):
        record.invalidate()


def _set_up_server(statements: tuple[str, ...], connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for statement in statements:
        cursor.execute(statement)
    cursor.close()
    connection.commit()  # or PostgreSQL would take them back at the first rollback


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes; it commits at the end, or leaves nothing.

    Raises `ReadOnlyDatabase` where we may not, and `Overtaken` when the database
    broke it off for another's sake, which is why whoever opens one is `repeatable`.
    """
    with explained(engine), engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # MariaDB bounds by itself only those that write
            connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE}s'")
        tallies.begin(connection)
        if engine.dialect.name == "sqlite":  # whose one lock is that of the whole file
            meters.waited(connection, _WHOLE_FILE, connection.info.pop(_WAITED))
        with meters.counting_those_in_vain(connection):
            yield connection
            tallies.settle(connection)


def make_file(engine: Engine) -> None:
    """Have there be a file for the tables that are to be made, where a database is one."""
    if engine.dialect.name == "sqlite":
        sqlite.make(Path(engine.url.database or ""))


@contextmanager
def altering(engine: Engine) -> Iterator[Connection]:
    """One transaction that changes tables; it commits at the end, or leaves nothing where the database can.

    SQLite, which copies a table to change it, lets go of one that others refer to.
    Raises as `writing` does, and `DatabaseError` if a row then refers to nothing.
    """
    if engine.dialect.name != "sqlite":
        with writing(engine) as connection:
            if engine.dialect.name == "postgresql":  # to change a table may take as long as it takes
                connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            yield connection
        return
    with explained(engine), engine.connect() as connection:
        file: Any = connection.connection.dbapi_connection
        with sqlite.without_references(file), connection.begin():
            before = sqlite.dangling(file)
            yield connection
            tables = sorted({table for table, *_ in sqlite.dangling(file) - before})
            if tables:
                raise DatabaseError(
                    f"the tables stay as they were: rows of {listing(tables)} would refer to rows that "
                    "are no more"
                )


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One transaction that sees a single state and writes nothing."""
    with explained(engine), engine.connect() as connection:
        yield connection.execution_options(**read_only(engine))


def read_only(engine: Engine) -> dict[str, Any]:
    """Execution options of a transaction that sees a single state and writes nothing."""
    if engine.dialect.name == "sqlite":
        return {READ_ONLY: True}
    return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def repeatable(use_case: Callable[P, T]) -> Callable[P, T]:
    """A function that may begin anew, as it does when the database broke off its transaction.

    All that it decides it decides from what it reads, and what it did outside
    the database it may do twice. It is told as `Overtaken` only when that did
    not help, or when it has no time left (`within`).
    """

    @functools.wraps(use_case)
    def repeated(*args: P.args, **kwargs: P.kwargs) -> T:
        for attempt in range(1, ATTEMPTS):
            try:
                return use_case(*args, **kwargs)
            except Overtaken as error:
                if time.monotonic() >= _DEADLINE.get():
                    raise
                log.debug("%s begins anew: %s", use_case.__qualname__, error)
                time.sleep(random.uniform(0, 0.1 * attempt))  # noqa: S311  # so that two do not meet again
        return use_case(*args, **kwargs)

    return repeated


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Have use cases of this thread begin anew, and wait for SQLite's lock, for so long in all.

    What has begun goes on: it may wait for a lock of a server that much longer.
    """
    before = _DEADLINE.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _DEADLINE.reset(before)


def insert_new(connection: Connection, table: type[DeclarativeBase]) -> Insert:
    """An INSERT that passes over a row that is there, or that another transaction is about to commit."""
    # Each dialect is slow to import, and a process needs one.
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table).on_conflict_do_nothing()
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects import mysql

    unchanged = {column.name: column for column in table.__table__.primary_key}
    return mysql.insert(table).on_duplicate_key_update(unchanged)


@contextmanager
def explained(engine: Engine) -> Iterator[None]:
    """Raise `DatabaseError` for what is no fault of a statement: there is no database, or it refuses us."""
    file = Path(engine.url.database or "") if engine.dialect.name == "sqlite" else None
    try:
        with sqlite.undisturbed(file) if file else nullcontext():
            yield
    except DBAPIError as error:
        where = engine.url.render_as_string(hide_password=True)
        said = _said(error)
        if _code(error) in _OVERTAKEN:
            raise Overtaken(f"database {where} was busy with others for too long: {said}") from error
        missing = file is not None and not sqlite.is_there(file)
        unconnected = error.statement is None or error.connection_invalidated
        if missing or (unconnected and isinstance(error, OperationalError)) or "unable to open" in said:
            raise DatabaseError(f"database {where} cannot be reached: {said}") from error
        if _code(error) in _FORBIDS:
            raise ReadOnlyDatabase(_refusal(engine, said)) from error
        foreseen = isinstance(error, OperationalError) and _code(error) != sqlite3.SQLITE_ERROR
        if foreseen or _code(error) in _NO_DATABASE:
            raise DatabaseError(f"database {where}: {said}") from error
        raise


def objection(error: Exception) -> str | None:
    """What a database or its driver has against a value, in its own words; None: something else is wrong."""
    if isinstance(error, CarbonationError):
        return None
    if not isinstance(error, DBAPIError):  # raised by the type of a column, or by the driver before it asks
        cause = error.orig if isinstance(error, StatementError) else error
        return f"{type(cause).__name__}: {cause}"
    said: Any = error.orig
    by_server = isinstance(next(iter(said.args), None), int) or getattr(said, "pgcode", None)
    by_driver = isinstance(error, InterfaceError | NotSupportedError | ProgrammingError) and not by_server
    refused = isinstance(error, DataError | IntegrityError) or _code(error) in _MARIADB_REFUSES
    return _said(error) if by_driver or refused else None


def _refusal(engine: Engine, reason: str) -> str:
    where = engine.url.render_as_string(hide_password=True)
    return f"this program may only read database {where}: {reason}"


def _said(error: DBAPIError) -> str:
    """The database's own words, in a line."""
    arguments = getattr(error.orig, "args", ())
    return " ".join(str(arguments[-1] if arguments else error.orig).split())


def _code(error: DBAPIError) -> object:
    """What tells one error from another: SQLSTATE on PostgreSQL, a number elsewhere."""
    said: Any = error.orig
    if isinstance(said, sqlite3.Error):
        return getattr(said, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    return getattr(said, "pgcode", None) or next(iter(getattr(said, "args", ())), None)


def database_now(connection: Connection) -> datetime:
    """The database's clock, which all hosts share. SQLite's is its one host's."""
    if connection.dialect.name == "sqlite":
        return datetime.now(UTC)
    if connection.dialect.name == "postgresql":
        now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return now.astimezone(UTC)
    now = connection.execute(select(func.utc_timestamp(6))).scalar_one()
    return now.replace(tzinfo=UTC)


CHUNK = 500  # values in one IN (…); every database takes so many
PAGE = 1000  # rows read at a time of a whole table, so that memory never grows with it


def chunks(values: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """The values in lists of at most `size`."""
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk
