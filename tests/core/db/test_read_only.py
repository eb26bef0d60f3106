"""Consumers that may read the database and no more: a file they cannot write, a user who may only select."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from carbonation_core import DatabaseError, ReadOnlyDatabase
from carbonation_core.api import Database
from carbonation_core.db.engine import make_engine, reading, writing
from carbonation_core.db.models import FileComponent
from carbonation_core.project import require_database
from carbonation_core.reports.status import status
from tests.site import Site

NOBODY = 65534
GRANTS = {
    "postgresql": (
        "CREATE USER {user} PASSWORD 'reader'",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}",
    ),
    "mysql": ("CREATE USER {user} IDENTIFIED BY 'reader'", "GRANT SELECT ON {database}.* TO {user}"),
}
REMOVED = {"postgresql": ("DROP OWNED BY {user}", "DROP USER {user}"), "mysql": ("DROP USER {user}",)}


@contextmanager
def unprivileged() -> Iterator[None]:
    """As somebody to whom permissions apply."""
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@contextmanager
def privileged() -> Iterator[None]:
    """As root again, within the other."""
    os.setresuid(0, 0, 0)
    try:
        yield
    finally:
        os.setresuid(NOBODY, NOBODY, 0)


def complete(site: Site, *keys: str) -> None:
    for key in keys:
        site.deliver(f"{key}.dat", f"{key}.json")
        site.one_pass()


def keys(database: Database) -> list[str]:
    return [row["group_key"] for row in database.get_new_files()[0]]


class Shelf:
    """A database of one group, in a directory that a reader can enter and not write."""

    def __init__(self, site: Site, directory: Path) -> None:
        complete(site, "run1")
        site.project.engine.dispose()
        self.site, self.directory = site, directory
        self.file = directory / "carbonation.db"
        shutil.copy(site.project.config.database.name, self.file)
        self.file.chmod(0o644)
        self.directory.chmod(0o755)
        engine = make_engine(site.project.config.database.model_copy(update={"name": str(self.file)}))
        self.writer = replace(site.project, engine=engine)
        engine = make_engine(self.writer.config.database.model_copy(update={"name": str(self.file)}))
        self.reader = Database(replace(site.project, engine=engine))

    def close(self) -> None:
        self.writer.engine.dispose()
        self.reader.close()

    def write(self, count: int) -> None:
        with writing(self.writer.engine) as connection:
            connection.execute(text(f"UPDATE files SET attempts = {count}"))

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())

    def attempts(self) -> int:
        (row,) = self.reader.query_files(columns=["attempts"])
        return int(row["attempts"])


@pytest.fixture
def shelf(site: Site) -> Iterator[Shelf]:
    if site.project.engine.dialect.name != "sqlite":
        pytest.skip("of files")
    if os.getuid() != 0:
        pytest.skip("only root can be somebody else, too")
    with tempfile.TemporaryDirectory() as directory:
        shelf = Shelf(site, Path(directory))
        yield shelf
        shelf.close()
        shelf.directory.chmod(0o700)


def test_a_file_that_cannot_be_written_is_read_where_nothing_can_be_written(shelf: Shelf) -> None:
    with unprivileged():
        require_database(shelf.reader.project)
        assert keys(shelf.reader) == ["run1"]
        assert shelf.reader.query_files(count_only=True) == 1
        with shelf.reader.session(read_only=True) as session:
            assert session.query(FileComponent).count() == 2
        assert status(shelf.reader.project).totals.groups == 1
    assert shelf.names == ["carbonation.db"]


def test_a_reader_who_may_write_beside_the_file_leaves_nothing_there(shelf: Shelf) -> None:
    shelf.directory.chmod(0o777)
    with unprivileged():
        assert keys(shelf.reader) == ["run1"]
    assert shelf.names == ["carbonation.db"]


def test_who_can_write_the_file_but_nothing_beside_it_reads(shelf: Shelf) -> None:
    shelf.file.chmod(0o666)
    with unprivileged():
        assert keys(shelf.reader) == ["run1"]
        with pytest.raises(ReadOnlyDatabase):
            shelf.reader.ack("mirror", "feed:1")


def test_a_reader_sees_each_commit_while_the_service_runs_and_after_it(shelf: Shelf) -> None:
    with unprivileged():
        assert shelf.attempts() == 0
    shelf.write(1)
    assert "carbonation.db-wal" in shelf.names
    with unprivileged():
        assert shelf.attempts() == 1
    shelf.write(2)
    with unprivileged():
        assert shelf.attempts() == 2
    shelf.reader.close()
    shelf.write(3)
    shelf.writer.engine.dispose()
    assert shelf.names == ["carbonation.db"]
    with unprivileged():
        assert shelf.attempts() == 3
    shelf.write(4)
    shelf.writer.engine.dispose()
    with unprivileged():
        assert shelf.attempts() == 4


def test_what_was_written_to_while_it_was_read_is_not_taken_for_true(shelf: Shelf) -> None:
    def read_and_write() -> None:
        with reading(shelf.reader.project.engine) as connection:
            connection.execute(text("SELECT count(*) FROM files"))
            with privileged():
                shelf.write(1)
                shelf.writer.engine.dispose()

    with unprivileged():
        with pytest.raises(DatabaseError, match="was written to while it was read"):
            read_and_write()
        assert shelf.attempts() == 1


def test_a_reader_who_acknowledges_is_told_that_it_cannot(shelf: Shelf) -> None:
    for _ in ("settled", "while the service runs"):
        with unprivileged(), pytest.raises(ReadOnlyDatabase) as raised:
            shelf.reader.ack("mirror", "feed:1")
        assert str(raised.value) == (
            'consumer "mirror" cannot acknowledge anything, and has to keep its cursor itself: this program '
            f"may only read database sqlite:///{shelf.file}: it, or what belongs beside it, cannot be written"
        )
        shelf.write(1)


def test_a_reader_writes_nothing_by_a_session_either(shelf: Shelf) -> None:
    with unprivileged(), shelf.reader.session() as session, pytest.raises(ReadOnlyDatabase):
        session.get_one(FileComponent, 1)


def test_changes_that_only_their_owner_can_take_in_are_a_sentence(shelf: Shelf) -> None:
    shelf.write(1)
    wal = (shelf.directory / "carbonation.db-wal").read_bytes()
    shelf.writer.engine.dispose()
    (shelf.directory / "carbonation.db-wal").write_bytes(wal)
    with unprivileged(), pytest.raises(DatabaseError, match="cannot be reached: unable to open"):
        keys(shelf.reader)


def test_a_file_that_cannot_be_read_or_reached_is_a_sentence(shelf: Shelf) -> None:
    shelf.file.chmod(0o600)
    with unprivileged(), pytest.raises(DatabaseError, match="cannot be reached: unable to open"):
        require_database(shelf.reader.project)
    shelf.directory.chmod(0o700)
    with unprivileged(), pytest.raises(DatabaseError, match="cannot be reached: Permission denied"):
        require_database(shelf.reader.project)


@pytest.fixture
def selecting(site: Site) -> Iterator[Database]:
    """By a user of the server who may only select."""
    engine = site.project.engine
    dialect = "mysql" if engine.dialect.name == "mariadb" else engine.dialect.name
    if dialect == "sqlite":
        pytest.skip("of servers")
    complete(site, "run1")
    database = site.project.config.database
    words = {"user": f"reader_{uuid.uuid4().hex[:12]}", "database": database.name}
    with engine.begin() as connection:
        for statement in GRANTS[dialect]:
            connection.execute(text(statement.format(**words)))
    section = database.model_copy(update={"username": words["user"], "password": "reader"})
    reader = Database(replace(site.project, engine=make_engine(section)))
    yield reader
    reader.close()
    with engine.begin() as connection:
        for statement in REMOVED[dialect]:
            connection.execute(text(statement.format(**words)))


def test_a_user_who_may_only_select_reads_all_and_acknowledges_nothing(selecting: Database) -> None:
    require_database(selecting.project)
    assert keys(selecting) == ["run1"]
    assert selecting.query_files(count_only=True) == 1
    assert [row["group_key"] for row in selecting.iter_files()] == ["run1"]
    assert status(selecting.project).totals.groups == 1
    with selecting.session(read_only=True) as session:
        assert session.query(FileComponent).count() == 2
    with pytest.raises(
        ReadOnlyDatabase, match=r'consumer "mirror" cannot acknowledge.*may only read database'
    ):
        selecting.ack("mirror", "feed:1")

    def write() -> None:
        with selecting.session() as session:
            session.get_one(FileComponent, 1).error_message = "seen"
            session.commit()

    with pytest.raises(ReadOnlyDatabase):
        write()
