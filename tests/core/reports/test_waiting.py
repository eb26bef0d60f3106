"""What a group or a file waits for, in an operator's words."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from carbonation_core.config.sections import Watch
from carbonation_core.db.batches import BatchRow
from carbonation_core.db.components import Component
from carbonation_core.db.groups import GroupRow
from carbonation_core.disk.stamp import Stamp
from carbonation_core.lifecycle import FileStatus
from carbonation_core.reports import waiting
from carbonation_core.reports.waiting import file_waits, group_waits, overlong, summary
from carbonation_core.rules.rule_sets import Completeness, RuleSet
from carbonation_core.text import ago
from tests.site import PAIRS, Site, SiteMaker

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=2)
WATCH = Watch(name="incoming", path=Path("/in"), rules="pairs", settle_seconds=2)
RULES = RuleSet(completeness=Completeness(group_by="stem", expected_extensions=(".dat", ".json")))
GROUP = GroupRow(1, "incoming", "run1", False, None, None, NOW, None, None, 0, None, LATER, None, None)
FILE = Component(
    1,
    "incoming",
    "run1.dat",
    "/in/run1.dat",
    Stamp(1, 1, 1, "1:1"),
    NOW,
    FileStatus.WAITING,
    in_delivery=True,
    in_archive=False,
    group_id=1,
    digest=None,
    archive_name=None,
    archive_path=None,
    error_message=None,
    retry_count=0,
    retry_at=None,
    detected_at=NOW,
)


def says(group: GroupRow = GROUP, file: Component = FILE, **more: object) -> str:
    wait = group_waits(group, [file], RULES, WATCH, NOW, **more)  # type: ignore[arg-type]
    assert wait is not None
    return wait.says


@pytest.mark.parametrize(
    ("on_timeout", "then"),
    [
        ("warn", "then goes on waiting, with a warning"),
        ("skip", "then has timed out"),
        ("archive_partial", "then is archived as it is"),
    ],
)
def test_a_group_that_lacks_a_file_says_which_and_until_when(on_timeout: str, then: str) -> None:
    assert RULES.completeness
    rules = RuleSet(completeness=RULES.completeness.model_copy(update={"on_timeout": on_timeout}))
    wait = group_waits(GROUP, [FILE], rules, WATCH, NOW)
    assert wait
    assert (wait.says, wait.until) == (f"waits for .json until 2026-01-01 14:00:00 UTC, {then}", LATER)


def test_a_sibling_that_failed_a_check_is_told_with_its_reason() -> None:
    broken = FILE._replace(filename="run1.json", status=FileStatus.INTEGRITY_FAILED, group_id=None)
    broken = broken._replace(error_message="has 0 bytes")
    assert says(strays=[broken]).endswith("; run1.json failed a check: it has 0 bytes")


def test_a_group_whose_timeout_has_passed_says_when() -> None:
    timed_out = GROUP._replace(deadline_at=None, timed_out_at=LATER)
    assert says(timed_out) == "waits for .json; its timeout passed at 2026-01-01 14:00:00 UTC"


def test_a_group_may_wait_without_a_timeout() -> None:
    assert says(GROUP._replace(deadline_at=None)) == "waits for .json, without a timeout"


def test_an_unsettled_file_holds_up_its_group_until_a_known_time() -> None:
    wait = group_waits(GROUP, [FILE._replace(status=FileStatus.DETECTED)], RULES, WATCH, NOW)
    assert wait
    settles = "unchanged for 2 s, at 2026-01-01 12:00:02 UTC at the earliest"
    assert wait.says == f"waits for run1.dat to settle: {settles}"
    assert wait.until == NOW + timedelta(seconds=2)


def test_so_does_one_that_has_not_joined_it_yet() -> None:
    stray = FILE._replace(filename="run1.json", status=FileStatus.DETECTED, group_id=None)
    assert says(strays=[stray]).startswith("waits for run1.json to settle")


def test_what_has_settled_waits_for_a_look() -> None:
    settled = FILE._replace(status=FileStatus.DETECTED, quiet_since=NOW - timedelta(minutes=1))
    assert says(file=settled) == "waits for the next look at its watch, as run1.dat has settled"


def test_a_group_that_is_due_waits_for_a_run() -> None:
    assert says(GROUP._replace(due_at=NOW)) == "is whole, and waits for a run since 2026-01-01 12:00:00 UTC"


def test_a_group_that_is_due_later_waits_for_its_next_attempt() -> None:
    pending = FILE._replace(status=FileStatus.RETRY_PENDING, retry_at=LATER)
    told = says(GROUP._replace(due_at=LATER), pending)
    assert told == "waits for its next attempt, at 2026-01-01 14:00:00 UTC"


def test_a_group_that_a_batch_holds_names_batch_and_run() -> None:
    held = GROUP._replace(batch_id="b1")
    batch = BatchRow("b1", "incoming", "i", "offered", 1, "d", NOW, None, None, None)
    assert says(held, batch=batch) == (
        "waits for its run to start; it was offered as batch b1 at 2026-01-01 12:00:00 UTC"
    )
    running = replace(batch, status="running", run_id="r1")
    assert says(held, batch=running) == "is worked on by run r1 in batch b1"


def test_what_has_come_to_an_end_waits_for_nothing() -> None:
    archived = FILE._replace(status=FileStatus.ARCHIVED)
    assert group_waits(GROUP, [archived], RULES, WATCH, NOW) is None
    assert file_waits(archived, WATCH, NOW) is None


def test_a_watch_that_is_configured_no_more_is_named() -> None:
    wait = group_waits(GROUP, [FILE], None, None, NOW)
    assert wait
    assert wait.says == "waits for watch incoming, which is configured no more"


def test_a_file_whose_key_could_not_be_asked_for_waits_for_its_next_attempt() -> None:
    wait = file_waits(FILE._replace(status=FileStatus.RETRY_PENDING, retry_at=LATER), WATCH, NOW)
    assert wait
    assert wait.until == LATER


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (400_000, "4 d")]
)
def test_spans_of_time_are_shown_in_one_unit(seconds: int, shown: str) -> None:
    assert ago(timedelta(seconds=seconds)) == shown


def test_a_group_that_waits_longer_than_the_threshold_is_stale(site: Site) -> None:
    site.deliver("run1.dat")
    site.settle()
    assert overlong(site.project, ["incoming"]).waiters == ()
    site.tick(25 * 3600)
    (waiter,) = overlong(site.project, ["incoming"]).waiters
    assert (waiter.group_key, waiter.is_stale, waiter.is_overdue) == ("run1", True, True)
    assert waiter.waits_for.startswith("waits for .json; its timeout passed at ")


def test_a_group_is_overdue_from_its_timeout_on(site: Site) -> None:
    site.deliver("run1.dat")
    site.settle()
    site.tick(7201)
    (waiter,) = overlong(site.project, ["incoming"]).waiters
    assert (waiter.is_stale, waiter.is_overdue) == (False, True)


def test_a_group_that_was_given_up_is_overdue_until_it_leaves(make: SiteMaker) -> None:
    site = make(
        '[pairs.completeness]\ngroup_by = "stem"\nexpected_extensions = [".a", ".b"]\non_timeout = "skip"\n'
    )
    site.deliver("run1.a")
    site.settle()
    site.tick(7201)
    (waiter,) = overlong(site.project, ["incoming"]).waiters
    assert waiter.waits_for == "timed out: waited 120 minutes for .b"
    (site.incoming / "run1.a").unlink()
    site.tick()
    assert overlong(site.project, ["incoming"]).number == 0


def test_all_are_counted_and_the_longest_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        site.deliver(f"run{number}.dat")
        site.settle()
    site.tick(25 * 3600)
    monkeypatch.setattr(waiting, "LONGEST_LIST", 1)
    found = overlong(site.project, ["incoming"])
    assert ([waiter.name for waiter in found.waiters], found.number) == (["run0"], 3)
    assert overlong(site.project, []).number == 0


def test_a_file_that_never_settles_is_stale(site: Site) -> None:
    for day in range(3):
        site.deliver("log.dat", content=b"x" * (day + 1))
        site.tick(13 * 3600)
    (waiter,) = overlong(site.project, ["incoming"]).waiters
    assert (waiter.group_key, waiter.is_stale) == (None, True)
    assert waiter.name.endswith("/incoming/log.dat")
    assert waiter.waits_for.startswith("waits for log.dat to settle")


def test_a_summary_says_what_waits_for_what(make: SiteMaker) -> None:
    site = make(PAIRS + '[pairs.metadata]\nextract = "broken"\n')
    site.deliver("run1.dat", "run2.dat")
    site.deliver("run3.dat", "run3.json", content=b"broken")
    site.one_pass()
    waits, attempt = summary(site.project, ["incoming"])
    assert waits == "2 groups wait for .json, the first until 2026-01-01 14:00:03 UTC"
    assert attempt.startswith("1 group waits for another attempt at 2026-01-01 12:")
