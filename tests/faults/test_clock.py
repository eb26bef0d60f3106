"""Clocks that jump, and files from other times: delays perhaps, and never wrong or missing bytes."""

import os
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from carbonation_core.pipeline.work import Stage, work
from tests.site import SINGLE, Site, SiteMaker, touch

DAY = 86_400
NAME = "a.bin"
STEPS: list[Callable[[Site], object]] = [
    lambda site: site.deliver(NAME, content=b"first"),
    lambda site: site.tick(),
    lambda site: site.tick(3),
    lambda site: site.run_all(),
    lambda site: site.tick(3),
    lambda site: touch(site.incoming / NAME, b"second"),
    lambda site: site.tick(),
    lambda site: site.tick(3),
    lambda site: site.run_all(),
    lambda site: site.tick(3),
]


@pytest.mark.parametrize("jump", [DAY, -DAY])
@pytest.mark.parametrize("action", ["copy", "move"])
@pytest.mark.parametrize("before", range(1, len(STEPS)))
def test_a_jump_between_any_two_steps_loses_and_repeats_nothing(
    make: SiteMaker, action: str, before: int, jump: int
) -> None:
    site = make(SINGLE, archive={"action": f'"{action}"'})
    for number, step in enumerate(STEPS):
        if number == before:
            site.tick_clock(jump)
        step(site)
    for _ in range(2):
        site.one_pass()
    assert site.archived() == {NAME: b"second"}
    assert site.statuses() == {NAME: "archived"}
    # The first bytes may have been replaced before they had settled.
    assert [event for _, event in site.feed()] in (["completed", "replaced"], ["completed"])


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_a_jump_between_any_two_stages_changes_nothing(make: SiteMaker, jump: int) -> None:
    site = make(SINGLE)
    for number, stage in enumerate(Stage):
        name = f"{number}.bin"
        site.deliver(name)
        site.settle()
        (offer,) = site.claim()
        with work(site.project, offer.batch_id, "run-1") as job:
            for one in Stage:
                job.advance(one)
                if one is stage:
                    site.tick_clock(jump)
            job.finish()
        assert site.statuses()[name] == "archived"
        site.tick()
        site.tick_clock(-jump)
    assert len(site.feed()) == len(Stage)


@pytest.mark.parametrize(
    "mtime",
    [
        0,
        1,
        -1_000_000_001,
        datetime(1950, 1, 1, tzinfo=UTC).timestamp() * 1e9,
        datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1e9,
        (1 << 32) * 1e9,
    ],
)
@pytest.mark.parametrize("action", ["copy", "move"])
def test_a_file_from_another_time_settles_by_our_clock_and_keeps_its_own(
    make: SiteMaker, action: str, mtime: float
) -> None:
    site = make(SINGLE, archive={"action": f'"{action}"'})
    site.deliver(NAME)
    os.utime(site.incoming / NAME, ns=(int(mtime), int(mtime)))
    kept = (site.incoming / NAME).stat().st_mtime_ns  # as this file system takes it
    assert site.tick().unsettled == 1
    assert site.tick(1.9).unsettled == 1
    assert site.claim() == []
    assert site.tick(0.1).ready == 1
    site.run_all()
    assert (site.archive / NAME).stat().st_mtime_ns == kept
    assert [copy.mtime_ns for copy in site.copies()] == [kept]
    assert site.one_pass().changed == 0
    assert site.feed() == [(NAME, "completed")]


@pytest.mark.parametrize("mtime", [0, int(datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1e9)])
def test_an_mtime_that_is_set_is_a_change_and_settles_anew(make: SiteMaker, mtime: int) -> None:
    site = make(SINGLE)
    site.deliver(NAME)
    site.tick()
    os.utime(site.incoming / NAME, ns=(mtime, mtime))
    assert site.tick(3).unsettled == 1
    assert site.claim() == []
    assert site.tick(2).ready == 1


@pytest.mark.parametrize("action", ["copy", "move"])
def test_what_settled_early_by_a_forward_jump_is_replaced_by_what_comes(make: SiteMaker, action: str) -> None:
    site = make(SINGLE, archive={"action": f'"{action}"'})
    sender = (site.incoming / NAME).open("wb", buffering=0)
    with sender:
        sender.write(b"half ")
        site.tick()
        site.tick(DAY)
        (offer,) = site.claim()
        with work(site.project, offer.batch_id, "run-1") as job:
            job.advance(Stage.ROUTE)
            sender.write(b"a file")
            job.advance(Stage.ARCHIVE)
            job.finish()
        assert site.archived() == {}  # its source was no longer what was judged
    site.one_pass()
    assert site.archived() == {NAME: b"half a file"}


def test_what_was_archived_early_by_a_forward_jump_is_replaced(make: SiteMaker) -> None:
    site = make(SINGLE)
    with (site.incoming / NAME).open("wb", buffering=0) as sender:
        sender.write(b"half ")
        site.tick()
        site.tick(DAY)
        site.run_all()
        assert site.archived() == {NAME: b"half "}
        sender.write(b"a file")
    site.tick_clock(-DAY)
    for _ in range(2):
        site.one_pass()
    assert site.archived() == {NAME: b"half a file"}
    assert site.feed() == [(NAME, "completed"), (NAME, "replaced")]


def test_a_jump_back_only_delays_the_next_attempt(make: SiteMaker) -> None:
    site = make(SINGLE, service={"retry_delay": '"10m"'})
    site.archive.write_bytes(b"a file in the way")
    site.deliver(NAME)
    site.one_pass()
    assert site.statuses() == {NAME: "retry_pending"}
    site.archive.unlink()
    site.tick_clock(-DAY)
    site.one_pass()
    assert site.statuses() == {NAME: "retry_pending"}
    site.tick_clock(DAY + 660)
    site.one_pass()
    assert site.statuses() == {NAME: "archived"}


def test_a_jump_back_only_delays_a_timeout(make: SiteMaker) -> None:
    rules = """
        [pairs.completeness]
        group_by = "stem"
        expected_extensions = [".dat", ".json"]
        timeout_minutes = 10
        on_timeout = "skip"
    """
    site = make(rules)
    site.deliver("run1.dat")
    site.settle()
    site.tick(-DAY)
    assert site.statuses() == {"run1.dat": "waiting"}
    site.tick(DAY + 601)
    assert site.statuses() == {"run1.dat": "timed_out"}
