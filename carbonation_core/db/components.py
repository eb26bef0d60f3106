"""Delivered files: what is known of them, and changes of it in bulk."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Connection, Executable, bindparam, insert, select, update

from carbonation_core.db import tallies
from carbonation_core.db.engine import chunks
from carbonation_core.db.models import BatchGroup, FileComponent, StatusChange, path_digest
from carbonation_core.disk.stamp import Stamp
from carbonation_core.lifecycle import ASKING, STATUSES, Event, FileStatus, advance
from carbonation_core.names import to_path

T = TypeVar("T")


class Component(NamedTuple):
    """A delivered file as the database knows it. Paths are spelled as text."""

    id: int
    watch_name: str
    filename: str
    source_path: str
    stamp: Stamp
    quiet_since: datetime
    status: FileStatus
    in_delivery: bool
    in_archive: bool
    group_id: int | None
    digest: str | None
    archive_name: str | None
    archive_path: str | None
    error_message: str | None
    retry_count: int
    retry_at: datetime | None
    detected_at: datetime
    lists: tuple[str, ...] | int | None = None  # of a manifest: the members that it names, or how many

    @property
    def readable_path(self) -> str:
        """Where its bytes can be read: in delivery, else in the archive."""
        return to_path(self.source_path if self.in_delivery else self.archive_path or self.source_path)


@dataclass(frozen=True)
class Arrival:
    """A file that was never seen before, by its absolute path spelled as text.

    `quiet` is how long it had been as it is by then.
    """

    source_path: str
    stamp: Stamp
    quiet: timedelta = timedelta(0)


@dataclass(frozen=True)
class Change:
    """What happens to a component: an event or none, and other columns' new values."""

    component: Component
    event: Event | None = None
    reason: str | None = None
    values: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


_COLUMNS = (
    FileComponent.id,
    FileComponent.watch_name,
    FileComponent.filename,
    FileComponent.source_path,
    FileComponent.size_bytes,
    FileComponent.mtime_ns,
    FileComponent.ctime_ns,
    FileComponent.inode,
    FileComponent.quiet_since,
    FileComponent.status,
    FileComponent.in_delivery,
    FileComponent.in_archive,
    FileComponent.group_id,
    FileComponent.digest,
    FileComponent.archive_name,
    FileComponent.archive_path,
    FileComponent.error_message,
    FileComponent.retry_count,
    FileComponent.retry_at,
    FileComponent.detected_at,
    FileComponent.lists,
)
# What is known of a component's copy when there is none.
OF_NO_COPY: Mapping[str, Any] = MappingProxyType(
    {"in_archive": False, "archive_name": None, "archive_path": None, "digest": None}
)
_TALLIED = ("status", "in_delivery", "in_archive", "size_bytes")  # the columns of a State
# Events whose reason is what an operator reads beside the status.
_EXPLAINED = frozenset(
    {
        Event.CHECK_FAILED,
        Event.LEFT_ALONE,
        Event.REJECTED,
        Event.TIMED_OUT,
        Event.ATTEMPT_FAILED,
        Event.GAVE_UP,
        Event.LOST,
        Event.HANDED_OVER,
    }
)


def in_delivery(connection: Connection, watch_name: str, *conditions: ColumnElement[bool]) -> list[Component]:
    """Every such component of the watch that was in delivery when last looked at."""
    return _components(
        connection,
        select(*_COLUMNS).where(
            FileComponent.watch_name == watch_name, FileComponent.in_delivery, *conditions
        ),
    )


def by_path(connection: Connection, watch_name: str, paths: Iterable[str]) -> list[Component]:
    """The components of the watch with these absolute paths."""
    found: list[Component] = []
    for chunk in chunks(path_digest(path) for path in paths):
        found += _components(
            connection,
            select(*_COLUMNS).where(
                FileComponent.watch_name == watch_name, FileComponent.source_path_sha256.in_(chunk)
            ),
        )
    return found


