"""Dagster's storages with connections that are kept.

Dagster 1.13 opens a connection for every statement: 10 ms an event on SQLite,
where the last one that closes also empties the write-ahead log, and twenty on
PostgreSQL. Here each process keeps an engine for each database. dagster.yaml names
these classes; what they replace in Dagster's own is not public, and
`tests/dagster/instance/test_storages.py` notices when it changes. Calls that
"type: ignore" marks are of methods that Dagster does not annotate.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from dagster import StringSource
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage
from dagster._core.storage.event_log.base import EventLogStorage
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.runs.base import RunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.schedules.base import ScheduleStorage
from dagster._core.storage.sqlite import create_db_conn_string
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, inspect
from watchdog.events import FileSystemEvent, PatternMatchingEventHandler
from watchdog.observers import Observer

BUSY_TIMEOUT = 30  # seconds; Dagster's own
KEPT = 4  # connections that stay open when they are not in use

_Local = TypeVar("_Local", SqliteRunStorage, SqliteScheduleStorage)

_engines: dict[tuple[int, str], Engine] = {}
_seen: set[tuple[str, int, int]] = set()  # files, by path, device and inode
_lock = threading.Lock()


def kept_engine(url: str, **options: Any) -> Engine:
    """The engine of this process for that database. A fork has its own: a connection is one process's."""
    key = (os.getpid(), url)
    with _lock:
        if key not in _engines:
            _engines[key] = create_engine(url, pool_size=KEPT, max_overflow=-1, **options)
        return _engines[key]


def close_kept() -> None:
    """Close what this process keeps open and does not use now, as before it forks."""
    with _lock:
        for (process, _), engine in _engines.items():
            if process == os.getpid():
                engine.dispose()


def _sqlite(url: str) -> Engine:
    engine = kept_engine(url, connect_args={"timeout": BUSY_TIMEOUT})
    if not event.contains(engine, "connect", _set_up):
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "handle_error", _distrust)
    return engine


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    # With a write-ahead log a power cut then loses the last events, never the file.
    connection.execute("PRAGMA synchronous=NORMAL").close()


def _distrust(context: ExceptionContext) -> None:
    """What met a full or broken disk is not used again: its view of the file may be gone."""
    error = context.original_exception
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.IntegrityError):
        context.is_disconnect = True


@contextmanager
def _begun(url: str) -> Iterator[Connection]:
    with _sqlite(url).begin() as connection:
        yield connection


class KeptRuns(SqliteRunStorage):
    """Runs in SQLite."""

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A transaction."""
        with _begun(self._conn_string) as connection:
            yield connection


class KeptSchedules(SqliteScheduleStorage):
    """Ticks and states of sensors and schedules in SQLite."""

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A transaction."""
        with _begun(self._conn_string) as connection:
            yield connection


class KeptEvents(ConsolidatedSqliteEventLogStorage):
    """Events of all runs in one SQLite file."""

    _obs: Any  # of watchdog

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        with _begun(self._conn_string) as connection:
            yield connection

    def has_table(self, table_name: str) -> bool:
        """Whether there is such a table."""
        return inspect(_sqlite(self._conn_string)).has_table(table_name)

    def watch(self, run_id: str, cursor: str | None, callback: Any) -> None:
        """Call back with each event of a run that comes after the cursor.

        With connections that are kept events go to the write-ahead log, and the
        file itself hears of them only now and then: both are listened to.
        """
        if not self._obs:
            self._obs = Observer()
            self._obs.start()
            self._obs.schedule(_Modified(self), self._base_dir)
        super().watch(run_id, cursor, callback)  # type: ignore[no-untyped-call]


class _Modified(PatternMatchingEventHandler):
    def __init__(self, storage: KeptEvents) -> None:
        self._storage = storage
        file = storage.get_db_path()  # type: ignore[no-untyped-call]
        super().__init__(patterns=[file, f"{file}-wal"])

    def on_modified(self, event: FileSystemEvent) -> None:
        self._storage.on_modified()  # type: ignore[no-untyped-call]


def _opened(kind: type[_Local], directory: Path, name: str) -> _Local:
    """A storage of that kind, with its tables.

    Dagster opens its instance at each tick, and looks each time whether the tables
    are of its release, for which it reads all revisions there ever were: three
    quarters of a tick. A process that has seen it of a file knows it.
    """
    file = directory / f"{name}.db"
    if file.exists() and _identity(file) in _seen:
        return kind(create_db_conn_string(str(directory), name))
    made = kind.from_local(str(directory))
    _seen.add(_identity(file))
    assert isinstance(made, kind)
    return made


def _identity(file: Path) -> tuple[str, int, int]:
    found = file.stat()
    return str(file), found.st_dev, found.st_ino


class SqliteStorage(DagsterStorage, ConfigurableClass):
    """All of Dagster's storage in three SQLite files below `base_dir`, where Dagster's own would be."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        history = Path(base_dir) / "history"
        self._runs = _opened(KeptRuns, history, "runs")
        self._events = KeptEvents(str(history))
        self._schedules = _opened(KeptSchedules, Path(base_dir) / "schedules", "schedules")
        super().__init__()  # type: ignore[no-untyped-call]

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """What dagster.yaml says of it."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The keys that dagster.yaml takes."""
        return {"base_dir": StringSource}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """As dagster.yaml says."""
        return cls(**config_value, inst_data=inst_data)

    @property
    def run_storage(self) -> RunStorage[Any]:
        """The runs."""
        return self._runs

    @property
    def event_log_storage(self) -> EventLogStorage[Any]:
        """The events."""
        return self._events

    @property
    def schedule_storage(self) -> ScheduleStorage[Any]:
        """The ticks."""
        return self._schedules
