"""What a batch asks of the database, and of threads: little, however many groups it has."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from carbonation_core.disk import file_system, transfer
from carbonation_core.pipeline.batch_report import BatchReport
from carbonation_core.pipeline.work import Stage, work
from tests import databases
from tests.site import Site


@databases.one
def test_each_stage_reads_its_batch_once(site: Site) -> None:
    made = _made_by_stages(site)
    reads = {
        stage: sum(one.startswith("SELECT") and "FROM batch_groups" in one for one in made[stage])
        for stage in Stage
    }
    assert reads == dict.fromkeys(Stage, 1)
    assert site.group("run1").complete


@databases.one
def test_the_end_of_a_batch_reads_no_file_again(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.settle()
    (offer,) = site.claim()
    with work(site.project, offer.batch_id, "run-1") as job:
        report = job.advance(Stage.ARCHIVE)
        with _statements(site) as made:
            assert job.finish() == report
    assert not [one for one in made if "FROM file_components" in one]
    assert report == _as_stored(site, offer.batch_id)


def _as_stored(site: Site, batch_id: str) -> BatchReport:
    """The report of a batch as whoever comes later reads it."""
    with work(site.project, batch_id, "run-2", again=True) as job:
        return job.report()


@databases.one
def test_a_stage_that_all_groups_pass_does_not_hold_up_a_look(site: Site) -> None:
    made = _made_by_stages(site)
    locking = [stage for stage in Stage if any(one.startswith("UPDATE counters") for one in made[stage])]
    assert locking == [Stage.ARCHIVE]


@pytest.mark.parametrize(
    ("size", "kind", "alone"), [(10, "ext4", True), (2**20, "ext4", False), (10, "nfs4", False)]
)
@databases.one
def test_small_files_are_written_by_one_thread_if_no_other_host_is_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch, size: int, kind: str, alone: bool
) -> None:
    used: set[int] = set()

    def written(order: transfer.Order, stop: Callable[[], bool]) -> transfer.Written:
        used.add(threading.get_ident())
        return write(order, stop)

    write = transfer.write
    monkeypatch.setattr(transfer, "write", written)
    monkeypatch.setattr(file_system, "kind_of", lambda _: kind)
    site.deliver("run1.dat", "run1.json", content=bytes(size))
    site.one_pass()
    assert len(site.archived()) == 2
    assert (used == {threading.get_ident()}) == alone


def _made_by_stages(site: Site) -> dict[Stage, list[str]]:
    """What each stage of a batch asks of the database."""
    site.deliver("run1.dat", "run1.json")
    site.settle()
    (offer,) = site.claim()
    found = {}
    for stage in Stage:
        with work(site.project, offer.batch_id, "run-1") as job, _statements(site) as made:
            job.advance(stage)
        found[stage] = made
    return found


@contextmanager
def _statements(site: Site) -> Iterator[list[str]]:
    """What is asked of the database meanwhile."""
    made: list[str] = []

    def note(*arguments: Any) -> None:
        made.append(arguments[2])

    event.listen(site.project.engine, "before_cursor_execute", note)
    yield made
    event.remove(site.project.engine, "before_cursor_execute", note)
