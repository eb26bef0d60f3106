"""Groups: their rows, when they are due, and what they are told."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Executable, bindparam, func, insert, select, update

from carbonation_core.db import tallies
from carbonation_core.db.engine import PAGE, chunks
from carbonation_core.db.models import BatchGroup, FileComponent, Group, path_digest
from carbonation_core.lifecycle import FileStatus


class GroupRow(NamedTuple):
    """A row of `files`, less the metadata."""

    id: int
    watch_name: str
    group_key: str
    complete: bool
    archive_name: str | None
    archive_directory: str | None
    created_at: datetime
    reopened_at: datetime | None
    completed_at: datetime | None
    attempts: int
    due_at: datetime | None
    deadline_at: datetime | None
    timed_out_at: datetime | None
    batch_id: str | None
    lacks: str | None = None  # what it was archived without, in words


_COLUMNS = (
    Group.id,
    Group.watch_name,
    Group.group_key,
    Group.complete,
    Group.archive_name,
    Group.archive_directory,
    Group.created_at,
    Group.reopened_at,
    Group.completed_at,
    Group.attempts,
    Group.due_at,
    Group.deadline_at,
    Group.timed_out_at,
    Group.batch_id,
    Group.lacks,
)


def by_key(connection: Connection, watch_name: str, keys: Iterable[str]) -> dict[str, GroupRow]:
    """The groups of the watch under these keys."""
    found: dict[str, GroupRow] = {}
    for chunk in chunks(path_digest(key) for key in keys):
        query = select(*_COLUMNS).where(Group.watch_name == watch_name, Group.group_key_sha256.in_(chunk))
        found |= {row.group_key: row for row in _groups(connection, query)}
    return found


def by_id(connection: Connection, ids: Iterable[int]) -> dict[int, GroupRow]:
    """The groups with these ids."""
    found: dict[int, GroupRow] = {}
    for chunk in chunks(ids):
        query = select(*_COLUMNS).where(Group.id.in_(chunk))
        found |= {row.id: row for row in _groups(connection, query)}
    return found


def owned_by(connection: Connection, batch_id: str) -> dict[int, GroupRow]:
    """The groups that the batch owns, by their ids."""
    return {row.id: row for row in _groups(connection, select(*_COLUMNS).where(Group.batch_id == batch_id))}


def of_batch(connection: Connection, batch_id: str) -> dict[int, GroupRow]:
    """The groups that are, or were, in the batch, by their ids."""
    members = select(*_COLUMNS).join(BatchGroup, BatchGroup.group_id == Group.id)
    return {row.id: row for row in _groups(connection, members.where(BatchGroup.batch_id == batch_id))}


def ensure(
    connection: Connection, watch_name: str, file_type: str | None, keys: Iterable[str], now: datetime
) -> dict[str, GroupRow]:
    """The groups of the watch under these keys; rows that are missing are made."""
    wanted = list(dict.fromkeys(keys))
    found = by_key(connection, watch_name, wanted)
    new = [key for key in wanted if key not in found]
    if new:
        connection.execute(
            insert(Group),
            [
                {
                    "watch_name": watch_name,
                    "file_type": file_type,
                    "group_key": key,
                    "created_at": now,
                    "modified_at": now,
                }
                for key in new
            ],
        )
        tallies.add(connection, watch_name, tallies.GROUPS, len(new))
        found |= by_key(connection, watch_name, new)
    return found


def store(connection: Connection, rows: Sequence[Mapping[str, Any]], now: datetime) -> None:
    """Set columns of groups; each row has `id` and the columns to set, all rows the same.

    What many groups are told alike is said once for all of them.
    """
    if not rows:
        return
    columns = [column for column in rows[0] if column != "id"]
    if "complete" in columns:
        before = by_id(connection, (row["id"] for row in rows))
        for row in rows:
            group = before[row["id"]]
            tallies.add(connection, group.watch_name, tallies.COMPLETE, row["complete"] - group.complete)
    alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for row in rows:
        alike[tuple(row[column] for column in columns)].append(row["id"])
    if len(alike) <= len(rows) // 10:
        for told, ids in alike.items():
            for chunk in chunks(ids):
                some = update(Group).where(Group.id.in_(chunk))
                connection.execute(some.values(modified_at=now, **dict(zip(columns, told, strict=True))))
        return
    values: dict[str, Any] = {column: bindparam(f"b_{column}") for column in columns}
    statement = update(Group).where(Group.id == bindparam("b_id")).values(modified_at=now, **values)
    connection.execute(statement, [{f"b_{name}": value for name, value in row.items()} for row in rows])


def overdue(connection: Connection, watch_name: str, now: datetime) -> list[GroupRow]:
    """Unowned groups of the watch whose timeout has come."""
    query = select(*_COLUMNS).where(
        Group.watch_name == watch_name, Group.deadline_at <= now, Group.batch_id.is_(None)
    )
    return list(_groups(connection, query))


def due(
    connection: Connection, watch_name: str, now: datetime, limit: int, tried: Collection[str] = ()
) -> list[GroupRow]:
    """Unowned groups of the watch that may be claimed, the longest due first.

    `tried`: but for those that were in one of these batches.
    """
    had = select(BatchGroup.group_id).where(BatchGroup.group_id == Group.id, BatchGroup.batch_id.in_(tried))
    query = (
        select(*_COLUMNS)
        .where(Group.watch_name == watch_name, Group.due_at <= now, Group.batch_id.is_(None), ~had.exists())
        .order_by(Group.due_at, Group.id)
        .limit(limit)
    )
    return list(_groups(connection, query))


def count_due(connection: Connection, watch_name: str, now: datetime) -> int:
    """How many groups of the watch may be claimed."""
    query = select(func.count(Group.id)).where(
        Group.watch_name == watch_name, Group.due_at <= now, Group.batch_id.is_(None)
    )
    return connection.execute(query).scalar_one()


def postponed(connection: Connection, watch_name: str, now: datetime) -> set[int]:
    """Unowned groups of the watch that may be claimed later."""
    query = select(Group.id).where(
        Group.watch_name == watch_name, Group.due_at > now, Group.batch_id.is_(None)
    )
    return set(connection.execute(query).scalars())


def next_change(connection: Connection, watch_name: str, now: datetime) -> datetime | None:
    """When time alone next does something to an unowned group of the watch: it is due, or times out."""
    query = select(
        *(
            select(func.min(column))
            .where(Group.watch_name == watch_name, column > now, Group.batch_id.is_(None))
            .scalar_subquery()
            for column in (Group.due_at, Group.deadline_at)
        )
    )
    return min(filter(None, connection.execute(query).one()), default=None)


def incomplete(connection: Connection, watch_name: str, archive_name: str, after: int) -> Sequence[int]:
    """A page of groups that nobody owns and that are not complete, though files of theirs are archived."""
    query = (
        select(Group.id)
        .join(FileComponent, FileComponent.group_id == Group.id)
        .where(
            Group.watch_name == watch_name,
            Group.id > after,
            Group.complete.is_(False),
            Group.batch_id.is_(None),
            FileComponent.status == FileStatus.ARCHIVED,
            FileComponent.archive_name == archive_name,
        )
        .distinct()
        .order_by(Group.id)
        .limit(PAGE)
    )
    return connection.execute(query).scalars().all()


def of_watch(connection: Connection, watch_name: str, after: int) -> dict[int, bool]:
    """A page of the groups of a watch, by id, and whether an extractor ever described them."""
    query = (
        select(Group.id, Group.metadata_.is_not(None))
        .where(Group.watch_name == watch_name, Group.id > after)
        .order_by(Group.id)
        .limit(PAGE)
    )
    return {id_: bool(is_described) for id_, is_described in connection.execute(query)}


def _groups(connection: Connection, query: Executable) -> Iterable[GroupRow]:
    return map(GroupRow._make, connection.execute(query).all())
