"""What is wrong and what is not, from what the parts said."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from carbonation_core.db.rule_versions import Version
from carbonation_core.disk.probe import Probe, probe
from carbonation_core.lifecycle import FileStatus
from carbonation_core.reports.health import (
    ArchiveHealth,
    Facts,
    WatchHealth,
    archive_health,
    is_late,
    problems,
    warnings,
)
from carbonation_core.reports.heartbeat import PartReport, Worker
from carbonation_core.reports.waiting import Overlong, Waiter

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SERVICE = Worker(NOW - HOUR, NOW, True, False, "host", 17, None, ())
WATCH = WatchHealth("in", "/in", NOW, 0, None, None, None, is_late=False)
ARCHIVE = ArchiveHealth("main", "/archive", 50, 100, None)
DAY = timedelta(days=1)
FACTS = Facts(
    *(NOW, timedelta(minutes=2), timedelta(minutes=3), SERVICE, (), None, (WATCH,), (ARCHIVE,)),
    *(Overlong((), 0), DAY, (), None, {}),
)
STOPPED = replace(SERVICE, is_running=False)
OLD = replace(WATCH, last_look=NOW - HOUR)


def test_a_service_that_beats_and_looks_is_well() -> None:
    assert problems(FACTS) == []
    assert warnings(FACTS) == []


def test_a_service_without_heartbeat_is_a_problem() -> None:
    silent = replace(FACTS, service=replace(SERVICE, last_heartbeat=NOW - HOUR))
    assert problems(silent) == ["the service (pid 17 on host): no heartbeat for 60 min"]


def test_a_service_whose_process_is_gone_is_a_problem_at_once() -> None:
    (problem,) = problems(replace(FACTS, service=replace(SERVICE, is_dead=True)))
    assert problem.startswith(
        "the service (pid 17 on host) has ended without a word; start it: carbonation run"
    )


def test_a_service_that_ended_by_a_fault_says_which() -> None:
    fallen = replace(STOPPED, errors=("the daemon ended",))
    assert "the service ended at 2026-01-02 12:00:00 UTC: the daemon ended" in problems(
        replace(FACTS, service=fallen)
    )


def test_a_part_that_does_not_answer_is_a_problem_of_a_service_that_runs() -> None:
    parts = (
        PartReport("daemon", 18, is_well=False, answered_at=NOW - HOUR, starts=3),
        PartReport("web server", 19, is_well=True, answered_at=NOW, starts=1),
    )
    facts = replace(FACTS, reports=parts)
    assert problems(facts) == [
        "the daemon does not answer since 2026-01-02 11:00:00 UTC; it is started again"
    ]
    assert problems(replace(facts, service=STOPPED)) == []


def test_a_part_that_lives_but_is_hindered_is_a_problem() -> None:
    hindered = PartReport("daemon", 18, is_well=True, answered_at=NOW, starts=1, trouble="no room is left")
    assert problems(replace(FACTS, reports=(hindered,))) == ["the daemon cannot work: no room is left"]


def test_a_running_service_that_does_not_look_is_a_problem() -> None:
    facts = replace(FACTS, watches=(OLD, replace(WATCH, name="new", last_look=None)))
    assert problems(facts) == [
        "watch in: was not looked at for 60 min; is its sensor on?",
        "watch new: was never looked at; is its sensor on?",
    ]
    just_begun = replace(SERVICE, started_at=NOW)
    assert problems(replace(facts, service=just_begun)) == []


def test_without_a_service_age_is_no_problem_but_told() -> None:
    for service in (None, STOPPED):
        facts = replace(FACTS, service=service, watches=(OLD,))
        assert problems(facts) == []
        (warning,) = warnings(facts)
        assert warning.startswith("no service is running")
        assert "carbonation run --once" in warning


def test_where_another_dagster_looks_no_service_is_asked_for() -> None:
    facts = replace(FACTS, service=None, watches=(replace(WATCH, last_look=NOW),))
    assert warnings(facts) == []
    assert warnings(replace(facts, last_pass=replace(STOPPED, last_heartbeat=NOW - HOUR))) == []
    assert warnings(replace(facts, last_pass=replace(STOPPED, last_heartbeat=NOW))) != []  # it was the one
    assert warnings(replace(facts, now=NOW + HOUR)) != []


def test_what_never_ran_is_a_problem() -> None:
    facts = replace(FACTS, service=None, watches=(replace(WATCH, last_look=None),))
    (problem,) = problems(facts)
    assert problem.startswith("the service has never run; start it")


def test_faults_of_the_last_pass_are_told_until_a_service_runs() -> None:
    ended = replace(STOPPED, errors=("run 1 broke off", "/in: cannot be looked at"))
    watch = replace(WATCH, error="/in: cannot be looked at")
    facts = replace(FACTS, service=None, last_pass=ended, watches=(watch,))
    assert problems(facts) == ["the last pass: run 1 broke off", "watch in: /in: cannot be looked at"]
    assert problems(replace(facts, service=SERVICE)) == ["watch in: /in: cannot be looked at"]


def test_a_pass_that_died_is_told() -> None:
    dead = replace(FACTS, last_pass=replace(SERVICE, is_dead=True))
    assert warnings(dead) == [
        "the pass of 2026-01-02 11:00:00 UTC ended without a word; the next one takes up what it held"
    ]


def test_refused_rules_are_a_problem() -> None:
    refused = replace(FACTS, refused=Version("d", accepted=False, reason="no", at=NOW))
    assert problems(refused) == ["rules.toml was refused, earlier rules stay in force: no"]


@pytest.mark.parametrize(("free", "problem", "warning"), [(5, 0, 0), (4, 0, 1), (1, 0, 1), (0, 1, 0)])
def test_a_file_system_is_nearly_full_and_then_full(free: int, problem: int, warning: int) -> None:
    of_archive = replace(FACTS, archives=(replace(ARCHIVE, free=free),))
    of_watch = replace(FACTS, watches=(replace(WATCH, free=free, total=100),))
    for facts in (of_archive, of_watch):
        assert (len(problems(facts)), len(warnings(facts))) == (problem, warning)


def test_an_archive_that_held_files_and_is_empty_or_gone_is_a_problem(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    probes = probe([tmp_path, missing])
    assert archive_health("main", probes[missing], holds_files=False).error is None
    assert archive_health("main", probes[missing], holds_files=False).total
    for path in (tmp_path, missing):
        error = archive_health("main", probes[path], holds_files=True).error
        assert error
        assert error.endswith("is it mounted?")
        facts = replace(FACTS, archives=(replace(ARCHIVE, error=error),))
        assert problems(facts) == [f"archive main: {error}"]


def test_a_place_that_does_not_answer_is_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import threading

    from carbonation_core.disk import probe as module

    answer = threading.Event()

    def hang(path: Path) -> Probe:
        answer.wait(10)
        return Probe(path)

    monkeypatch.setattr(module, "_look", hang)
    assert probe([tmp_path], 0.05)[tmp_path].fault == "does not answer within 0.05 s"
    answer.set()


def test_failed_and_missing_files_and_long_waits_are_warnings() -> None:
    waiter = Waiter("in", "run1", "run1", NOW, "waits for .json", None, is_overdue=True, is_stale=False)
    facts = replace(
        FACTS,
        components={FileStatus.FAILED: 1, FileStatus.MISSING: 2},
        overlong=Overlong((waiter,), 3),
    )
    assert problems(facts) == []
    assert warnings(facts) == [
        "1 file failed; carbonation explain says why, carbonation retry tries again",
        "2 files missing from the archive",
        "3 groups wait too long, run1 of watch in since 2026-01-02 12:00:00 UTC: it waits for .json",
    ]


def test_a_late_feed_is_a_problem() -> None:
    late = replace(WATCH, expect_every=HOUR, is_late=True)
    assert problems(replace(FACTS, watches=(late,))) == [
        "watch in is late: nothing ever came, expected every 1h"
    ]
    late = replace(late, last_new=NOW - 2 * HOUR)
    assert problems(replace(FACTS, watches=(late,))) == [
        "watch in is late: nothing new since 2026-01-02 10:00:00 UTC, expected every 1h"
    ]


@pytest.mark.parametrize(
    ("last_new", "first_look", "last_look", "late"),
    [
        (NOW - HOUR, NOW - 9 * HOUR, NOW, False),
        (NOW - 2 * HOUR, NOW - 9 * HOUR, NOW, True),
        (None, NOW - 2 * HOUR, NOW, True),
        (None, NOW - HOUR, NOW, False),
        (NOW - 2 * HOUR, NOW - 9 * HOUR, NOW - 1.5 * HOUR, False),
        (None, None, None, False),
    ],
    ids=["in time", "silent", "never anything", "just begun", "nobody looks", "never looked"],
)
def test_a_feed_is_late_when_it_is_silent_while_somebody_looks(
    last_new: datetime | None, first_look: datetime | None, last_look: datetime | None, late: bool
) -> None:
    assert is_late(HOUR, last_new, first_look, last_look, NOW, timedelta(minutes=3)) is late
    assert not is_late(None, last_new, first_look, last_look, NOW, timedelta(minutes=3))
