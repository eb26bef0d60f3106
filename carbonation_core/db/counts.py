"""Counts of components and groups, as `status` tells them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from sqlalchemy import Connection, Executable, Subquery, case, func, or_, select, true

from carbonation_core.db import components, tallies
from carbonation_core.db.batches import OFFERED, RUNNING
from carbonation_core.db.models import Batch, FileComponent, Group, Tally
from carbonation_core.lifecycle import OPEN, FileStatus


@dataclass(frozen=True, slots=True)
class Totals:
    """How much there is."""

    groups: int
    complete_groups: int
    components: int
    in_delivery: int
    in_archive: int
    archived_bytes: int


@dataclass(frozen=True, slots=True)
class RetryQueue:
    """Components that wait for their next attempt, and when the first of them has it."""

    components: int
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class OldestGroup:
    """A group that still has something to wait for, and how its components stand."""

    watch_name: str
    group_key: str
    since: datetime
    waits_until: datetime | None
    components: Mapping[str, int]


def reached_since(
    connection: Connection, now: datetime, windows: Sequence[timedelta]
) -> dict[FileStatus, tuple[int, ...]]:
    """How many components of each status came to it within each of the windows, the shortest first."""
    since = FileComponent.status_since
    # Each is counted once, for the shortest window that it fits; the longer ones have it, too.
    shortest = case(*((since >= now - window, number) for number, window in enumerate(windows)))
    query = (
        select(FileComponent.status, shortest, func.count())
        .where(since >= now - windows[-1])
        .group_by(FileComponent.status, shortest)
    )
    found: dict[str, list[int]] = {status: [0] * len(windows) for status in FileStatus}
    for status, window, number in connection.execute(query):
        found[status][window] += number
    return {status: tuple(accumulate(found[status])) for status in FileStatus}


def by_status(sums: Mapping[str, int]) -> dict[FileStatus, int]:
    """How many components stand in each status, by the sums over all watches."""
    return {status: sums.get(status, 0) for status in FileStatus}


def totals(sums: Mapping[str, int]) -> Totals:
    """How much there is in all, by the sums over all watches."""
    return Totals(
        groups=sums.get(tallies.GROUPS, 0),
        complete_groups=sums.get(tallies.COMPLETE, 0),
        components=sum(by_status(sums).values()),
        in_delivery=sums.get(tallies.IN_DELIVERY, 0),
        in_archive=sums.get(tallies.IN_ARCHIVE, 0),
        archived_bytes=sums.get(tallies.ARCHIVED_BYTES, 0),
    )


def retry_queue(connection: Connection, watch_names: Collection[str]) -> RetryQueue:
    """What waits for its next attempt in these watches."""
    query = select(func.count(), func.min(FileComponent.retry_at)).where(
        FileComponent.watch_name.in_(watch_names), FileComponent.status == FileStatus.RETRY_PENDING
    )
    return RetryQueue(*connection.execute(query).one())


def due_groups(connection: Connection, watch_names: Collection[str], now: datetime) -> int:
    """How many groups of these watches wait for a run."""
    query = select(func.count()).where(
        Group.watch_name.in_(watch_names), Group.due_at <= now, Group.batch_id.is_(None)
    )
    return connection.execute(query).scalar_one()


def running_batches(connection: Connection, watch_names: Collection[str], now: datetime) -> int:
    """How many batches of these watches are held by a run, `now` by the database's clock."""
    query = select(func.count()).where(
        Batch.watch_name.in_(watch_names), Batch.status == RUNNING, Batch.lease_until >= now
    )
    return connection.execute(query).scalar_one()


def open_batches(
    connection: Connection, watch_names: Collection[str]
) -> list[tuple[str, str, str | None, int]]:
    """How many batches of these watches have not ended: by watch, status and the host that works on them."""
    query = (
        select(Batch.watch_name, Batch.status, Batch.host, func.count())
        .where(Batch.watch_name.in_(watch_names), Batch.status.in_([OFFERED, RUNNING]))
        .group_by(Batch.watch_name, Batch.status, Batch.host)
    )
    return [(watch, status, host, number) for watch, status, host, number in connection.execute(query)]


def open_groups(
    connection: Connection, watch_names: Collection[str], now: datetime
) -> dict[str, dict[str, tuple[int, datetime]]]:
    """What groups of these watches wait for: how many do, and since when the first; by watch.

    That is "members", another "attempt", a "run", or the "end" of the batch that has them.
    """
    open_ones = _open_ones(watch_names)
    waits_for = case(
        (Group.batch_id.is_not(None), "end"),
        (Group.due_at.is_(None), "members"),
        (Group.due_at > now, "attempt"),
        else_="run",
    )
    since = func.coalesce(Group.reopened_at, Group.created_at)
    query = (
        select(Group.watch_name, waits_for, func.count(), func.min(since))
        .join(open_ones, open_ones.c.group_id == Group.id)
        .group_by(Group.watch_name, waits_for)
    )
    found: dict[str, dict[str, tuple[int, datetime]]] = {}
    for watch_name, what, number, first in connection.execute(query):
        found.setdefault(watch_name, {})[what] = (number, first)
    return found


