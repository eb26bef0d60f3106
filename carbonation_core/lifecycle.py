"""What may happen to a component: its statuses, the events, and one table of both."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from carbonation_core.errors import IllegalTransition


class FileStatus(StrEnum):
    """Where a component stands. The database holds the lower-case text."""

    DETECTED = "detected"  # seen, not yet settled or grouped
    INTEGRITY_FAILED = "integrity_failed"  # failed a check; the reason is stored
    WAITING = "waiting"  # for its siblings, or for its run
    TIMED_OUT = "timed_out"  # its group timed out under "skip"
    NOT_SELECTED = "not_selected"  # rejected by selection, or left alone by the rules
    ARCHIVED = "archived"  # in the archive, verified
    RETRY_PENDING = "retry_pending"  # its attempt failed; tried again at a stored time
    FAILED = "failed"  # its attempts are used up, or it cannot be routed
    CLEARED = "cleared"  # left delivery, and nothing in the archive is its own
    MISSING = "missing"  # was archived and is no longer in the archive


STATUSES = {status.value: status for status in FileStatus}  # by the text that is stored


class Event(StrEnum):
    """Why a status changes."""

    GROUPED = "grouped"  # settled, intact by its stat, and its group is known
    CHECK_FAILED = "check_failed"  # an integrity check said no
    LEFT_ALONE = "left_alone"  # it gets no group, or is only read and stays in delivery
    REJECTED = "rejected"  # selection said no
    TIMED_OUT = "timed_out"  # the group waited too long under "skip"
    SIBLING_ARRIVED = "sibling_arrived"  # its group got another file and is judged anew
    ARCHIVED = "archived"  # its bytes are in the archive and recorded
    ATTEMPT_FAILED = "attempt_failed"  # will be tried again
    GAVE_UP = "gave_up"  # attempts used up, or nothing to try
    DUE = "due"  # the time of its next attempt has come
    RESUMED = "resumed"  # its run was executed again from failure
    CHANGED = "changed"  # other bytes before it was archived
    REDELIVERED = "redelivered"  # other bytes after it was archived
    WITHDRAWN = "withdrawn"  # a redelivery left again before it was taken
    LEFT = "left"  # gone from delivery, never archived
    RETURNED = "returned"  # back in delivery
    RETRIED = "retried"  # somebody asked for another attempt
    RULES_CHANGED = "rules_changed"  # other rules may decide otherwise
    SUMS_CHANGED = "sums_changed"  # the checksums it is judged by arrived or changed
    RECHECKED = "rechecked"  # judged again, by a reconcile or because its time has come
    LOST = "lost"  # no longer in the archive
    FOUND = "found"  # in the archive again
    HANDED_OVER = "handed_over"  # left delivery, and its copy is that of another file with the same bytes


class FeedEvent(StrEnum):
    """What the feed tells of a group."""

    COMPLETED = "completed"  # is complete: for the first time, or again after it was retracted
    REPLACED = "replaced"  # was delivered again with other bytes, which are archived now
    UPDATED = "updated"  # got another file, or was described anew, or one of its files lies elsewhere now
    RETRACTED = "retracted"  # is complete no more: files of it left the archive, or are another group's
    LATE = "late"  # was expected, and did not come in time, or not whole
    MISSED = "missed"  # was expected, and has not come by the time that the next one was late
    ARRIVED = "arrived"  # has come, whole, after it was told as late or missed


OF_COMPLETE = (FeedEvent.COMPLETED, FeedEvent.REPLACED, FeedEvent.UPDATED)  # there is something to take
OF_ARRIVALS = (FeedEvent.LATE, FeedEvent.MISSED, FeedEvent.ARRIVED)  # told of what was expected


class ArrivalState(StrEnum):
    """Where an expected arrival stands."""

    EXPECTED = "expected"  # is to come, and is not late
    AT_RISK = "at_risk"  # has not come, when 95 of 100 of its feed had; not late yet
    LATE = "late"  # did not come in time
    INCOMPLETE = "incomplete"  # came in part, and was not whole in time
    ARRIVED = "arrived"  # came whole, early, in time or late
    MISSED = "missed"  # did not come by the time that the next one was late
    EXCUSED = "excused"  # somebody said that it need not come
    UNEXPECTED = "unexpected"  # came, and nothing of the kind was expected then


S, E = FileStatus, Event
OPEN = (S.DETECTED, S.WAITING, S.RETRY_PENDING)  # goes on by itself
ASKING = (S.WAITING, S.RETRY_PENDING)  # wants its group to be worked on
LEFT_OUT = (S.INTEGRITY_FAILED, S.TIMED_OUT, S.NOT_SELECTED)  # a check, a timeout or selection said so
FAILING = (S.RETRY_PENDING, S.FAILED)  # its last attempt failed
STRAY = (S.DETECTED, S.RETRY_PENDING, S.INTEGRITY_FAILED)  # may not have joined its group yet
TAKEN = (S.ARCHIVED, S.MISSING)  # was archived; other bytes are a redelivery
BY_RULES = (S.FAILED, *LEFT_OUT)  # other rules may decide otherwise
RETRIABLE = (*BY_RULES, S.RETRY_PENDING)  # somebody may ask for another attempt

TRANSITIONS: Mapping[Event, tuple[tuple[FileStatus, ...], FileStatus]] = MappingProxyType(
    {
        E.GROUPED: ((S.DETECTED,), S.WAITING),
        E.CHECK_FAILED: ((S.DETECTED, S.WAITING), S.INTEGRITY_FAILED),
        E.LEFT_ALONE: ((S.DETECTED, S.WAITING), S.NOT_SELECTED),
        E.REJECTED: ((S.WAITING,), S.NOT_SELECTED),
        E.TIMED_OUT: ((S.WAITING,), S.TIMED_OUT),
        E.SIBLING_ARRIVED: ((S.TIMED_OUT, S.NOT_SELECTED, S.FAILED), S.WAITING),
        E.ARCHIVED: ((S.DETECTED, S.WAITING, S.CLEARED), S.ARCHIVED),
        E.ATTEMPT_FAILED: ((S.DETECTED, S.WAITING), S.RETRY_PENDING),
        E.GAVE_UP: ((S.DETECTED, S.WAITING), S.FAILED),
        E.DUE: ((S.RETRY_PENDING,), S.WAITING),
        E.RESUMED: (FAILING, S.WAITING),
        E.CHANGED: ((S.WAITING, *RETRIABLE), S.DETECTED),
        E.REDELIVERED: (TAKEN, S.DETECTED),
        E.WITHDRAWN: ((*OPEN, *LEFT_OUT), S.ARCHIVED),
        E.LEFT: ((*OPEN, *LEFT_OUT), S.CLEARED),
        E.RETURNED: ((S.CLEARED,), S.DETECTED),
        E.RETRIED: (RETRIABLE, S.DETECTED),
        E.RULES_CHANGED: ((S.WAITING, *BY_RULES), S.DETECTED),
        E.SUMS_CHANGED: ((S.INTEGRITY_FAILED, S.RETRY_PENDING), S.WAITING),
        E.RECHECKED: ((S.INTEGRITY_FAILED, S.RETRY_PENDING), S.DETECTED),
        E.LOST: ((S.ARCHIVED,), S.MISSING),
        E.FOUND: ((S.MISSING,), S.ARCHIVED),
        E.HANDED_OVER: ((S.ARCHIVED, S.MISSING), S.CLEARED),
    }
)


def may(status: FileStatus, event: Event) -> bool:
    """Whether that event can happen to a component in that status."""
    return status in TRANSITIONS[event][0]


def advance(status: FileStatus, event: Event) -> FileStatus:
    """The status after the event; raises `IllegalTransition` if it cannot happen."""
    before, after = TRANSITIONS[event]
    if status not in before:
        allowed = ", ".join(before)
        raise IllegalTransition(f"{event} cannot happen to a {status} component, only to {allowed}")
    return after


class Stage(StrEnum):
    """A group's way through a batch, in this order."""

    INTEGRITY = "integrity"
    COMPLETENESS = "completeness"
    EXTRACT = "extract"
    SELECT = "select"
    ROUTE = "route"
    ARCHIVE = "archive"


class Outcome(StrEnum):
    """What became of a group in a batch."""

    ARCHIVED = "archived"
    UNCHANGED = "unchanged"  # delivered again with the same bytes, or left as it was by policy
    NOT_SELECTED = "not_selected"
    INTEGRITY_FAILED = "integrity_failed"
    WAITING = "waiting"  # not whole any more, or its files changed
    RETRY_PENDING = "retry_pending"
    FAILED = "failed"
    GIVEN_BACK = "given_back"  # nothing was decided; it comes again


class GivenBack(StrEnum):
    """Why a batch gave groups back."""

    STOPPED = "stopped"  # its run was stopped, or ended before their turn came
    DIED = "died"  # its run died, or broke off
    MADE_OTHERWISE = "made_otherwise"  # made with another configuration, release or plugin than there is
    NO_RUN = "no_run"  # no run came for it, or its run never began


FAILED_OUTCOMES = (Outcome.RETRY_PENDING, Outcome.FAILED)  # of an attempt that failed
