"""How a file of SQLite is opened: by whoever writes, and by whoever can only read it.

A reader of a database in WAL mode needs the two files beside it, `-wal` and
`-shm`. While somebody writes they are there. Afterwards they are gone, and who
may not make them can only have the file taken as one that does not change; so
that is done for a transaction at a time, and looked after. See
https://sqlite.org/wal.html#readonly.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from carbonation_core.db.models import VERSION_TABLE
from carbonation_core.errors import DatabaseError

log = logging.getLogger(__name__)

LOCK_WAIT = timedelta(seconds=60)  # how long a writer waits for the others
SILENCE = timedelta(seconds=5)  # of that, before it is said
FILE_MODE = 0o640
_UNCHANGED = "mode=ro&immutable=1"
_WHOSE = f"""
    SELECT count(*), count(CASE WHEN name = '{VERSION_TABLE}' THEN 1 END)
    FROM sqlite_master WHERE type = 'table'
"""  # noqa: S608  # the name is ours


class _File(sqlite3.Connection):
    """A connection to the file that lay at a path when it was opened."""

    which: tuple[int, int] | None = None


class _Reader(_File):
    """A connection that cannot write."""


class _OnceOnly(_Reader):
    """One that knows nothing of what others write, and so is good for a single transaction."""


def make(path: Path) -> None:
    """Have there be a file, for tables that are to be made; whoever connects makes none."""
    wal = path.with_name(f"{path.name}-wal")
    # Asked again at the end, as another may be making both at this moment.
    if not is_there(path) and wal.exists() and not is_there(path):
        # SQLite would remove it, and with it what the other had yet to take in.
        raise DatabaseError(
            f'"{wal}" lies beside database "{path}", with the last changes of a database that is gone; '
            "bring that one back, or move this away, too"
        )
    try:
        # SQLite would let everybody read it; what it makes beside it has the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE))
    except FileExistsError:
        pass
    except OSError as error:
        raise DatabaseError(f'database "{path}" cannot be made: {error.strerror}') from error


def connect(path: Path) -> sqlite3.Connection:
    """A connection to the file; one that only reads if we may do no more.

    Raises `DatabaseError` if it is gone.
    """
    which = _which(path)
    if which is None:
        raise DatabaseError(gone(path))
    if not _is_read_only(path):
        connection = _open(path, _File, "mode=rw", which)
        tables, ours = _wait_for(connection, path, _WHOSE)
        if ours or not tables:  # another program's file stays as it is until somebody makes ours in it
            _wait_for(connection, path, "PRAGMA journal_mode = WAL")
        # A `move` removes its source once the record of its copy is committed, so
        # a commit must survive a power cut; NORMAL could lose the last ones.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection
    kind, how = (_OnceOnly, _UNCHANGED) if _is_settled(path) else (_Reader, "mode=ro")
    connection = _open(path, kind, how, which)
    _wait_for(connection, path, "PRAGMA schema_version")
    return connection


def _open(path: Path, kind: type[_File], how: str, which: tuple[int, int]) -> _File:
    uri = f"{path.absolute().as_uri()}?{how}"
    connection = sqlite3.connect(
        uri, LOCK_WAIT.total_seconds(), check_same_thread=False, factory=kind, uri=True
    )
    # Without this the driver begins transactions of its own, and too late.
    connection.isolation_level = None
    connection.which = which
    return connection


def _wait_for(connection: sqlite3.Connection, path: Path, statement: str) -> tuple[int, ...]:
    # SQLite itself does not wait here for others who are making the database, too.
    begun, said = time.monotonic(), False
    while True:
        try:
            with patient(connection, SILENCE.total_seconds()):
                return tuple(connection.execute(statement).fetchone())
        except sqlite3.OperationalError as error:
            waited = timedelta(seconds=time.monotonic() - begun)
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or waited > LOCK_WAIT:
                raise
        if not said and waited >= SILENCE:
            say_locked(path)
            said = True
        time.sleep(0.05)


@contextmanager
def patient(connection: sqlite3.Connection, seconds: float) -> Iterator[None]:
    """Wait for the locks of others only so long."""
    connection.execute(f"PRAGMA busy_timeout = {round(1000 * seconds)}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {LOCK_WAIT // timedelta(milliseconds=1)}")


def say_locked(path: Path) -> None:
    """Tell the log what is waited for."""
    log.warning('waiting for %s, which has locked database "%s"', _holder(path), path)


def _holder(path: Path) -> str:
    """The process that holds the lock of writers, if Linux says so; see https://sqlite.org/walformat.html."""
    shared = path.with_name(f"{path.name}-shm")
    with suppress(OSError, ValueError):
        files = {str(file.stat().st_ino) for file in (path, shared) if file.exists()}
        for line in Path("/proc/locks").read_text().splitlines():
            _, kind, _, access, pid, place = line.split()[:6]
            if (kind, access) == ("POSIX", "WRITE") and place.rpartition(":")[2] in files:
                return f"{Path('/proc', pid, 'comm').read_text().strip()} (process {pid})"
    return "another program"


@contextmanager
def without_references(connection: sqlite3.Connection) -> Iterator[None]:
    """Have a transaction, which begins and ends within, drop what others refer to."""
    connection.execute("PRAGMA foreign_keys = OFF")  # which does nothing inside a transaction
    try:
        yield
    finally:
        connection.execute("PRAGMA foreign_keys = ON")


def dangling(connection: sqlite3.Connection) -> set[tuple[str, int, str, int]]:
    """Rows that refer to rows that are not there: table, row, table it refers to, which of its keys."""
    return set(connection.execute("PRAGMA foreign_key_check"))


def is_there(path: Path) -> bool:
    """Whether there is such a file; raises `DatabaseError` when that cannot be seen."""
    return _which(path) is not None


def gone(path: Path) -> str:
    """What is said when a file that was there is not."""
    return f'database "{path}" is gone; nothing is done until it is back'


def is_of(connection: object, path: Path) -> bool:
    """Whether the connection's file still lies there, and was not moved, removed or replaced."""
    return isinstance(connection, _File) and connection.which == _which(path)


def _which(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DatabaseError(f'database "{path}" cannot be reached: {error.strerror}') from error
    return found.st_dev, found.st_ino


def is_reader(connection: object) -> bool:
    """Whether the connection cannot write."""
    return isinstance(connection, _Reader)


def is_used_up(connection: object) -> bool:
    """Whether a connection that comes back from a transaction may not have another."""
    return isinstance(connection, _OnceOnly)


@contextmanager
def undisturbed(path: Path) -> Iterator[None]:
    """Raise `DatabaseError` if what was read without locks was written to meanwhile."""
    before = _version(path) if _is_read_only(path) and _is_settled(path) else None
    try:
        yield
    finally:
        if before is not None and _version(path) != before:
            raise DatabaseError(
                f'database "{path}" was written to while it was read by one who may only read it; ask again'
            )


def _is_read_only(path: Path) -> bool:
    if not is_there(path) or (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return False
    # While the files beside it are there, who may write it needs to make none.
    return _is_settled(path) or not os.access(path, os.W_OK)


def _is_settled(path: Path) -> bool:
    """Whether all that was committed stands in the file itself."""
    return not path.with_name(f"{path.name}-wal").exists()


def _version(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
