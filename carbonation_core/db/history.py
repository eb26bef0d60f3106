"""What was ever recorded of files and groups, as `explain` tells it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Executable, func, select

from carbonation_core.db import components
from carbonation_core.db.components import Component
from carbonation_core.db.engine import PAGE, chunks
from carbonation_core.db.models import (
    ArchiveCopy,
    Batch,
    BatchGroup,
    FeedEntry,
    FileComponent,
    Group,
    StatusChange,
    path_digest,
)
from carbonation_core.lifecycle import Event

MOST_KEYS = 10_000  # that somebody's question goes through


@dataclass(frozen=True, slots=True)
class Step:
    """A change of a file's status; `from_status` is None when it was first seen."""

    component_id: int
    at: datetime
    from_status: str | None
    to_status: str
    event: str
    reason: str | None
    run_id: str | None


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy that was made of a file; `digest` is SHA-256 in hexadecimal; None: it was never read."""

    component_id: int
    archive_name: str
    path: str
    digest: str | None
    size_bytes: int
    copied_at: datetime
    run_id: str | None
    superseded_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A group's way through one batch; `outcome` is None while it is on its way."""

    group_id: int
    batch_id: str
    status: str  # of the batch
    run_id: str | None
    host: str | None  # that works on it, or did so last
    rules_digest: str
    created_at: datetime
    ended_at: datetime | None
    stage: str | None
    outcome: str | None
    reason: str | None
    archive_name: str | None
    archive_directory: str | None
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A group's place in the feed."""

    group_id: int
    sequence: int
    event: str
    at: datetime


def groups_with_key(connection: Connection, watches: Iterable[str], key: str) -> list[int]:
    """The groups of these watches under that key."""
    query = select(Group.id).where(
        Group.watch_name.in_(list(watches)), Group.group_key_sha256 == path_digest(key)
    )
    return list(connection.execute(query.order_by(Group.watch_name)).scalars())


def waiting_keys(connection: Connection, watch_name: str) -> list[str]:
    """The keys of a watch's groups that wait for files, the latest first; not more than `MOST_KEYS`."""
    query = select(Group.group_key).where(
        Group.watch_name == watch_name,
        Group.due_at.is_(None),
        Group.batch_id.is_(None),
        Group.complete.is_(False),
    )
    return list(connection.execute(query.order_by(Group.id.desc()).limit(MOST_KEYS)).scalars())


def files_at(connection: Connection, watches: Iterable[str], paths: Sequence[str]) -> list[Component]:
    """The files of these watches that were delivered at one of these absolute paths."""
    return [file for name in sorted(watches) for file in components.by_path(connection, name, paths)]


def files_archived_at(connection: Connection, paths: Sequence[str]) -> list[Component]:
    """The files that have, or had, a copy at one of these absolute paths."""
    query = select(ArchiveCopy.component_id).where(ArchiveCopy.path.in_(list(paths)))
    return components.by_id(connection, sorted(set(connection.execute(query).scalars())))


def files_named(connection: Connection, name: str, limit: int) -> list[Component]:
    """The files of that name, in whatever directory; those seen last first."""
    query = select(FileComponent.id).where(FileComponent.filename == name)
    ids = connection.execute(query.order_by(FileComponent.id.desc()).limit(limit)).scalars()
    return components.by_id(connection, list(ids))


def history(connection: Connection, component_ids: Iterable[int]) -> list[Step]:
    """Every change of these files' statuses, in order."""
    query = select(
        StatusChange.component_id,
        StatusChange.at,
        StatusChange.from_status,
        StatusChange.to_status,
        StatusChange.event,
        StatusChange.reason,
        StatusChange.run_id,
    ).order_by(StatusChange.id)
    found = [
        Step(*row)
        for chunk in chunks(component_ids)
        for row in connection.execute(query.where(StatusChange.component_id.in_(chunk)))
    ]
    return sorted(found, key=lambda step: step.at)


def copies(connection: Connection, component_ids: Iterable[int]) -> list[Copy]:
    """Every copy that was made of these files, in order."""
    query = select(
        ArchiveCopy.component_id,
        ArchiveCopy.archive_name,
        ArchiveCopy.path,
        ArchiveCopy.digest,
        ArchiveCopy.size_bytes,
        ArchiveCopy.copied_at,
        ArchiveCopy.run_id,
        ArchiveCopy.superseded_at,
    ).order_by(ArchiveCopy.id)
    return [
        Copy(*row)
        for chunk in chunks(component_ids)
        for row in _rows(connection, query.where(ArchiveCopy.component_id.in_(chunk)))
    ]


def attempts(connection: Connection, group_id: int) -> list[Attempt]:
    """Every batch that the group was in, in order."""
    query = (
        select(
            BatchGroup.group_id,
            Batch.id,
            Batch.status,
            Batch.run_id,
            Batch.host,
            Batch.rules_digest,
            Batch.created_at,
            Batch.ended_at,
            BatchGroup.stage,
            BatchGroup.outcome,
            BatchGroup.reason,
            BatchGroup.archive_name,
            BatchGroup.archive_directory,
            BatchGroup.files,
            BatchGroup.bytes,
        )
        .join(Batch, Batch.id == BatchGroup.batch_id)
        .where(BatchGroup.group_id == group_id)
        .order_by(Batch.created_at, Batch.id)
    )
    return [Attempt(*row) for row in _rows(connection, query)]


def announcements(connection: Connection, group_id: int) -> list[Entry]:
    """The group's places in the feed, in order."""
    query = select(FeedEntry.sequence, FeedEntry.event, FeedEntry.at)
    query = query.where(FeedEntry.group_id == group_id).order_by(FeedEntry.sequence)
    return [Entry(group_id, *row) for row in connection.execute(query)]


def extras(connection: Connection, group_id: int) -> tuple[str | None, str | None, str | None]:
    """The group's label, its archive path, and the digest of the rules that archived it."""
    query = select(Group.file_type, Group.archive_path, Group.rules_digest).where(Group.id == group_id)
    file_type, archive_path, rules_digest = connection.execute(query).one()
    return file_type, archive_path, rules_digest


def _rows(connection: Connection, query: Executable) -> Iterable[Any]:
    return connection.execute(query)


def joined(connection: Connection, watch_name: str, since: datetime, after: int) -> dict[int, datetime]:
    """A page of the watch's files that first joined a group since then: when, by their ids."""
    at = func.min(StatusChange.at)
    query = (
        select(FileComponent.id, at)
        .join(StatusChange, StatusChange.component_id == FileComponent.id)
        .where(FileComponent.watch_name == watch_name, FileComponent.id > after)
        .where(StatusChange.event == Event.GROUPED)
        .group_by(FileComponent.id)
        .having(at >= since)
        .order_by(FileComponent.id)
        .limit(PAGE)
    )
    return {id_: _aware(found) for id_, found in connection.execute(query)}


def _aware(at: datetime | str) -> datetime:
    """A time that came out of a function of the database, which some give without its type."""
    found = datetime.fromisoformat(at) if isinstance(at, str) else at
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
