"""What lies there as it was is compared in full, and hardly held."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from carbonation_core.db import components, delivered
from carbonation_core.db.delivered import Rest
from carbonation_core.db.engine import reading, writing
from carbonation_core.db.models import FileComponent
from carbonation_core.delivery import gather
from carbonation_core.delivery.at_rest import rest
from carbonation_core.delivery.observe import observe
from carbonation_core.disk.scan import Look, look
from carbonation_core.disk.stamp import Stamp
from carbonation_core.lifecycle import FileStatus
from carbonation_core.names import to_text
from tests import databases
from tests.core.delivery.test_diff import diffed, facts, file
from tests.site import Site, touch

BYTES = 600  # at most that one may take more; a file that is new or changed takes 2,000


def lie_archived(site: Site, numbers: range) -> None:
    """Files that lie there as the database says, without all that leads to it."""
    rows = []
    for number in numbers:
        path = site.incoming / f"a file with a name as long as most {number:06}.dat"
        path.touch()
        rows.append(row(site, path))
    with writing(site.project.engine) as connection:
        connection.execute(insert(FileComponent), rows)


def row(site: Site, path: Path, **columns: object) -> dict[str, object]:
    usual = {
        "watch_name": "incoming",
        "filename": path.name,
        "source_path": to_text(str(path)),
        "quiet_since": site.now,
        "status": FileStatus.ARCHIVED,
        "in_delivery": True,
        "in_archive": True,
        "archive_name": "main",
        "detected_at": site.now,
        **components.stamp_values(Stamp.of(path.stat())),
    }
    return {**usual, **columns}


@databases.one
def test_what_a_look_holds_hardly_grows_with_the_files_that_lie_there_as_they_were(site: Site) -> None:
    observe(site.project, "incoming")
    peaks = []
    for numbers in (range(2_000), range(2_000, 6_000)):
        lie_archived(site, numbers)
        tracemalloc.start()
        found = observe(site.project, "incoming")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (found.files, found.new, found.changed, found.gone) == (numbers.stop, 0, 0, 0)
    assert (peaks[1] - peaks[0]) / 4_000 < BYTES


def test_of_many_that_lie_there_each_that_does_not_lie_there_as_it_was_is_told(site: Site) -> None:
    lie_archived(site, range(50))
    first, second, *_ = sorted(site.incoming.glob("*.dat"))
    observe(site.project, "incoming")
    first.unlink()
    touch(second, b"other bytes")
    site.deliver("new.dat")
    found = observe(site.project, "incoming")
    assert (found.files, found.new, found.changed, found.gone) == (50, 1, 1, 1)
    told = {path: status for path, status in site.statuses().items() if status != FileStatus.ARCHIVED}
    assert told == {second.name: "detected", "new.dat": "detected"}
    assert not site.component(first.name).in_delivery


def between(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Something happens after a look at the directory, and before what follows from it."""

    def looking(*arguments: object) -> Look:
        monkeypatch.setattr(gather, "look", look)
        found = look(*arguments)  # type: ignore[arg-type]  # as they were given
        happens()
        return found

    monkeypatch.setattr(gather, "look", looking)


@databases.one
@pytest.mark.parametrize("is_there", [True, False], ids=["changed", "gone"])
@pytest.mark.parametrize("values", [{"in_delivery": False}, {"ctime_ns": 1}, {"status": "missing"}])
def test_a_file_that_others_recorded_since_the_look_began_is_left_to_the_next(
    site: Site, monkeypatch: pytest.MonkeyPatch, is_there: bool, values: dict[str, object]
) -> None:
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    if is_there:
        touch(site.incoming / "run1.dat", b"other bytes")
    else:
        (site.incoming / "run1.dat").unlink()

    def recorded() -> None:
        with writing(site.project.engine) as connection:
            file = FileComponent.filename == "run1.dat"
            connection.execute(update(FileComponent).where(file).values(values))

    between(monkeypatch, recorded)
    found = observe(site.project, "incoming")
    assert (found.new, found.returned, found.changed, found.gone) == (0, 0, 0, 0)
    found = observe(site.project, "incoming")
    assert (found.returned + found.changed, found.gone) == (
        is_there,
        not is_there and "in_delivery" not in values,
    )


@pytest.mark.parametrize("moving", [frozenset(), frozenset({"moves", "others"})])
def test_each_component_in_delivery_is_either_at_rest_or_not(site: Site, moving: frozenset[str]) -> None:
    site.deliver("a.dat")
    path = site.incoming / "a.dat"
    rows = {
        to_text(f"{path}.{status}.{archive}"): (status, archive)
        for status in FileStatus
        for archive in (None, "moves", "copies")
    }
    with writing(site.project.engine) as connection:
        columns = [
            {"source_path": name, "status": status, "archive_name": archive}
            for name, (status, archive) in rows.items()
        ]
        connection.execute(insert(FileComponent), [row(site, path, **one) for one in columns])
    some = Rest(frozenset(FileStatus) - {FileStatus.DETECTED, FileStatus.RETRY_PENDING}, moving)
    none = Rest(frozenset({FileStatus.WAITING}), moving)
    for these in (some, none):
        with reading(site.project.engine) as connection:
            at_rest = [path for path, *_ in delivered.at_rest(connection, "incoming", these)]
            restless = [file.source_path for file in delivered.restless(connection, "incoming", these)]
        assert sorted(at_rest + restless) == sorted(rows)
        assert {rows[path] for path in at_rest} == {
            (status, archive)
            for status, archive in rows.values()
            if status in these.statuses and not (status is FileStatus.ARCHIVED and archive in moving)
        }


@pytest.mark.parametrize("other_rules", [False, True])
def test_nothing_follows_of_a_file_at_rest_that_lies_there_as_it_was(site: Site, other_rules: bool) -> None:
    at_rest = rest(site.project.config, other_rules=other_rules).statuses
    assert FileStatus.ARCHIVED in at_rest
    for status in at_rest:
        assert diffed(facts(file(status=status, group_id=None), other_rules=other_rules)).is_empty