def oldest_open_group(connection: Connection, watch_names: Collection[str]) -> OldestGroup | None:
    """The group of these watches that has waited longest for something that may still come."""
    open_ones = _open_ones(watch_names)
    since = func.coalesce(Group.reopened_at, Group.created_at)
    query = (
        select(Group.id, Group.watch_name, Group.group_key, since, Group.deadline_at)
        .join(open_ones, open_ones.c.group_id == Group.id)
        .order_by(since, Group.id)
        .limit(1)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    group_id, watch_name, group_key, at, waits_until = row
    members = (
        select(FileComponent.status, func.count())
        .where(FileComponent.group_id == group_id)
        .group_by(FileComponent.status)
    )
    standing = _pairs(connection, members)
    return OldestGroup(watch_name, group_key, at, waits_until, standing)


def overlong_groups(
    connection: Connection, watch_names: Collection[str], before: datetime | None, limit: int
) -> tuple[list[int], int]:
    """Who waits since before that time, or after its timeout: the longest first; and how many.

    None: all that wait.
    """
    given_up = func.max(case((FileComponent.status == FileStatus.TIMED_OUT, 1), else_=0))
    waiting = (
        select(FileComponent.group_id, given_up.label("given_up"))
        .where(
            FileComponent.watch_name.in_(watch_names),
            FileComponent.in_delivery,
            FileComponent.status.in_([*OPEN, FileStatus.TIMED_OUT]),
        )
        .group_by(FileComponent.group_id)
        .subquery()
    )
    since = func.coalesce(Group.reopened_at, Group.created_at)
    is_long = since <= before if before is not None else true()
    overlong = or_(waiting.c.given_up == 1, is_long, Group.timed_out_at.is_not(None))
    query = (
        select(Group.id, func.count().over())
        .join(waiting, waiting.c.group_id == Group.id)
        .where(overlong)
        .order_by(since, Group.id)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    return [id_ for id_, _ in rows], rows[0][1] if rows else 0


def held_up(
    connection: Connection, watch_names: Collection[str], statuses: Collection[FileStatus]
) -> dict[int, datetime]:
    """The files in delivery that stand in one of these statuses, and since when."""
    query = select(FileComponent.id, FileComponent.status_since).where(
        FileComponent.watch_name.in_(watch_names),
        FileComponent.status.in_(statuses),
        FileComponent.in_delivery,
    )
    return {id_: at for id_, at in connection.execute(query) if at is not None}


def overlong_files(
    connection: Connection, watch_names: Collection[str], before: datetime
) -> list[tuple[components.Component, datetime]]:
    """Files in delivery that have no group yet and came to their status before that time, and when."""
    query = select(FileComponent.id, FileComponent.status_since).where(
        FileComponent.watch_name.in_(watch_names),
        FileComponent.status.in_(OPEN),
        FileComponent.in_delivery,
        FileComponent.group_id.is_(None),
        FileComponent.status_since <= before,
    )
    since = {id_: at for id_, at in connection.execute(query) if at is not None}
    return [(file, since[file.id]) for file in components.by_id(connection, since)]


def of_unknown_watches(connection: Connection, watch_names: Collection[str]) -> dict[str, int]:
    """How many groups belong to watches other than these, by watch."""
    query = (
        select(Tally.watch_name, Tally.value)
        .where(Tally.name == tallies.GROUPS, Tally.value > 0, Tally.watch_name.not_in(watch_names))
        .order_by(Tally.watch_name)
    )
    return _pairs(connection, query)


def of_unknown_archives(
    connection: Connection, watch_names: Collection[str], archive_names: Collection[str]
) -> dict[str, int]:
    """How many groups of these watches lie in archives other than these, by archive."""
    query = (
        select(Group.archive_name, func.count())
        .where(
            Group.watch_name.in_(watch_names),
            Group.archive_name.is_not(None),
            Group.archive_name.not_in(archive_names),
        )
        .group_by(Group.archive_name)
        .order_by(Group.archive_name)
    )
    return _pairs(connection, query)


def _open_ones(watch_names: Collection[str]) -> Subquery:
    """The groups of these watches that have something to wait for."""
    return (
        select(FileComponent.group_id)
        .where(FileComponent.watch_name.in_(watch_names), FileComponent.status.in_(OPEN))
        .distinct()
        .subquery()
    )


def _pairs(connection: Connection, query: Executable) -> dict[str, int]:
    return {name: number for name, number in connection.execute(query)}  # noqa: C416  # rows are no pairs to mypy
