"""The transition table: complete, connected, and the only way a status changes."""

from itertools import permutations, product

import pytest

from carbonation_core.errors import IllegalTransition
from carbonation_core.lifecycle import TRANSITIONS, Event, FileStatus, advance, may

S = FileStatus
PAIRS = list(product(FileStatus, Event))
STEPS = {(before, event): after for event, (froms, after) in TRANSITIONS.items() for before in froms}


# Which status may follow which: said here once more, so that none slips in unseen.
MAY_FOLLOW = {
    S.DETECTED: {
        *(S.INTEGRITY_FAILED, S.WAITING, S.NOT_SELECTED, S.ARCHIVED, S.RETRY_PENDING, S.FAILED, S.CLEARED)
    },
    S.INTEGRITY_FAILED: {S.DETECTED, S.WAITING, S.ARCHIVED, S.CLEARED},
    S.WAITING: {
        *(S.DETECTED, S.INTEGRITY_FAILED, S.TIMED_OUT, S.NOT_SELECTED),
        *(S.ARCHIVED, S.RETRY_PENDING, S.FAILED, S.CLEARED),
    },
    S.TIMED_OUT: {S.DETECTED, S.WAITING, S.ARCHIVED, S.CLEARED},
    S.NOT_SELECTED: {S.DETECTED, S.WAITING, S.ARCHIVED, S.CLEARED},
    S.ARCHIVED: {S.DETECTED, S.MISSING, S.CLEARED},
    S.RETRY_PENDING: {S.DETECTED, S.WAITING, S.ARCHIVED, S.CLEARED},
    S.FAILED: {S.DETECTED, S.WAITING},
    S.CLEARED: {S.DETECTED, S.ARCHIVED},
    S.MISSING: {S.DETECTED, S.ARCHIVED, S.CLEARED},
}


def reachable(start: FileStatus) -> set[FileStatus]:
    found = {start}
    while new := {after for (before, _), after in STEPS.items() if before in found} - found:
        found |= new
    return found


@pytest.mark.parametrize(("status", "event"), PAIRS)
def test_every_pair_is_in_the_table_or_refused(status: FileStatus, event: Event) -> None:
    if (status, event) in STEPS:
        assert may(status, event)
        assert advance(status, event) is STEPS[status, event]
    else:
        assert not may(status, event)
        with pytest.raises(IllegalTransition):
            advance(status, event)


@pytest.mark.parametrize(("before", "after"), list(permutations(FileStatus, 2)))
def test_every_pair_of_statuses_has_a_named_event_or_is_refused(
    before: FileStatus, after: FileStatus
) -> None:
    named = [event for event in Event if may(before, event) and advance(before, event) is after]
    assert bool(named) == (after in MAY_FOLLOW[before])


def test_a_refusal_names_event_status_and_what_is_allowed() -> None:
    with pytest.raises(IllegalTransition) as raised:
        advance(S.DETECTED, Event.LOST)
    assert str(raised.value) == "lost cannot happen to a detected component, only to archived"


def test_every_event_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(Event)


def test_every_status_can_be_reached_from_detected() -> None:
    assert reachable(S.DETECTED) == set(FileStatus)


@pytest.mark.parametrize("status", FileStatus)
def test_no_status_is_a_dead_end(status: FileStatus) -> None:
    assert any(before is status for before, _ in STEPS)


@pytest.mark.parametrize("status", FileStatus)
def test_every_status_can_still_end_in_the_archive(status: FileStatus) -> None:
    assert S.ARCHIVED in reachable(status)


@pytest.mark.parametrize(("event", "step"), TRANSITIONS.items())
def test_an_event_always_changes_the_status(
    event: Event, step: tuple[tuple[FileStatus, ...], FileStatus]
) -> None:
    froms, after = step
    assert after not in froms
    assert len(set(froms)) == len(froms)


@pytest.mark.parametrize(
    "status", [S.INTEGRITY_FAILED, S.TIMED_OUT, S.NOT_SELECTED, S.FAILED, S.RETRY_PENDING]
)
def test_a_person_can_retry_whatever_is_stuck(status: FileStatus) -> None:
    assert may(status, Event.RETRIED)


@pytest.mark.parametrize("status", [S.INTEGRITY_FAILED, S.WAITING, S.TIMED_OUT, S.NOT_SELECTED, S.FAILED])
def test_other_rules_judge_again_what_the_old_ones_decided(status: FileStatus) -> None:
    assert may(status, Event.RULES_CHANGED)


@pytest.mark.parametrize("status", [S.ARCHIVED, S.FAILED])
def test_an_archived_or_failed_file_that_leaves_delivery_keeps_its_status(status: FileStatus) -> None:
    assert not may(status, Event.LEFT)


def test_only_an_archived_file_can_be_lost() -> None:
    assert TRANSITIONS[Event.LOST] == ((S.ARCHIVED,), S.MISSING)


@pytest.mark.parametrize("status", FileStatus)
def test_the_database_holds_lower_case_text(status: FileStatus) -> None:
    assert status == status.name.lower()
