"""The front door for programs."""

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

import carbonation_core
from carbonation_core import DatabaseError, Plugin, QueryDefaults, QueryError
from carbonation_core.api import Database
from carbonation_core.db.engine import reading
from carbonation_core.db.models import FileComponent
from carbonation_core.delivery.retry import retry
from tests import databases
from tests.site import PAIRS, PLUGIN, File, Site, SiteMaker, touch

SIZED = PAIRS + '[pairs.metadata]\nextract = "sizes"\n'


@pytest.fixture
def site(make: SiteMaker) -> Site:
    return make(SIZED)


@pytest.fixture
def database(site: Site) -> Database:
    return Database(site.project)


def complete(site: Site, *keys: str, content: bytes = b"bytes") -> None:
    """Deliver a group at a time and archive it, so that order is that of the arguments."""
    for key in keys:
        site.deliver(f"{key}.dat", f"{key}.json", content=content)
        site.one_pass()


def test_an_archived_group_is_a_row(site: Site, database: Database) -> None:
    complete(site, "run1")
    (row,) = database.query_files({"category": "bytes", "size_min": 10, "complete": True})
    assert row["group_key"] == "run1"
    assert row["archive_path"] == str(site.archive / "run1.dat")
    assert row["metadata"] == {"category": "bytes", "size": 10}
    assert row["created_at"] == site.now
    assert row["created_at"].tzinfo is UTC


def test_a_count_is_of_all_that_match_whatever_the_limit(site: Site, database: Database) -> None:
    complete(site, "run1", "run2")
    assert database.query_files(count_only=True) == 2
    assert database.query_files(limit=1, count_only=True) == 2
    assert database.query_files({"group_key": []}, count_only=True) == 0


def test_the_plugin_says_what_is_the_default(make: SiteMaker) -> None:
    defaults = QueryDefaults(limit=1, order_by="-group_key", columns=("group_key",))
    site = make(SIZED, plugin=Plugin(File, extractors=PLUGIN.extractors, query_defaults=defaults))
    complete(site, "run1", "run2")
    database = Database(site.project)
    assert database.query_files() == [{"group_key": "run2"}]
    assert database.query_files(limit=5, order_by="id", columns=["id"]) == [{"id": 1}, {"id": 2}]
    assert [row["group_key"] for row in database.get_new_files()[0]] == ["run1", "run2"]


def test_rows_can_be_had_one_by_one_and_faults_at_once(site: Site, database: Database) -> None:
    complete(site, "run1", "run2")
    assert [row["id"] for row in database.iter_files(order_by="-id")] == [2, 1]
    with pytest.raises(QueryError):
        database.iter_files({"nope": 1})


@databases.one
def test_filters_describe_themselves(database: Database) -> None:
    described = {one.name: one for one in database.describe_filters()}
    assert described["size_min"].column == "size"
    assert described["file_type"].other_names == ("type",)
    assert all(one.description for one in described.values())


def test_the_feed_gives_each_entry_once_in_order(site: Site, database: Database) -> None:
    complete(site, "run1", "run2", "run3")
    rows, cursor = database.get_new_files(limit=2)
    assert [(row["group_key"], row["event"]) for row in rows] == [
        ("run1", "completed"),
        ("run2", "completed"),
    ]
    assert rows[0]["sequence"] < rows[1]["sequence"]
    rows, cursor = database.get_new_files(cursor)
    assert [row["group_key"] for row in rows] == ["run3"]
    assert database.get_new_files(cursor) == ([], cursor)


def test_an_empty_feed_has_a_cursor_that_misses_nothing(site: Site, database: Database) -> None:
    rows, cursor = database.get_new_files()
    assert rows == []
    complete(site, "run1")
    assert [row["group_key"] for row in database.get_new_files(cursor)[0]] == ["run1"]


def test_a_replaced_group_is_a_new_entry(site: Site, database: Database) -> None:
    complete(site, "run1")
    _, cursor = database.get_new_files()
    touch(site.incoming / "run1.dat", b"other bytes")
    site.one_pass()
    (row,), _ = database.get_new_files(cursor)
    assert (row["group_key"], row["event"], row["category"]) == ("run1", "replaced", "other bytes")


def test_the_feed_of_one_watch(site: Site, database: Database) -> None:
    complete(site, "run1")
    assert len(database.get_new_files(watch_name="incoming")[0]) == 1
    with pytest.raises(QueryError, match='no watch "incomming"; known: "incoming"'):
        database.get_new_files(watch_name="incomming")


def test_a_watch_that_is_configured_no_more_keeps_its_feed(site: Site, database: Database) -> None:
    complete(site, "run1")
    watches = (site.project.config.watch[0].model_copy(update={"name": "renamed"}),)
    config = site.project.config.model_copy(update={"watch": watches})
    later = Database(type(site.project)(config, site.project.plugin, site.project.engine))
    assert len(later.get_new_files(watch_name="incoming")[0]) == 1


