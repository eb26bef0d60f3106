"""A file of SQLite that others have locked, or moved away: who waits for it says so."""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from carbonation_core.config.sections import DatabaseSection
from carbonation_core.db import migrate, sqlite
from carbonation_core.db.engine import Engine, make_engine, reading, writing
from carbonation_core.errors import DatabaseError, Overtaken
from tests import databases
from tests.site import File

AT_ONCE = timedelta(milliseconds=10)


class Told(logging.Handler):
    """What was said, and what somebody does who hears of it."""

    def __init__(self, then: Callable[[], object]) -> None:
        super().__init__()
        self.then, self.messages = then, list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        self.then()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database whose locks are spoken of at once."""
    monkeypatch.setattr(sqlite, "SILENCE", AT_ONCE)
    return Path(databases.at_head(tmp_path, File).name)


@pytest.fixture
def engine(file: Path) -> Iterator[Engine]:
    engine = make_engine(DatabaseSection(name=str(file)))
    yield engine
    engine.dispose()


@pytest.fixture
def other(file: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else's connection."""
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    yield connection
    connection.close()


@pytest.fixture
def told(other: sqlite3.Connection) -> Iterator[Told]:
    """The log, at whose word the other lets go."""
    told = Told(other.close)
    sqlite.log.addHandler(told)
    yield told
    sqlite.log.removeHandler(told)


def said(file: Path) -> str:
    name = Path("/proc/self/comm").read_text().strip()
    return f'waiting for {name} (process {os.getpid()}), which has locked database "{file}"'


def test_who_waits_to_write_says_for_whom(
    engine: Engine, other: sqlite3.Connection, told: Told, file: Path
) -> None:
    with reading(engine) as connection:  # so that it is open already
        connection.execute(text("SELECT 1"))
    other.execute("BEGIN IMMEDIATE")
    with writing(engine) as connection:
        connection.execute(text("UPDATE counters SET value = 1"))
    assert told.messages == [said(file)]


def test_who_waits_to_open_it_says_for_whom(
    engine: Engine, other: sqlite3.Connection, told: Told, file: Path
) -> None:
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN IMMEDIATE")
    with reading(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM files")).scalar_one() == 0
    assert told.messages == [said(file)]


def test_who_can_only_read_says_for_whom(
    engine: Engine, other: sqlite3.Connection, told: Told, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(sqlite, "_is_read_only", lambda path: True)
    monkeypatch.setattr(sqlite, "_is_settled", lambda path: False)
    with reading(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM files")).scalar_one() == 0
    assert told.messages == [said(file)]


def test_nobody_speaks_of_a_lock_that_is_not_held(engine: Engine, told: Told) -> None:
    with writing(engine) as connection:
        connection.execute(text("UPDATE counters SET value = 1"))
    assert told.messages == []


def test_who_waits_in_vain_ends_with_a_sentence(
    engine: Engine, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    told.then = lambda: None
    monkeypatch.setattr(sqlite, "LOCK_WAIT", AT_ONCE)
    other.execute("BEGIN IMMEDIATE")
    said = "was busy with others for too long: database is locked"
    with pytest.raises(Overtaken, match=said), writing(engine):
        pass
    other.execute("ROLLBACK")
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    engine.dispose()
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseError, match="database is locked"), reading(engine):
        pass


def test_a_file_of_another_program_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "theirs.db"
    theirs = sqlite3.connect(file)
    theirs.execute("CREATE TABLE notes (words TEXT)")
    theirs.close()
    before = file.read_bytes()
    engine = make_engine(DatabaseSection(name=str(file)))
    with reading(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM notes")).scalar_one() == 0
    engine.dispose()
    assert file.read_bytes() == before


def counted(engine: Engine) -> int:
    with reading(engine) as connection:
        return int(connection.execute(text("SELECT max(value) FROM counters")).scalar_one())


def count(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(text("UPDATE counters SET value = value + 1"))


def require_gone(engine: Engine, file: Path) -> None:
    for use in (counted, count):
        with pytest.raises(DatabaseError) as raised:
            use(engine)
        assert str(raised.value) == f'database "{file}" is gone; nothing is done until it is back'
    assert not file.exists()


def test_a_file_that_is_gone_is_not_made_anew_and_is_used_once_it_is_back(engine: Engine, file: Path) -> None:
    count(engine)
    away = file.rename(file.with_name("away.db"))
    require_gone(engine, file)
    fresh = make_engine(DatabaseSection(name=str(file)))  # as of a process that begins
    require_gone(fresh, file)
    away.rename(file)
    count(fresh)
    assert counted(engine) == counted(fresh) == 2
    fresh.dispose()


def test_a_directory_that_is_gone_is_a_file_that_is_gone(engine: Engine, file: Path) -> None:
    count(engine)
    away = file.parent.rename(file.parent.with_name("away"))
    require_gone(engine, file)
    away.rename(file.parent)
    assert counted(engine) == 1


def test_nothing_is_committed_to_a_file_that_has_gone_meanwhile(engine: Engine, file: Path) -> None:
    away = file.with_name("away.db")

    def count_and_move() -> None:
        with writing(engine) as connection:
            connection.execute(text("UPDATE counters SET value = 100"))
            file.rename(away)

    count(engine)
    with pytest.raises(DatabaseError, match="is gone"):
        count_and_move()
    away.rename(file)
    assert counted(engine) == 1


def test_a_file_that_takes_its_place_is_used_from_then_on(engine: Engine, file: Path) -> None:
    count(engine)
    with sqlite3.connect(file) as source, sqlite3.connect(file.with_name("copy.db")) as copy:
        source.backup(copy)
    for one in (source, copy):
        one.close()
    for name in (file.name, f"{file.name}-wal", f"{file.name}-shm"):
        file.with_name(name).unlink(missing_ok=True)
    file.with_name("copy.db").rename(file)
    count(engine)
    assert counted(engine) == 2
    fresh = make_engine(DatabaseSection(name=str(file)))
    assert counted(fresh) == 2
    fresh.dispose()


def test_no_new_database_is_made_beside_the_last_changes_of_one_that_is_gone(
    engine: Engine, file: Path
) -> None:
    count(engine)
    away = file.rename(file.with_name("away.db"))
    with pytest.raises(DatabaseError, match=r"lies beside .*, with the last changes of a database"):
        migrate.upgrade(engine, None)
    assert not file.exists()
    away.rename(file)
    assert counted(engine) == 1
