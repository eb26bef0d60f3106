"""Counts of components and groups, as `status` tells them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Executable, case, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from carbonation_core.db import components
from carbonation_core.db.batches import RUNNING
from carbonation_core.db.models import Batch, FileComponent, Group, StatusChange
from carbonation_core.lifecycle import FileStatus

_OPEN = (FileStatus.DETECTED, FileStatus.WAITING, FileStatus.RETRY_PENDING)


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


def by_status(connection: Connection) -> dict[FileStatus, int]:
    """How many components stand in each status."""
    query = select(FileComponent.status, func.count()).group_by(FileComponent.status)
    found = _pairs(connection, query)
    return {status: found.get(status, 0) for status in FileStatus}


def reached_since(
    connection: Connection, now: datetime, windows: Sequence[timedelta]
) -> dict[FileStatus, tuple[int, ...]]:
    """How many components of each status came to it within each of the windows."""
    latest = (
        select(StatusChange.component_id, func.max(StatusChange.at).label("at"))
        .where(StatusChange.at >= now - max(windows))
        .group_by(StatusChange.component_id)
        .subquery()
    )
    sums = [func.sum(case((latest.c.at >= now - window, 1), else_=0)) for window in windows]
    query = (
        select(FileComponent.status, *sums)
        .join(latest, latest.c.component_id == FileComponent.id)
        .group_by(FileComponent.status)
    )
    found = {status: tuple(map(int, numbers)) for status, *numbers in connection.execute(query)}
    return {status: found.get(status, (0,) * len(windows)) for status in FileStatus}


def totals(connection: Connection) -> Totals:
    """How much there is in all."""
    groups, complete = connection.execute(select(func.count(), _sum_where(Group.complete, 1))).one()

    counts = connection.execute(
        select(
            func.count(),
            _sum_where(FileComponent.in_delivery, 1),
            _sum_where(FileComponent.in_archive, 1),
            _sum_where(FileComponent.in_archive, FileComponent.size_bytes),
        ).select_from(FileComponent)
    ).one()
    return Totals(groups, int(complete), *map(int, counts))


def _sum_where(condition: InstrumentedAttribute[bool], value: object) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, value), else_=0)), 0)


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


def oldest_open_group(connection: Connection, watch_names: Collection[str]) -> OldestGroup | None:
    """The group of these watches that has waited longest for something that may still come."""
    open_ones = (FileComponent.watch_name.in_(watch_names), FileComponent.status.in_(_OPEN))
    since = func.coalesce(Group.reopened_at, Group.created_at)
    query = (
        select(Group.id, Group.watch_name, Group.group_key, since, Group.deadline_at)
        .where(Group.id.in_(select(FileComponent.group_id).where(*open_ones)))
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
    connection: Connection, watch_names: Collection[str], before: datetime, limit: int
) -> tuple[list[int], int]:
    """Who waits since before that time, or after its timeout: the longest first; and how many."""
    mine = (FileComponent.watch_name.in_(watch_names), FileComponent.in_delivery)
    asking = select(FileComponent.group_id).where(*mine, FileComponent.status.in_(_OPEN))
    given_up = select(FileComponent.group_id).where(*mine, FileComponent.status == FileStatus.TIMED_OUT)
    since = func.coalesce(Group.reopened_at, Group.created_at)
    overlong = or_(
        Group.id.in_(asking) & (since <= before),
        Group.id.in_(asking) & Group.timed_out_at.is_not(None),
        Group.id.in_(given_up),
    )
    query = select(Group.id).where(overlong).order_by(since, Group.id).limit(limit)
    found = list(connection.execute(query).scalars())
    if len(found) < limit:
        return found, len(found)
    return found, connection.execute(select(func.count(Group.id)).where(overlong)).scalar_one()


def overlong_files(
    connection: Connection, watch_names: Collection[str], before: datetime
) -> list[tuple[components.Component, datetime]]:
    """Files in delivery that have no group yet and came to their status before that time, and when."""
    latest = func.max(StatusChange.at)
    query = (
        select(FileComponent.id, latest)
        .join(StatusChange, StatusChange.component_id == FileComponent.id)
        .where(
            FileComponent.watch_name.in_(watch_names),
            FileComponent.status.in_(_OPEN),
            FileComponent.in_delivery,
            FileComponent.group_id.is_(None),
        )
        .group_by(FileComponent.id)
        .having(latest <= before)
    )
    since = {id_: at for id_, at in connection.execute(query)}  # noqa: C416  # rows are no pairs to mypy
    return [(file, since[file.id]) for file in components.by_id(connection, since)]


def of_unknown_watches(connection: Connection, watch_names: Collection[str]) -> dict[str, int]:
    """How many groups belong to watches other than these, by watch."""
    query = (
        select(Group.watch_name, func.count())
        .where(Group.watch_name.not_in(watch_names))
        .group_by(Group.watch_name)
        .order_by(Group.watch_name)
    )
    return _pairs(connection, query)


def _pairs(connection: Connection, query: Executable) -> dict[str, int]:
    return {name: number for name, number in connection.execute(query)}  # noqa: C416  # rows are no pairs to mypy