def test_a_cursor_of_a_time_based_release_is_translated(site: Site, database: Database) -> None:
    complete(site, "run1", "run2", "run3")
    second = database.query_files({"group_key": "run2"})[0]
    for at in (second["completed_at"], second["completed_at"].replace(tzinfo=None)):
        rows, cursor = database.get_new_files(f"{at.isoformat()}:{second['id']}")
        assert [row["group_key"] for row in rows] == ["run3"]
        assert database.get_new_files(cursor) == ([], cursor)
    before = second["completed_at"] - timedelta(microseconds=1)
    rows, _ = database.get_new_files(f"{before.isoformat()}:{second['id']}")
    assert [row["group_key"] for row in rows] == ["run2", "run3"]
    _, cursor = database.get_new_files("2100-01-01T00:00:00:1")
    assert cursor == database.get_new_files()[1]


@databases.one
@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "nonsense",
        "feed:",
        "feed:-1",
        "feed:x",
        "feed:1 ",
        "3",
        "feed:" + "9" * 30,
        "2026-13-01:4",
        ":4",
        7,
    ],
)
def test_a_malformed_cursor_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(QueryError, match="none that get_new_files gave"):
        database.get_new_files(cursor)


def test_a_cursor_of_another_database_is_refused(site: Site, database: Database) -> None:
    complete(site, "run1")
    with pytest.raises(QueryError, match="ahead of the feed, which ends at 1"):
        database.get_new_files("feed:2")


STRANGE = (2**70, -1, 1.5, True, b"x", "\0", "\ud800", "x" * 100_000, [7], [None], {"a": 1}, object())


@pytest.mark.parametrize(
    ("ask", "argument"),
    [
        (Database.query_files, "filters"),
        (Database.query_files, "columns"),
        (Database.query_files, "order_by"),
        (Database.query_files, "limit"),
        (Database.get_new_files, "cursor"),
        (Database.get_new_files, "watch_name"),
        (Database.get_new_files, "limit"),
        (Database.acked, "consumer"),
        (Database.lag, "consumer"),
        (Database.forget, "consumer"),
        (Database.ack, "consumer"),
        (Database.ack, "cursor"),
        (Database.ack, "watch_name"),
    ],
)
def test_what_no_question_can_hold_is_refused_before_the_database_sees_it(
    database: Database, ask: Callable[..., object], argument: str
) -> None:
    given = {"consumer": "mirror", "cursor": "feed:0"} if ask is Database.ack else {}
    for value in STRANGE:
        with pytest.raises(QueryError) as raised:
            ask(database, **{**given, argument: value})
        assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    "name", ["category", "size", "start", "complete", "group_key", "size_min", "start_after"]
)
def test_no_value_of_a_filter_reaches_the_database_that_it_would_not_take(
    database: Database, name: str
) -> None:
    for value in STRANGE:
        try:
            database.query_files({name: value})
        except QueryError as error:
            assert f'filter "{name}"' in str(error)  # noqa: PT017  # the others are answered: with nothing


@databases.one
@pytest.mark.parametrize("limit", [0, -1, True, "3", None])
def test_the_feed_wants_a_limit(database: Database, limit: int) -> None:
    with pytest.raises(QueryError, match="limit"):
        database.get_new_files(limit=limit)


def test_the_service_has_no_status_before_its_first_start(site: Site, database: Database) -> None:
    assert database.get_service_status() is None
    site.deliver("run1.dat", "run1.json")
    site.settle()
    found = database.get_service_status()
    assert found is not None
    assert found["last_heartbeat"] == site.now
    assert (found["running"], found["started_at"]) == (False, None)
    assert (found["queue_depth"], found["workers_active"]) == (1, 0)
    assert found["parts"]["watch:incoming"]["files"] == 2


def test_a_status_set_by_hand_is_kept_as_history(site: Site, database: Database) -> None:
    complete(site, "run1")
    with database.session() as session:
        component = session.scalars(select(FileComponent).where(FileComponent.filename == "run1.dat")).one()
        component.status = "failed"
        session.commit()
    assert site.component("run1.dat").status == "failed"
    assert site.history("run1.dat")[-1] == ("archived", "failed", "by hand")
    assert retry(site.project) == 1


def test_a_status_that_is_set_unseen_has_its_history_too(site: Site, database: Database) -> None:
    complete(site, "run1")
    with database.session() as session:
        component = session.get_one(FileComponent, site.component("run1.dat").id)
        session.expire(component)
        component.status = "missing"
        session.flush()
        component.status = "archived"
        session.commit()
    assert [to for _, to, event in site.history("run1.dat") if event == "by hand"] == ["missing", "archived"]


def test_the_same_status_is_no_history(site: Site, database: Database) -> None:
    complete(site, "run1")
    before = site.history("run1.dat")
    with database.session() as session:
        for component in session.scalars(select(FileComponent)):
            component.status = "archived"
            component.error_message = "seen"
        session.commit()
    assert site.history("run1.dat") == before
    assert site.component("run1.dat").error_message == "seen"


