"""Decisions about expected arrivals: when, under which key, which arrival is which, how each stands."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from cronsim import CronSim

from carbonation_core.config.expectations import Expect
from carbonation_core.lifecycle import ArrivalState, FeedEvent
from carbonation_core.names import matches_any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RISK = 0.95  # the share of arrivals that had come when one is at risk
LEAST_HISTORY = 20  # arrivals before anything is learned from them


@dataclass(frozen=True, slots=True)
class Slot:
    """An arrival that is expected `at` a time, under a key if that is known.

    What comes before `opens_at` is not meant by it. After `late_at` it is late,
    and after `missed_at`, which is when the next one is late, it is missed.
    """

    at: datetime
    opens_at: datetime
    late_at: datetime
    missed_at: datetime
    key: str | None


@dataclass(frozen=True, slots=True)
class Window:
    """From when till when something may come for what is expected `at` a time, and is not late."""

    at: datetime
    opens_at: datetime
    late_at: datetime


def slots(
    expect: Expect, after: datetime, until: datetime, previous: datetime | None = None
) -> Iterator[Slot]:
    """What is expected after that time, up to the first that is not before `until`.

    `previous` is the one before all these, if that is known.
    """
    for at, following in pairwise(_times(expect, after)):
        # From where it is nearer than the one before it. Of the first, only the one after it is known.
        half = (at - previous if previous else following - at) / 2
        yield Slot(at, at - half, at + expect.within, following + expect.within, key_at(expect, at))
        if at >= until:
            return
        previous = at


def key_at(expect: Expect, at: datetime) -> str | None:
    """The key of the group that is expected at that time; None if its time is all that tells it."""
    if expect.group_key is None:
        return None
    return expect.group_key.format(start=at.astimezone(expect.zone), start_utc=at.astimezone(UTC))


def is_meant(expect: Expect, key: str) -> bool:
    """Whether a group of that key is of the kind that is expected, at whatever time."""
    if expect.group_key is not None:
        return _form(expect.group_key).fullmatch(key) is not None
    return expect.match is None or matches_any(key.rpartition("/")[2], [expect.match])


def nearest(arrived_at: datetime, waiting: Mapping[int, Window]) -> int | None:
    """Which one an arrival is that only its time tells, by its id; None if it was not expected then.

    The oldest for which it is not late, else the newest that is late.
    """
    meant = {id_: window for id_, window in waiting.items() if window.opens_at <= arrived_at}
    in_time = [id_ for id_, window in meant.items() if arrived_at <= window.late_at]
    if in_time:
        return min(in_time, key=lambda id_: meant[id_].at)
    return max(meant, key=lambda id_: meant[id_].at, default=None)


def closing(has_group: bool, missed_at: datetime, now: datetime) -> ArrivalState:
    """The state of one that is not whole when it should be."""
    if has_group:
        return ArrivalState.INCOMPLETE
    return ArrivalState.MISSED if missed_at <= now else ArrivalState.LATE


def told(before: ArrivalState, after: ArrivalState) -> FeedEvent | None:
    """What the feed tells of that change; late and missed at once is missed."""
    if after is ArrivalState.MISSED:
        return FeedEvent.MISSED
    if after in (ArrivalState.LATE, ArrivalState.INCOMPLETE):
        return FeedEvent.LATE if before is ArrivalState.EXPECTED else None
    late = (ArrivalState.LATE, ArrivalState.INCOMPLETE, ArrivalState.MISSED)
    return FeedEvent.ARRIVED if after is ArrivalState.ARRIVED and before in late else None


def usual_delay(delays: Sequence[timedelta]) -> timedelta | None:
    """How long after its time nearly all of a feed had come (p95); None while too little is known."""
    if len(delays) < LEAST_HISTORY:
        return None
    return sorted(delays)[int(RISK * (len(delays) - 1))]


def is_at_risk(at: datetime, usual: timedelta | None, now: datetime) -> bool:
    """Whether one that is not late would have come by now, if it were as most of its feed."""
    return usual is not None and now > at + max(usual, timedelta(0))


def _times(expect: Expect, after: datetime) -> Iterator[datetime]:
    """The times after that one, in UTC; cron's as Debian's cron has them when clocks change."""
    if expect.every is None:
        assert expect.cron is not None
        # Without the time before it, the first one's distance to it would be unknown.
        for at in CronSim(expect.cron, after.astimezone(expect.zone)):
            yield at.astimezone(UTC)
        return
    number = (after - EPOCH) // expect.every + 1
    while True:
        yield EPOCH + number * expect.every
        number += 1


# How much text a directive of strftime comes to; of all others anything.
_DIGITS = {"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2, "j": 3, "y": 2, "I": 2, "U": 2, "V": 2, "G": 4}
_FIELD = re.compile(r"\{[^{}:]*:?([^{}]*)\}")


def _form(template: str) -> re.Pattern[str]:
    """What every key of a template looks like."""
    parts, last = [], 0
    for field in _FIELD.finditer(template):
        parts += [re.escape(template[last : field.start()]), _form_of_time(field[1])]
        last = field.end()
    return re.compile("".join([*parts, re.escape(template[last:])]))


def _form_of_time(directives: str) -> str:
    pieces = re.split(r"%(.)", directives)
    forms = [
        re.escape(piece)
        if number % 2 == 0
        else rf"\d{{{_DIGITS[piece]}}}"
        if piece in _DIGITS
        else re.escape("%")
        if piece == "%"
        else ".+?"
        for number, piece in enumerate(pieces)
    ]
    return "".join(forms) or ".+?"
