"""What the feed says when archived files go and come back, and the consumers that take it."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from carbonation_core import QueryError
from carbonation_core.api import Database
from carbonation_core.db.engine import writing
from carbonation_core.db.models import Counter, FeedEntry
from carbonation_core.reconcile.archive import reconcile_archive
from carbonation_core.reports.status import status
from tests import databases
from tests.site import PAIRS, Site, SiteMaker, touch


@pytest.fixture
def site(make: SiteMaker) -> Site:
    return make(PAIRS)


@pytest.fixture
def database(site: Site) -> Database:
    return Database(site.project)


def complete(site: Site, *keys: str) -> None:
    for key in keys:
        site.deliver(f"{key}.dat", f"{key}.json")
        site.one_pass()


def reconcile(site: Site) -> None:
    reconcile_archive(site.project, "main")


def hide(site: Site, *names: str) -> None:
    (site.archive / "other").touch()  # an archive that is empty looks like a mount that has gone
    for name in names:
        (site.archive / name).rename(site.directory / name)
    reconcile(site)


def bring_back(site: Site, *names: str) -> None:
    for name in names:
        (site.directory / name).rename(site.archive / name)
    reconcile(site)


def news(database: Database, cursor: str | None = None) -> list[tuple[str, str, bool]]:
    """Key, event, and whether the group is complete now, of each entry."""
    rows, _ = database.get_new_files(cursor, events=True)
    return [(row["group_key"], row["event"], row["complete"]) for row in rows]


def cursors(database: Database) -> list[str]:
    """The cursor that stands on each entry of the feed."""
    found: list[str] = []
    while database.get_new_files(found[-1] if found else None, limit=1)[0]:
        found.append(database.get_new_files(found[-1] if found else None, limit=1)[1])
    return found


def restore(site: Site, entries: int) -> None:
    """The feed as it was in a copy of the database that was made after so many entries."""
    with writing(site.project.engine) as connection:
        connection.execute(delete(FeedEntry).where(FeedEntry.sequence > entries))
        connection.execute(update(Counter).where(Counter.name == "feed").values(value=entries))


def test_a_group_whose_file_is_gone_is_retracted(site: Site, database: Database) -> None:
    complete(site, "run1", "run2")
    hide(site, "run1.json")
    assert news(database) == [
        ("run1", "completed", False),
        ("run2", "completed", True),
        ("run1", "retracted", False),
    ]
    assert site.group("run1").completed_at is not None
    assert site.group("run1").archive_path == str(site.archive / "run1.dat")
    assert database.query_files({"complete": False}, columns=["group_key"]) == [{"group_key": "run1"}]


def test_a_group_is_retracted_once_and_complete_again_when_all_its_files_are_back(
    site: Site, database: Database
) -> None:
    complete(site, "run1")
    _, cursor = database.get_new_files()
    first = site.group("run1").completed_at
    hide(site, "run1.json")
    hide(site, "run1.dat")
    bring_back(site, "run1.json")
    assert news(database, cursor) == [("run1", "retracted", False)]
    bring_back(site, "run1.dat")
    assert news(database, cursor) == [("run1", "retracted", True), ("run1", "completed", True)]
    assert site.group("run1").completed_at == first


def test_only_who_asks_for_events_hears_of_retractions(site: Site, database: Database) -> None:
    complete(site, "run1")
    _, cursor = database.get_new_files()
    hide(site, "run1.dat")
    rows, later = database.get_new_files(cursor)
    assert rows == []
    assert later != cursor
    assert news(database, later) == []


def test_a_lost_file_that_is_delivered_again_makes_its_group_complete(site: Site, database: Database) -> None:
    complete(site, "run1")
    hide(site, "run1.dat")
    _, cursor = database.get_new_files()
    site.tick_clock(86_400)
    touch(site.incoming / "run1.dat", b"other bytes")
    site.one_pass()
    assert news(database, cursor) == [("run1", "completed", True)]
    assert set(site.statuses().values()) == {"archived"}


def test_a_group_that_was_retracted_waits_anew_for_what_is_delivered_again(site: Site) -> None:
    complete(site, "run1")
    hide(site, "run1.dat", "run1.json")
    site.tick_clock(86_400)
    touch(site.incoming / "run1.dat", b"other bytes")
    site.settle()
    group = site.group("run1")
    assert (group.timed_out_at, group.due_at) == (None, None)
    assert group.deadline_at is not None


def test_what_joins_a_retracted_group_does_not_make_it_complete(make: SiteMaker) -> None:
    site = make(PAIRS.replace('expected_extensions = [".dat", ".json"]', 'expected_extensions = [".dat"]'))
    database = Database(site.project)
    site.deliver("run1.dat", "run1.txt")
    site.one_pass()
    hide(site, "run1.txt")
    _, cursor = database.get_new_files()
    site.deliver("run1.log")
    site.one_pass()
    assert site.statuses()["run1.log"] == "archived"
    assert news(database, cursor) == []
    bring_back(site, "run1.txt")
    assert news(database, cursor) == [("run1", "completed", True)]


def test_a_watch_that_is_configured_no_more_has_its_groups_retracted_too(
    site: Site, database: Database
) -> None:
    complete(site, "run1")
    config = site.project.config
    (watch,) = config.watch
    renamed = config.model_copy(update={"watch": (watch.model_copy(update={"name": "renamed"}),)})
    site.project = type(site.project)(renamed, site.project.plugin, site.project.engine, lambda: site.now)
    hide(site, "run1.dat")
    assert news(database)[-1] == ("run1", "retracted", False)


def test_a_consumer_goes_on_where_it_acknowledged(site: Site, database: Database) -> None:
    complete(site, "run1", "run2", "run3")
    assert database.acked("mirror") is None
    _, cursor = database.get_new_files(database.acked("mirror"), limit=2)
    database.ack("mirror", cursor)
    assert database.acked("mirror") == cursor
    rows, _ = database.get_new_files(database.acked("mirror"))
    assert [row["group_key"] for row in rows] == ["run3"]


def test_lag_counts_what_is_not_acknowledged_and_says_since_when(site: Site, database: Database) -> None:
    complete(site, "run1")
    _, cursor = database.get_new_files()
    database.ack("mirror", cursor)
    found = database.lag("mirror")
    assert (found.behind, found.since, found.acked_at) == (0, None, site.now)
    site.tick_clock(60)
    complete(site, "run2")
    second = site.group("run2").completed_at
    site.tick_clock(60)
    complete(site, "run3")
    found = database.lag("mirror")
    assert (found.consumer, found.cursor, found.behind) == ("mirror", cursor, 2)
    assert found.since == second


def test_a_consumer_of_one_watch_is_behind_in_that_alone(make: SiteMaker, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    other = '[[watch]]\nname = "second"\npath = "second"\nrules = "pairs"\narchive = "main"\n'
    site = make(PAIRS, more=other)
    database = Database(site.project)
    complete(site, "run1")
    database.ack("all", "feed:0")
    database.ack("one", "feed:0", watch_name="second")
    assert database.lag("all").behind == 1
    assert (database.lag("one").behind, database.lag("one").watch_name) == (0, "second")
    rows, cursor = database.get_new_files("feed:0", watch_name="second")
    assert (rows, cursor) == ([], database.get_new_files()[1])
    with pytest.raises(QueryError, match='takes that of watch "second", not the feed of all watches'):
        database.ack("one", cursor)
    with pytest.raises(QueryError, match='no watch "third"; known: "incoming", "second"'):
        database.ack("three", cursor, watch_name="third")


def test_an_acknowledgement_never_goes_back(site: Site, database: Database) -> None:
    complete(site, "run1", "run2")
    first, second = cursors(database)
    database.ack("mirror", second)
    database.ack("mirror", second)
    with pytest.raises(
        QueryError, match=f'has acknowledged "{second}" already, which is later than "{first}"'
    ):
        database.ack("mirror", first)
    assert database.acked("mirror") == second


def test_nobody_acknowledges_what_has_not_happened(site: Site, database: Database) -> None:
    complete(site, "run1")
    with pytest.raises(QueryError, match=r'"feed:2" is ahead of the feed, which ends at 1'):
        database.ack("mirror", "feed:2")
    assert database.acked("mirror") is None


def test_a_cursor_of_a_time_based_release_can_be_acknowledged(site: Site, database: Database) -> None:
    complete(site, "run1", "run2")
    (first,) = database.query_files({"group_key": "run1"})
    database.ack("mirror", f"{first['completed_at'].isoformat()}:{first['id']}")
    assert database.acked("mirror") == cursors(database)[0]


@databases.one
def test_a_cursor_of_before_a_restore_is_refused_when_the_feed_has_grown_past_it(
    site: Site, database: Database
) -> None:
    complete(site, "run1", "run2", "run3")
    first, second, third = cursors(database)
    restore(site, 1)
    with pytest.raises(
        QueryError, match=f'"{third}" is ahead of the feed, which ends at 1; it is from another'
    ):
        database.get_new_files(third)
    complete(site, "run4", "run5", "run6")
    for ask in (database.get_new_files, lambda cursor: database.ack("mirror", cursor)):
        with pytest.raises(QueryError) as raised:
            ask(third)
        assert str(raised.value) == (
            f'cursor "{third}" stands on an entry that is not in this feed; it is from another database, '
            "or this one was restored from an earlier copy; go on from a cursor as old as that copy, such "
            "as the one that `acked` gives, or from None, which is the beginning"
        )
        with pytest.raises(QueryError, match="is not in this feed"):
            ask(second)
    rows, _ = database.get_new_files(first)
    assert [row["group_key"] for row in rows] == ["run4", "run5", "run6"]


def test_a_cursor_of_before_either_of_two_restores_is_refused(site: Site, database: Database) -> None:
    old = []
    for keys in (("run1", "run2"), ("run3", "run4"), ("run5", "run6")):
        restore(site, 0)
        complete(site, *keys)
        old.append(database.get_new_files()[1])
    assert [cursor.partition("-")[0] for cursor in old] == ["feed:2"] * 3
    for cursor in old[:2]:
        with pytest.raises(QueryError, match="is not in this feed"):
            database.get_new_files(cursor)
    assert database.get_new_files(old[2]) == ([], old[2])


def test_a_consumer_goes_on_after_a_restore_from_what_was_restored_with_it(
    site: Site, database: Database
) -> None:
    complete(site, "run1", "run2")
    database.ack("mirror", cursors(database)[0])
    restore(site, 1)
    complete(site, "run3", "run4")
    rows, cursor = database.get_new_files(database.acked("mirror"))
    assert [row["group_key"] for row in rows] == ["run3", "run4"]
    assert (database.lag("mirror").cursor, database.lag("mirror").behind) == (database.acked("mirror"), 2)
    database.ack("mirror", cursor)


def test_a_cursor_that_passed_over_what_was_filtered_stands_on_it(make: SiteMaker, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    other = '[[watch]]\nname = "second"\npath = "second"\nrules = "pairs"\narchive = "main"\n'
    site = make(PAIRS, more=other)
    database = Database(site.project)
    complete(site, "run1")
    hide(site, "run1.dat")
    for given in ({"watch_name": "second"}, {}):
        _, cursor = database.get_new_files(**given)
        assert cursor.startswith("feed:2-")
        assert database.get_new_files(cursor, **given) == ([], cursor)
    restore(site, 1)
    complete(site, "run2")
    with pytest.raises(QueryError, match="is not in this feed"):
        database.get_new_files(cursor, watch_name="second")


def test_a_cursor_without_a_token_goes_on_working(site: Site, database: Database) -> None:
    assert database.get_new_files() == ([], "feed:0")
    complete(site, "run1", "run2")
    rows, cursor = database.get_new_files("feed:1")
    assert [row["group_key"] for row in rows] == ["run2"]
    assert database.get_new_files("feed:2") == ([], cursor)
    database.ack("mirror", "feed:2")
    assert database.acked("mirror") == cursor
    assert database.get_new_files("feed:0", limit=1)[1] == cursors(database)[0]


def test_an_entry_that_an_earlier_release_made_meanwhile_has_a_cursor_without_a_token(
    site: Site, database: Database
) -> None:
    complete(site, "run1")
    with writing(site.project.engine) as connection:
        connection.execute(update(FeedEntry).values(token=None))
    assert database.get_new_files()[1] == "feed:1"
    assert database.get_new_files("feed:1") == ([], "feed:1")


@pytest.mark.parametrize("name", ["", " ", "a b", "a\n", "ä", "x" * 256, None, 7])
def test_a_consumer_has_a_plain_name(database: Database, name: str) -> None:
    with pytest.raises(QueryError, match="a consumer's name has letters"):
        database.ack(name, "feed:0")


@databases.one
@pytest.mark.parametrize("cursor", [None, "", "nonsense"])
def test_only_a_cursor_can_be_acknowledged(database: Database, cursor: str) -> None:
    with pytest.raises(QueryError, match="cursor"):
        database.ack("mirror", cursor)


def test_an_unknown_consumer_is_an_error_that_lists_the_known(database: Database) -> None:
    for asked in (database.lag, database.forget):
        with pytest.raises(QueryError, match=r'no consumer "mirrow" has ever .*; known: none'):
            asked("mirrow")
    database.ack("mirror", "feed:0")
    with pytest.raises(QueryError, match='known: "mirror"'):
        database.lag("mirrow")


def test_a_consumer_that_was_forgotten_is_none_any_more(database: Database) -> None:
    database.ack("mirror", "feed:0")
    database.forget("mirror")
    assert database.acked("mirror") is None
    with pytest.raises(QueryError):
        database.lag("mirror")


def test_the_status_tells_of_each_consumer_and_warns_of_one_that_takes_nothing(
    site: Site, database: Database
) -> None:
    database.ack("backup", "feed:0")
    complete(site, "run1")
    database.ack("mirror", "feed:1")
    assert [(one.consumer, one.behind) for one in status(site.project).consumers] == [
        ("backup", 1),
        ("mirror", 0),
    ]
    assert not any("consumer" in warning for warning in status(site.project).warnings)
    site.tick_clock(timedelta(days=2).total_seconds())
    (warning,) = [one for one in status(site.project).warnings if "consumer" in one]
    assert warning.startswith("consumer backup is behind the feed by 1 since 2026-01-01 12:00")