def test_an_unknown_status_is_refused_with_the_known_ones(site: Site, database: Database) -> None:
    complete(site, "run1")
    with database.session() as session:
        session.scalars(select(FileComponent)).first().status = "done"  # type: ignore[union-attr]  # there is one
        with pytest.raises(QueryError, match=r'no status "done"; known: "archived", .*"waiting"'):
            session.commit()
    assert site.component("run1.dat").status == "archived"


def test_a_bulk_update_of_statuses_is_refused(site: Site, database: Database) -> None:
    complete(site, "run1")
    with database.session() as session:
        with pytest.raises(QueryError, match="history"):
            session.execute(update(FileComponent).values(status="failed"))
        with pytest.raises(QueryError, match="history"):
            session.execute(update(FileComponent), [{"id": 1, "status": "failed"}])
        session.execute(update(FileComponent).where(FileComponent.status == "archived").values(inode="1:1"))
        session.commit()
    assert site.statuses()["run1.dat"] == "archived"


def test_what_is_not_committed_is_not_kept(site: Site, database: Database) -> None:
    complete(site, "run1")
    with database.session() as session:
        session.get_one(FileComponent, 1).status = "failed"
        session.flush()
    assert set(site.statuses().values()) == {"archived"}


def test_a_read_only_session_writes_nothing_and_stops_nobody(site: Site, database: Database) -> None:
    complete(site, "run1")
    with database.session(read_only=True) as session:
        component = session.get_one(FileComponent, 1)
        complete(site, "run2")  # while the session has its transaction
        component.status = "failed"
        with pytest.raises(QueryError, match="read_only"):
            session.commit()
        session.rollback()
        with pytest.raises(QueryError, match="read_only"):
            session.execute(update(FileComponent).values(inode="1:1"))


def test_the_session_knows_the_plugins_model(site: Site, database: Database) -> None:
    complete(site, "run1")
    with database.session() as session:
        model = session.info["File"]
        assert model is File
        assert session.scalars(select(model.category)).all() == ["bytes"]


@databases.of_sqlite
def test_a_database_that_is_not_initialised_is_not_made(site: Site, database: Database) -> None:
    site.project.engine.dispose()
    file = Path(site.project.config.database.name)
    file.unlink()
    from carbonation_core.project import require_database

    with pytest.raises(DatabaseError, match="run: carbonation db init"):
        require_database(site.project)
    assert not file.exists()


def test_a_reader_sees_one_state_while_others_write(site: Site) -> None:
    complete(site, "run1")
    with reading(site.project.engine) as connection:
        first = connection.execute(select(FileComponent.id)).all()
        complete(site, "run2")
        assert connection.execute(select(FileComponent.id)).all() == first


def test_importing_the_package_imports_nothing_heavy() -> None:
    script = (
        "import sys, carbonation_core; assert not {'sqlalchemy', 'pydantic', 'dagster'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])


def test_all_that_is_exported_is_there() -> None:
    assert set(carbonation_core.__all__) <= set(dir(carbonation_core))
    for name in carbonation_core.__all__:
        assert getattr(carbonation_core, name).__name__ == name
    assert carbonation_core.FileComponent is FileComponent
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", carbonation_core.__version__)
    with pytest.raises(AttributeError):
        carbonation_core.nothing_of_that_name  # noqa: B018  # it is looked up


def test_times_before_the_clock_was_wrong_do_not_disturb_the_feed(site: Site, database: Database) -> None:
    complete(site, "run1")
    _, cursor = database.get_new_files()
    site.now = datetime(2020, 1, 1, tzinfo=UTC)
    complete(site, "run2")
    assert [row["group_key"] for row in database.get_new_files(cursor)[0]] == ["run2"]


def test_delivered_files_are_asked_for_with_what_they_wait_for(site: Site, database: Database) -> None:
    site.deliver("run1.dat", "run1.json", "run2.dat")
    touch(site.incoming / "run3.dat", b"")
    site.one_pass()
    (waits,) = database.query_components({"status": "waiting"}, ["path", "group_key", "waits_for"])
    assert waits["path"] == str(site.incoming / "run2.dat")
    assert waits["group_key"] == "run2"
    assert waits["waits_for"].startswith("waits for .json until 2026-01-01 14:00:03 UTC")

    (refused,) = database.query_components({"reason": "%min_size%", "since_after": site.now})
    assert (refused["status"], refused["group_key"], refused["waits_for"]) == ("integrity_failed", None, None)

    archived = database.iter_components({"status": ["archived"]}, order_by="-filename")
    assert [row["filename"] for row in archived] == ["run1.json", "run1.dat"]
    by_path = {"path": str(site.incoming / "run1.dat")}
    assert database.query_components(by_path, count_only=True) == 1


@databases.one
@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"filters": {"status": "fialed"}}, 'filter "status" takes one of .*"failed"'),
        ({"filters": {"state": "failed"}}, 'did you mean "status"'),
        ({"columns": ["waits"]}, 'known: .*"waits_for"'),
        ({"order_by": "waits_for"}, "order_by: there is no column"),
    ],
)
def test_what_no_delivered_file_has_is_an_error_at_once(
    database: Database, options: dict[str, Any], fault: str
) -> None:
    with pytest.raises(QueryError, match=fault):
        database.iter_components(**options)