def _ids_by_path(connection: Connection, watch_name: str, paths: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for chunk in chunks(path_digest(path) for path in paths):
        query = select(FileComponent.source_path, FileComponent.id).where(
            FileComponent.watch_name == watch_name, FileComponent.source_path_sha256.in_(chunk)
        )
        found |= {row.source_path: row.id for row in connection.execute(query)}
    return found


def below(connection: Connection, watch_name: str, directories: Iterable[str]) -> list[Component]:
    """The components of the watch under these absolute directories that were in delivery."""
    found: list[Component] = []
    for directory in directories:
        found += _components(
            connection,
            select(*_COLUMNS).where(
                FileComponent.watch_name == watch_name,
                FileComponent.in_delivery,
                FileComponent.source_path.startswith(f"{directory}/", autoescape=True),
            ),
        )
    return found


def awaiting_a_look(connection: Connection, watch_name: str) -> list[Component]:
    """The components of the watch that have not settled, or have no group yet to be retried with."""
    unsettled = FileComponent.status == FileStatus.DETECTED
    return _components(
        connection,
        select(*_COLUMNS).where(
            FileComponent.watch_name == watch_name,
            # Which an index finds; two statuses with an OR of more would read the whole table.
            FileComponent.status.in_([FileStatus.DETECTED, FileStatus.RETRY_PENDING]),
            FileComponent.in_delivery,
            unsettled | FileComponent.group_id.is_(None),
        ),
    )


def by_id(connection: Connection, ids: Iterable[int]) -> list[Component]:
    """The components with these ids."""
    found: list[Component] = []
    for chunk in chunks(ids):
        found += _components(connection, select(*_COLUMNS).where(FileComponent.id.in_(chunk)))
    return found


def of_groups(connection: Connection, group_ids: Iterable[int]) -> dict[int, list[Component]]:
    """The components of each of these groups."""
    found: dict[int, list[Component]] = {group_id: [] for group_id in group_ids}
    for chunk in chunks(list(found)):
        query = select(*_COLUMNS).where(FileComponent.group_id.in_(chunk))
        for component in _components(connection, query):
            assert component.group_id is not None
            found[component.group_id].append(component)
    return found


def of_batch(connection: Connection, batch_id: str) -> dict[int, list[Component]]:
    """The components of each group that is, or was, in the batch."""
    found: dict[int, list[Component]] = defaultdict(list)
    members = select(*_COLUMNS).join(BatchGroup, BatchGroup.group_id == FileComponent.group_id)
    for component in _components(connection, members.where(BatchGroup.batch_id == batch_id)):
        assert component.group_id is not None
        found[component.group_id].append(component)
    return found


def pending_of(connection: Connection, group_ids: Iterable[int]) -> list[Component]:
    """The components of these groups that wait for their next attempt."""
    found: list[Component] = []
    for chunk in chunks(group_ids):
        pending = (FileComponent.group_id.in_(chunk), FileComponent.status == FileStatus.RETRY_PENDING)
        found += _components(connection, select(*_COLUMNS).where(*pending))
    return found


def in_status(connection: Connection, watch_name: str, statuses: Iterable[FileStatus]) -> list[Component]:
    """The components of the watch in one of these statuses."""
    return _components(
        connection,
        select(*_COLUMNS).where(
            FileComponent.watch_name == watch_name, FileComponent.status.in_(list(statuses))
        ),
    )


def without_group(connection: Connection, watch_name: str, statuses: Iterable[FileStatus]) -> list[Component]:
    """The components of the watch that are in delivery, in one of these statuses, and in no group."""
    return _components(
        connection,
        select(*_COLUMNS).where(
            FileComponent.watch_name == watch_name,
            FileComponent.status.in_(list(statuses)),
            FileComponent.in_delivery,
            FileComponent.group_id.is_(None),
        ),
    )


def record_arrivals(
    connection: Connection, watch_name: str, arrivals: Sequence[Arrival], now: datetime
) -> int:
    """Remember files never seen before; those that somebody else recorded meanwhile are skipped."""
    known = _ids_by_path(connection, watch_name, (a.source_path for a in arrivals))
    new = [arrival for arrival in arrivals if arrival.source_path not in known]
    if not new:
        return 0
    connection.execute(
        insert(FileComponent),
        [
            {
                "watch_name": watch_name,
                "filename": os.path.basename(arrival.source_path),
                "source_path": arrival.source_path,
                "quiet_since": now - arrival.quiet,
                "status": FileStatus.DETECTED,
                "status_since": now,
                "in_delivery": True,
                "detected_at": now,
                **stamp_values(arrival.stamp),
            }
            for arrival in new
        ],
    )
    tallies.add(connection, watch_name, FileStatus.DETECTED, len(new))
    tallies.add(connection, watch_name, tallies.IN_DELIVERY, len(new))
    recorded = _ids_by_path(connection, watch_name, (arrival.source_path for arrival in new))
    connection.execute(
        insert(StatusChange),
        [
            {
                "component_id": id_,
                "at": now,
                "from_status": None,
                "to_status": FileStatus.DETECTED,
                "event": "seen",
                "reason": None,
                "run_id": None,
            }
            for id_ in recorded.values()
        ],
    )
    return len(new)


def stamp_values(stamp: Stamp) -> dict[str, Any]:
    """A stamp as values of its columns."""
    return {
        "size_bytes": stamp.size,
        "mtime_ns": stamp.mtime_ns,
        "ctime_ns": stamp.ctime_ns,
        "inode": stamp.inode,
    }


def apply(
    connection: Connection,
    changes: Sequence[Change],
    now: datetime,
    run_id: str | None = None,
    current: Mapping[int, Component] | None = None,
) -> list[Change]:
    """Make the changes whose component still is what it was when they were decided.

    Returns those; the others were overtaken and will be decided again. `current`: the
    components by id, if this transaction has read them already.
    """
    if current is None:
        current = {file.id: file for file in by_id(connection, (c.component.id for c in changes))}
    made = [change for change in changes if _is_still(current.get(change.component.id), change.component)]
    history: list[dict[str, Any]] = []
    by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    # One after the other, as a component may change twice.
    states = {id_: (c.status, c.in_delivery, c.in_archive, c.stamp.size) for id_, c in current.items()}
    for change in made:
        values = dict(change.values)
        if change.event is not None:
            before = states[change.component.id][0]
            after = advance(before, change.event)
            values = _effects(change.event, after, change.reason, now) | values
            history.append(
                {
                    "component_id": change.component.id,
                    "at": now,
                    "from_status": before,
                    "to_status": after,
                    "event": change.event,
                    "reason": change.reason,
                    "run_id": run_id,
                }
            )
        if values:
            by_columns[tuple(sorted(values))].append({"b_id": change.component.id, **values})
            was = states[change.component.id]
            now_is = states[change.component.id] = tuple(map(values.get, _TALLIED, was))
            tallies.moved(connection, change.component.watch_name, was, now_is)
    for columns, rows in by_columns.items():
        statement = update(FileComponent).where(FileComponent.id == bindparam("b_id"))
        connection.execute(statement.values({column: bindparam(column) for column in columns}), rows)
    if history:
        connection.execute(insert(StatusChange), history)
    return made


def groups_asking(connection: Connection, group_ids: Iterable[int]) -> set[int]:
    """Those of these groups of which a file wants to be worked on."""
    found: set[int] = set()
    for chunk in chunks(group_ids):
        asking = (FileComponent.group_id.in_(chunk), FileComponent.status.in_(ASKING))
        query = select(FileComponent.group_id).where(*asking).distinct()
        found |= {group_id for group_id in connection.execute(query).scalars() if group_id is not None}
    return found


def groups_with_losses(connection: Connection, group_ids: Iterable[int]) -> set[int]:
    """Those of these groups of which a file was archived and is gone from the archive."""
    found: set[int] = set()
    for chunk in chunks(group_ids):
        query = select(FileComponent.group_id).where(
            FileComponent.group_id.in_(chunk),
            FileComponent.archive_path.is_not(None),
            FileComponent.in_archive.is_(False),
        )
        found |= {group_id for group_id in connection.execute(query).scalars() if group_id is not None}
    return found


def _is_still(current: Component | None, decided_on: Component) -> bool:
    return (
        current is not None
        and current.status == decided_on.status
        and current.stamp == decided_on.stamp
        and current.in_delivery == decided_on.in_delivery
    )


def _effects(event: Event, after: FileStatus, reason: str | None, now: datetime) -> dict[str, Any]:
    """The columns that follow from an event, beside the status itself."""
    values: dict[str, Any] = {
        "status": after,
        "status_since": now,
        "error_message": reason if event in _EXPLAINED else None,
    }
    if event is Event.LEFT:
        values |= {"cleared_at": now, "in_delivery": False}
    elif event is Event.HANDED_OVER:
        values |= {"cleared_at": now, **OF_NO_COPY}
    elif event is Event.WITHDRAWN:
        values |= {"in_delivery": False}
    elif event in (Event.RETURNED, Event.REDELIVERED, Event.CHANGED):
        values |= {"in_delivery": True, "quiet_since": now, "retry_count": 0, "retry_at": None}
    elif event is Event.RETRIED:
        values |= {"retry_count": 0, "retry_at": None}
    elif event is Event.ARCHIVED:
        values |= {"retry_at": None}
    elif event is Event.DUE:
        values |= {"retry_at": None, "last_retry_at": now}
    return values


def _components(connection: Connection, query: Executable) -> list[Component]:
    return [
        Component(
            id_,
            watch_name,
            filename,
            source_path,
            Stamp(size, mtime_ns, ctime_ns, inode),
            quiet_since,
            STATUSES[status],
            *rest,
        )
        for (
            id_,
            watch_name,
            filename,
            source_path,
            size,
            mtime_ns,
            ctime_ns,
            inode,
            quiet_since,
            status,
            *rest,
        ) in connection.execute(query).all()
    ]
