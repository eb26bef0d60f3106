"""What becomes of a database of carbonation 0.0.x: its groups, files and cursors."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from carbonation_core import feed
from carbonation_core.db.engine import make_engine
from carbonation_core.earlier.take_over import Imported, import_earlier
from carbonation_core.errors import DatabaseError
from carbonation_core.reconcile.delivery import reconcile_delivery
from carbonation_core.reports.preview import DONE, TO_COMPARE, preview
from tests import databases
from tests.core._helpers.earlier import BEGUN, Earlier
from tests.core._helpers.reconciling import QUICK, found, reconcile
from tests.site import Site, SiteMaker, touch

pytestmark = databases.one
RECURSIVE = {"recursive": "true"}


@dataclass
class Move:
    """The earlier project and the one that it becomes."""

    site: Site
    earlier: Earlier
    config: Path

    def take_over(self, *, dry_run: bool = False) -> Imported:
        return import_earlier(
            self.site.project, self.config, dry_run=dry_run, progress=lambda what, done, of: None
        )


@pytest.fixture
def move(make: SiteMaker, tmp_path: Path) -> Iterator[Move]:
    yield from moved(make(watch=QUICK), tmp_path)


def moved(site: Site, tmp_path: Path) -> Iterator[Move]:
    directory = tmp_path / "earlier"
    directory.mkdir()
    section = databases.fresh(directory)
    engine = make_engine(section) if not databases.SQLITE else create_engine(f"sqlite:///{section.name}")
    told = databases.as_toml(section) or "[database]\nname = 'carbonation.db'\nnever_read = 1\n"
    (directory / "config.toml").write_text(f"watch = []\narchive = []\n{told}")
    yield Move(site, Earlier(engine, site.incoming, site.archive), directory / "config.toml")
    engine.dispose()


def keys(move: Move, cursor: str | None) -> tuple[list[str], str]:
    rows, after = feed.new_files(move.site.project, cursor, None, 1000, events=False)
    return [row["group_key"] for row in rows], after


@databases.each
def test_groups_files_and_the_feed_are_taken_over(move: Move) -> None:
    earlier = move.earlier
    id_ = earlier.pair("run1", start=BEGUN, retention_date=BEGUN)
    earlier.group("young", complete=False, completed_at=None)
    earlier.file("young.dat", earlier._ids, "waiting")
    done = move.take_over()
    assert (done.groups, done.files, done.feed, done.to_first_look, done.notes) == (1, 2, 1, 1, [])
    group = move.site.group("run1")
    assert (group.id, group.complete, group.category, group.size) == (id_, True, "old", 5)
    assert (group.start, group.retention_date, group.metadata) == (
        BEGUN,
        BEGUN,
        {"category": "old", "size": 5},
    )
    assert (group.completed_at, group.created_at) == (BEGUN + timedelta(minutes=1), BEGUN)
    assert (group.archive_path, group.archive_name) == (str(move.site.archive / "run1.dat"), "main")
    assert move.site.history("run1.dat") == [(None, "archived", "imported")]
    # The look knows them, and takes the others for new.
    move.site.one_pass()
    assert move.site.statuses() == {"run1.dat": "archived", "run1.json": "archived", "young.dat": "waiting"}
    assert move.site.feed() == [("run1", "completed")]
    assert move.site.group("young").id > id_


@databases.each
def test_digests_are_read_by_the_next_reconcile(move: Move) -> None:
    move.earlier.pair("run1")
    move.take_over()
    result = reconcile(move.site)
    assert found(result, move.site.archive) == {}
    assert result.remarks == ("2 digests read",)
    assert move.site.component("run1.dat").digest == hashlib.sha256(b"bytes").hexdigest()


@databases.each
def test_an_old_cursor_goes_on_and_misses_none(move: Move) -> None:
    earlier = move.earlier
    same = BEGUN + timedelta(days=1)
    for number in range(12):  # in another order than that of the ids, some at the same time
        earlier.pair(f"run{number}", completed_at=same if number % 3 else BEGUN + timedelta(days=12 - number))
    before, cursor = earlier.new_files(None, 5)
    rest, _ = earlier.new_files(cursor)
    move.take_over()
    got, after = keys(move, cursor)
    assert got == rest
    assert len({*before, *rest}) == 12
    assert keys(move, None)[0] == before + rest
    move.site.deliver("new.dat", "new.json")
    move.site.one_pass()
    assert keys(move, after)[0] == ["new"]
    assert keys(move, cursor)[0] == [*rest, "new"]


@databases.each
def test_a_second_import_takes_only_what_is_new(move: Move) -> None:
    move.earlier.pair("run1")
    half = move.earlier.group("half", complete=False, completed_at=None)
    move.earlier.file("half.dat", half)
    assert move.take_over().groups == 2
    again = move.take_over()
    assert (again.groups, again.files, again.feed, again.notes) == (0, 0, 0, [])
    assert again.before == 5
    # The earlier service has gone on meanwhile.
    move.earlier.file("half.json", half)
    move.earlier.pair("run2")
    with move.earlier.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE files SET complete = '1', completed_at = created_at WHERE group_key = 'half'"
        )
    last = move.take_over()
    assert (last.groups, last.files, last.feed) == (1, 3, 2)
    assert move.site.group("half").complete
    assert {key for key, _ in move.site.feed()} == {"run1", "run2", "half"}


def test_a_trial_writes_nothing_and_says_the_same(move: Move) -> None:
    move.earlier.pair("run1")
    shared = move.earlier.group("shared")
    move.earlier.file("shared.dat", shared, "failed", error_message="no space")
    before = (move.config.parent / "carbonation.db").read_bytes() if databases.SQLITE else b""
    trial = move.take_over(dry_run=True)
    assert move.site.statuses() == {}
    done = move.take_over()
    assert (trial.groups, trial.files, trial.notes) == (done.groups, done.files, done.notes)
    if databases.SQLITE:
        assert (move.config.parent / "carbonation.db").read_bytes() == before


def test_a_complete_group_with_a_file_that_failed_is_complete_once_that_is_archived(move: Move) -> None:
    id_ = move.earlier.group("run1")
    move.earlier.file("run1.dat", id_)
    move.earlier.file("run1.json", id_, "failed", error_message="no space")
    done = move.take_over()
    assert done.notes == [
        f'group "run1" of watch incoming is not complete here: {move.site.incoming}/run1.json: no space'
    ]
    assert move.site.feed() == []
    from carbonation_core.delivery.retry import retry

    retry(move.site.project, group_key="run1")
    move.site.one_pass()
    assert move.site.feed() == [("run1", "completed")]
    assert move.site.group("run1").id == id_


def test_a_group_that_only_timed_out_is_not_complete(move: Move) -> None:
    id_ = move.earlier.group("late", completed_at=None)
    move.earlier.file("late.dat", id_, "timed_out", error_message="too late")
    assert "is not complete here" in move.take_over().notes[0]
    move.site.one_pass()
    assert move.site.statuses() == {"late.dat": "timed_out"}
    move.site.deliver("late.json")
    move.site.one_pass()
    assert move.site.feed() == [("late", "completed")]


@pytest.mark.parametrize("is_left", [True, False])
def test_of_two_files_with_one_archive_path_the_first_has_it(
    make: SiteMaker, tmp_path: Path, is_left: bool
) -> None:
    for move in moved(make("[single]\n", watch={**QUICK, **RECURSIVE}), tmp_path):
        one = move.earlier.group("a")
        move.earlier.file("x/a.dat", one)
        other = move.earlier.group("b")
        move.earlier.file("y/a.dat", other, is_left=is_left, archived_at=BEGUN + timedelta(days=1))
        notes = " ".join(move.take_over().notes)
        assert f"to {move.site.incoming}/x/a.dat, too" in notes
        move.site.one_pass()
        statuses = move.site.statuses()
        assert statuses["x/a.dat"] == "archived"
        assert statuses["y/a.dat"] == ("retry_pending" if is_left else "missing")
        assert move.site.feed() == [("x/a.dat", "completed")]


def test_a_missing_file_has_retracted_its_group_until_it_is_back(move: Move) -> None:
    id_ = move.earlier.group("run1")
    move.earlier.file("run1.dat", id_, "missing", is_left=False, error_message="gone")
    move.earlier.file("run1.json", id_, is_left=False)
    move.take_over()
    assert move.site.feed() == [("run1", "completed"), ("run1", "retracted")]
    (move.site.archive / "run1.dat").write_bytes(b"bytes")
    reconcile(move.site)
    assert move.site.feed()[2:] == [("run1", "completed")]
    assert move.take_over().feed == 0


def test_keys_in_a_recursive_watch_get_their_directory(make: SiteMaker, tmp_path: Path) -> None:
    for move in moved(make(watch={**QUICK, **RECURSIVE}), tmp_path):
        move.earlier.pair("run1", "site_a/")
        across = move.earlier.group("run2")
        move.earlier.file("site_a/run2.dat", across)
        move.earlier.file("site_b/run2.json", across)
        done = move.take_over()
        assert done.renamed == 1
        assert done.notes == [
            'group "run2" of watch incoming keeps its key, though its files would now be of several groups: '
            '"site_a/run2", "site_b/run2"; across_directories = true keeps such groups together'
        ]
        assert move.site.feed() == [("site_a/run1", "completed"), ("run2", "completed")]
        touch(move.site.incoming / "site_a/run1.dat", b"other")
        move.site.one_pass()
        assert move.site.feed()[2:] == [("site_a/run1", "replaced")]


def test_a_file_without_a_group_is_a_group_of_one(make: SiteMaker, tmp_path: Path) -> None:
    for move in moved(make("[single]\n", watch=QUICK), tmp_path):
        move.earlier.file("alone.dat")
        move.earlier.file("gone.dat", status="cleared", is_left=False)
        move.earlier.file("rejected.dat", status="not_selected", error_message="no rule takes it")
        assert move.take_over().notes == []
        move.site.one_pass()
        assert move.site.statuses() == {
            "alone.dat": "archived",
            "gone.dat": "cleared",
            "rejected.dat": "not_selected",
        }
        assert move.site.feed() == [("alone.dat", "completed")]


def test_what_changed_at_the_same_size_is_compared_and_archived(move: Move) -> None:
    move.earlier.pair("run1")
    move.earlier.pair("run2")
    touch(move.site.incoming / "run1.dat", b"BYTES")
    touch(move.site.incoming / "run2.dat", b"bytes")
    move.earlier.pair("run3")
    move.take_over()
    verdicts = {one.group_key: one.verdict for one in preview(move.site.project)}
    assert verdicts == {"run1": TO_COMPARE, "run2": TO_COMPARE, "run3": DONE}
    move.site.one_pass()
    assert move.site.archived()["run1.dat"] == b"BYTES"
    assert move.site.feed()[3:] == [("run1", "replaced")]
    assert set(move.site.statuses().values()) == {"archived"}


def test_what_was_found_in_the_archive_is_as_adopted(move: Move) -> None:
    id_ = move.earlier.group("run1")
    for name in ("run1.dat", "run1.json"):
        path = move.site.archive / name
        move.earlier.file(name, id_, is_left=False, watch_name=None, source_path=str(path))
    move.earlier.file("nobodys.dat", is_left=False, watch_name=None, source_path="/nobodys")
    done = move.take_over()
    assert done.notes == [
        "1 archived file without watch and group: carbonation reconcile archive --adopt registers what lies "
        "in an archive"
    ]
    assert move.site.statuses() == {"run1.dat": "archived", "run1.json": "archived"}
    assert move.site.feed() == [("run1", "completed")]


def test_a_copy_outside_every_archive_is_told(move: Move) -> None:
    id_ = move.earlier.group("run1")
    move.earlier.file("run1.dat", id_, archive_path="/elsewhere/run1.dat")
    notes = move.take_over().notes
    assert "/elsewhere/run1.dat lies in no archive of config.toml" in notes[0]
    assert "is not complete here" in notes[1]


def test_a_value_that_its_column_cannot_hold_is_told(move: Move) -> None:
    if not databases.SQLITE:
        pytest.skip("only SQLite has other values in a column than its type says")
    move.earlier.group("run1", size="many")
    move.earlier.file("run1.dat", 1)
    done = move.take_over()
    assert 'has no values of the plugin\'s columns: column "size" takes an int' in done.notes[0]
    assert move.site.group("run1").size is None


@databases.each
def test_the_sums_agree_with_the_rows(move: Move) -> None:
    from carbonation_core.db import tallies
    from carbonation_core.db.engine import reading, writing

    move.earlier.pair("run1")
    move.earlier.file("alone.dat")
    move.earlier.file("failed.dat", status="failed")
    move.take_over()
    with reading(move.site.project.engine) as connection:
        sums = tallies.read(connection)
    with writing(move.site.project.engine) as connection:
        tallies.recount(connection, ["incoming"])
    with reading(move.site.project.engine) as connection:
        assert +tallies.read(connection) == +sums


def test_another_database_is_refused(move: Move) -> None:
    own = move.site.directory / "config.toml"
    with pytest.raises(DatabaseError, match="is one of this release"):
        import_earlier(move.site.project, own, dry_run=True, progress=lambda what, done, of: None)


def test_a_reconcile_of_delivery_finds_nothing_to_do(move: Move) -> None:
    move.earlier.pair("run1")
    move.take_over()
    done = reconcile_delivery(move.site.project, "incoming")
    assert (done.new, done.returned, done.cleared) == (0, 0, 0)
