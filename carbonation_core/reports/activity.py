"""What came into a watch in a time, and what became of it: the values of a report."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from carbonation_core.db import activity as stored
from carbonation_core.db import tallies
from carbonation_core.db.engine import reading
from carbonation_core.lifecycle import OPEN, FileStatus
from carbonation_core.project import Project
from carbonation_core.reports.arrivals import Strip, strips

USUAL = timedelta(days=1)  # of which a report tells, unless asked otherwise
MOST_SLOTS = 60
MOST_REASONS = 8
_STEPS = (timedelta(hours=1), timedelta(hours=6), timedelta(days=1))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_WELL = (FileStatus.FAILED, FileStatus.INTEGRITY_FAILED, FileStatus.TIMED_OUT, FileStatus.RETRY_PENDING)


class Fate(StrEnum):
    """What became of a delivered file, in the order in which a bar is piled up."""

    ARCHIVED = "archived"
    WAITING = "waiting"
    FAILED = "failed"
    LEFT = "left alone"


@dataclass(frozen=True, slots=True)
class Slot:
    """Files that were delivered in an hour or a day, by what became of them; seconds of those archived in it.

    `p50` and `p95`: in how many seconds half, and nineteen of twenty, of the groups that
    were archived in it came from delivery to the archive; None if none was.
    """

    begins_at: datetime
    files: dict[Fate, int]
    p50: float | None
    p95: float | None


@dataclass(frozen=True)
class Activity:
    """A watch's report. `waiting` and `failed` are files as they stand now, all else is of its time.

    `reasons` are those of files that do not get further, the most frequent first, and how many files
    each has; `other_reasons` is how many files have others. `files` and `bytes` were delivered in
    its time, and `archived` of them are.
    """

    watch_name: str
    since: datetime
    until: datetime
    step: timedelta
    slots: tuple[Slot, ...]
    files: int
    bytes: int
    archived: int
    p50: float | None
    p95: float | None
    reasons: tuple[tuple[str, int], ...]
    other_reasons: int
    waiting: int
    failed: int
    strips: tuple[Strip, ...]


def activity(project: Project, watch_name: str, since: datetime | None = None) -> Activity:
    """What came into the watch since then, 24 hours ago unless given; from the hour or day that it is in."""
    now = project.clock()
    edges, step = _edges(now - USUAL if since is None else min(since, now), now)
    with reading(project.engine) as connection:
        delivered = stored.delivered(connection, watch_name, edges)
        archived = stored.archived(connection, watch_name, edges[0])
        reasons = stored.reasons(connection, watch_name, edges[0], _NOT_WELL)
        sums = tallies.of_watch(connection, watch_name)
    waiting, failed = _standing(sums)
    timed = _seconds(archived)
    by_slot: dict[int, dict[Fate, int]] = defaultdict(lambda: dict.fromkeys(Fate, 0))
    for number, status, count, _ in delivered:
        by_slot[number][_fate(status)] += count
    seconds: dict[int, list[float]] = defaultdict(list)
    for at, taken in timed:
        seconds[min(int((at - edges[0]) / step), len(edges) - 1)].append(taken)
    all_seconds = [taken for _, taken in timed]
    return Activity(
        watch_name=watch_name,
        since=edges[0],
        until=now,
        step=step,
        slots=tuple(
            Slot(edge, by_slot[n], percentile(seconds[n], 50), percentile(seconds[n], 95))
            for n, edge in enumerate(edges)
        ),
        files=sum(count for _, _, count, _ in delivered),
        bytes=sum(size for _, _, _, size in delivered),
        archived=sum(count for _, status, count, _ in delivered if _fate(status) is Fate.ARCHIVED),
        p50=percentile(all_seconds, 50),
        p95=percentile(all_seconds, 95),
        reasons=tuple(reasons[:MOST_REASONS]),
        other_reasons=sum(count for _, count in reasons[MOST_REASONS:]),
        waiting=waiting,
        failed=failed,
        strips=tuple(strips(project, watch_name)),
    )


def standing(project: Project, watch_name: str) -> tuple[int, int]:
    """How many files of the watch wait now, and how many do not get further."""
    with reading(project.engine) as connection:
        return _standing(tallies.of_watch(connection, watch_name))


def percentile(values: Sequence[float], percent: int) -> float | None:
    """The least of the values that so many of a hundred do not exceed; None of none."""
    return sorted(values)[math.ceil(percent / 100 * len(values)) - 1] if values else None


def _standing(sums: Mapping[str, int]) -> tuple[int, int]:
    well = [status for status in OPEN if status not in _NOT_WELL]
    return sum(sums.get(status, 0) for status in well), sum(sums.get(status, 0) for status in _NOT_WELL)


def _fate(status: FileStatus) -> Fate:
    if status in (FileStatus.ARCHIVED, FileStatus.MISSING):
        return Fate.ARCHIVED
    if status in _NOT_WELL:
        return Fate.FAILED
    return Fate.WAITING if status in OPEN else Fate.LEFT


def _edges(since: datetime, now: datetime) -> tuple[list[datetime], timedelta]:
    """Where hours, quarters of days or days begin, or as many days as are needed for `MOST_SLOTS`."""
    span = now - since
    fitting = (step for step in _STEPS if span / step < MOST_SLOTS / 2)
    step = next(fitting, timedelta(days=max(1, math.ceil(span / timedelta(days=MOST_SLOTS)))))
    first = since - (since - _EPOCH) % step
    return [first + number * step for number in range((now - first) // step + 1)], step


def _seconds(files: Iterable[tuple[int | None, datetime, datetime]]) -> list[tuple[datetime, float]]:
    """When each group was archived, and how long after its last file was delivered."""
    groups: dict[int, tuple[datetime, datetime]] = {}
    for number, (group, came, at) in enumerate(files):
        key = group or -number  # one without a group is by itself
        last_came, last_at = groups.get(key, (came, at))
        groups[key] = max(came, last_came), max(at, last_at)
    return [(at, max(0.0, (at - came).total_seconds())) for came, at in groups.values()]
