"""A database that is copied into another: what is the same there, and when nothing is copied."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Update, insert, null, select, text, update

from carbonation_core.api import Database
from carbonation_core.config.sections import DatabaseSection
from carbonation_core.database_copy import Copied, copy_database
from carbonation_core.db import migrate, service, tables
from carbonation_core.db.address import section_of
from carbonation_core.db.columns import jsonable
from carbonation_core.db.engine import make_engine, reading, writing
from carbonation_core.db.models import StatusChange, WatchOwner
from carbonation_core.errors import ConfigError, DatabaseError
from carbonation_core.process import this_process
from carbonation_core.project import Progress, Project, require_database
from tests import databases
from tests.site import File, Site


def quietly(what: str, done: int, of: int | None) -> None:
    pass


class Move:
    """A site, and the database that it moves to."""

    def __init__(self, site: Site) -> None:
        self.site, self.before = site, site.project
        self._directory = site.directory / "copy"
        self._directory.mkdir()
        self.to = databases.at_head(self._directory, File)

    def copy(self, progress: Progress = quietly) -> Copied:
        return copy_database(self.before, self.to, progress)

    @property
    def there(self) -> Project:
        return replace(self.before, engine=make_engine(self.to, jsonable))

    def go_on_there(self) -> Database:
        self.site.project = self.there
        return Database(self.site.project)


@pytest.fixture
def move(site: Site) -> Move:
    site.deliver("run1.dat", "run1.json", "run2.dat", "run2.json", "half.dat")
    site.one_pass()
    return Move(site)


def content(project: Project) -> dict[str, list[Any]]:
    """All rows of all tables; of JSON also whether there is any."""
    found = {}
    with reading(project.engine) as connection:
        for table in tables.all_of(File).values():
            rows = connection.execute(select(table).order_by(*table.primary_key)).all()
            found[table.name] = [tuple(row) for row in rows]
        missing = "SELECT id FROM files WHERE metadata IS NULL ORDER BY id"
        found["without metadata"] = list(connection.execute(text(missing)).scalars())
    return found


def test_the_service_goes_on_there_and_the_feed_has_no_gap(move: Move) -> None:
    site = move.site
    before = Database(site.project)
    rows, cursor = before.get_new_files(limit=1)
    before.ack("mirror", cursor)
    done = move.copy()
    assert (done.rows["files"], done.rows["feed"]) == (3, 2)
    database = move.go_on_there()
    assert database.acked("mirror") == cursor
    site.deliver("half.json", "run3.dat", "run3.json")
    site.one_pass()
    more, last = database.get_new_files(cursor)
    keys = [row["group_key"] for row in (*rows, *more)]
    assert sorted(keys[:2]) == ["run1", "run2"]
    assert sorted(keys[2:]) == ["half", "run3"]
    assert [row["sequence"] for row in (*rows, *more)] == [1, 2, 3, 4]
    assert database.get_new_files(last)[0] == []
    # What was archived before is so still, and once.
    assert set(site.statuses().values()) == {"archived"}
    assert len(site.archived()) == len(site.copies()) == 8
    assert site.group("run3").id > max(row["id"] for row in before.query_files())


def test_each_row_is_the_same_after_a_way_over_sqlite(move: Move, tmp_path: Path) -> None:
    with writing(move.before.engine) as connection:
        # JSON that is null is something else than none.
        row = {"watch_name": "incoming", "created_at": move.site.now, "modified_at": move.site.now}
        for key, metadata in (("none", null()), ("null", None), ("deep", {"ä": [1.5, None, "\\"]})):
            values = {**row, "group_key": key, "metadata": metadata, "category": key, "start": move.site.now}
            connection.execute(insert(File.__table__).values(**values))
    before = content(move.before)
    assert len(before["without metadata"]) < len(before["files"])
    between = DatabaseSection(name=str(tmp_path / "between.db"))
    engine = make_engine(between, jsonable)
    migrate.upgrade(engine, None)
    with writing(engine) as connection:
        for column in ("category TEXT", "size BIGINT", "start DATETIME"):
            connection.exec_driver_sql(f"ALTER TABLE files ADD COLUMN {column}")
    copy_database(move.before, between, quietly)
    copy_database(replace(move.before, engine=engine), move.to, quietly)
    assert content(move.there) == before
    engine.dispose()


def test_a_database_with_rows_is_left_as_it_is(move: Move) -> None:
    move.copy()
    with pytest.raises(DatabaseError, match=r"has rows already \(.*files 3.*name an empty one"):
        move.copy()
    require_database(move.there)
    with pytest.raises(DatabaseError, match=r"is the one that config\.toml names"):
        copy_database(move.before, move.before.config.database, quietly)


def test_an_unfinished_copy_says_so_and_is_begun_again(move: Move) -> None:
    def interrupted(what: str, done: int, of: int | None) -> None:
        if what == "status_changes":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move.copy(interrupted)
    for use in (require_database, lambda project: migrate.upgrade(project.engine, None)):
        with pytest.raises(DatabaseError, match=r"is an unfinished copy of another; .*carbonation db copy"):
            use(move.there)
    move.copy()
    require_database(move.there)
    assert content(move.there) == content(move.before)


def test_what_somebody_writes_meanwhile_is_not_lost(move: Move) -> None:
    component = move.site.component("half.dat")

    def disturbed(what: str, done: int, of: int | None) -> None:
        if what == "feed":
            values = {"component_id": component.id, "at": move.site.now, "event": "late"}
            with writing(move.before.engine) as connection:
                connection.execute(insert(StatusChange).values(to_status="waiting", **values))

    with pytest.raises(DatabaseError, match=r"somebody wrote to .* \(changed: status_changes\)"):
        move.copy(disturbed)
    with pytest.raises(DatabaseError, match="unfinished copy"):
        require_database(move.there)


def test_what_a_program_acknowledges_meanwhile_is_not_lost(move: Move) -> None:
    database = Database(move.before)
    _, first = database.get_new_files(limit=1)
    database.ack("mirror", first)

    def disturbed(what: str, done: int, of: int | None) -> None:
        if what == "feed":
            database.ack("mirror", database.get_new_files(first)[1])

    with pytest.raises(DatabaseError, match=r"somebody wrote to .* \(changed: consumers.*nothing is copied"):
        move.copy(disturbed)
    with pytest.raises(DatabaseError, match="unfinished copy"):
        require_database(move.there)
    with reading(move.there.engine) as connection:
        assert tables.has_rows(tables.counts(connection, File)) == {}
    move.copy()
    assert move.go_on_there().acked("mirror") == database.acked("mirror") != first


@pytest.mark.parametrize("change", [update(WatchOwner).values(site="south"), update(File).values(size=7)])
def test_what_somebody_changes_meanwhile_is_not_lost(move: Move, change: Update) -> None:
    def disturbed(what: str, done: int, of: int | None) -> None:
        if what == "status_changes":
            with writing(move.before.engine) as connection:
                connection.execute(change)

    with pytest.raises(DatabaseError, match=rf"somebody wrote to .* \(changed: {change.table.name}\)"):
        move.copy(disturbed)
    move.copy()
    assert content(move.there) == content(move.before)


def at_work(move: Move, process: str, host: str = "here") -> None:
    details = {"running": True, "process": process, "pid": 4711, "silence": 180}
    with writing(move.before.engine) as connection:
        service.say(connection, service.SERVICE, move.site.now, details, site="north", host=host)


def test_while_a_service_works_nothing_is_copied(move: Move) -> None:
    at_work(move, this_process("service"))
    with pytest.raises(DatabaseError, match=r"a service on host here \(pid 4711\) at work.*stop it first"):
        move.copy()
    at_work(move, this_process("service").replace("#", "0#"))  # of that pid, and begun at another time
    at_work(move, "elsewhere/1/1#service", "there")
    with pytest.raises(DatabaseError, match="a service on host there"):
        move.copy()
    move.site.tick_clock(200)
    move.copy()


def test_a_column_that_no_model_has_is_not_lost(move: Move) -> None:
    with writing(move.before.engine) as connection:
        connection.exec_driver_sql("ALTER TABLE files ADD COLUMN former TEXT")
    with pytest.raises(DatabaseError, match=r'values would be lost: "files.former"; .*drop them'):
        move.copy()


@databases.one
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("carbonation.db", "is no URL of a database"),
        ("postgresql://me:geheim@host:port/name", "is no URL of a database"),
        ("postgres://me:geheim@host/name", 'key "drivername": should be'),
        ("postgresql://me:geheim@host/name?sslmode=require", 'no keys in config.toml for "sslmode"'),
        ("postgresql://me:geheim@host", "names no database"),
        ("postgresql://me:geheim@host:99999/name", 'key "port"'),
        ("sqlite://other.db", "names no database"),
        ("sqlite://data/other.db", "a file has no host"),
    ],
)
def test_a_url_that_is_none_is_a_sentence_without_its_password(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        section_of(url, "--to", Path("/srv"))
    assert str(raised.value).startswith("--to: ")
    assert "geheim" not in str(raised.value)


@databases.one
def test_what_a_url_does_not_say_comes_from_where_it_always_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CARBONATION_DATABASE_PASSWORD", "geheim")
    found = section_of("postgresql://me@host/name", "--to", Path("/srv"))
    assert (found.username, found.password, found.host, found.name) == ("me", "geheim", "host", "name")
    assert section_of("postgresql://me:other@host/name", "--to", Path("/srv")).password == "other"
    assert section_of("sqlite:///data/other.db", "--to", Path("/srv")).name == "/srv/data/other.db"
