"""What came into a watch in a time and what became of it, as a report sums it up.

Every question begins at the index of `status_since`: what came since a time has
come to its status since then, and what lies there for longer is not read.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, case, func, select

from carbonation_core.db.models import FileComponent
from carbonation_core.lifecycle import FileStatus

MOST_TIMED = 20_000  # files whose way to the archive is timed


def delivered(
    connection: Connection, watch_name: str, edges: Sequence[datetime]
) -> list[tuple[int, FileStatus, int, int]]:
    """Files by when they were delivered last: which of the edges that follows, status, number, bytes."""
    at = FileComponent.quiet_since
    slot = case(*((at >= edge, number) for number, edge in reversed(list(enumerate(edges)))))
    query = (
        select(slot, FileComponent.status, func.count(), func.sum(FileComponent.size_bytes))
        .where(_of(watch_name), FileComponent.status_since >= edges[0], at >= edges[0])
        .group_by(slot, FileComponent.status)
    )
    return [
        (int(n), FileStatus(status), count, int(size)) for n, status, count, size in connection.execute(query)
    ]


def archived(
    connection: Connection, watch_name: str, since: datetime
) -> list[tuple[int | None, datetime, datetime]]:
    """Files archived since then, the last `MOST_TIMED` of them: group, when delivered, when archived."""
    query = (
        select(FileComponent.group_id, FileComponent.quiet_since, FileComponent.archived_at)
        .where(
            _of(watch_name),
            FileComponent.status_since >= since,
            FileComponent.status == FileStatus.ARCHIVED,
            FileComponent.archived_at >= since,
        )
        .order_by(FileComponent.status_since.desc())
        .limit(MOST_TIMED)
    )
    return [(group, came, at) for group, came, at in connection.execute(query) if at is not None]


def reasons(
    connection: Connection, watch_name: str, since: datetime, statuses: Collection[FileStatus]
) -> list[tuple[str, int]]:
    """Why files came to one of these statuses since then and stand there: each reason, and how many."""
    number = func.count()
    query = (
        select(FileComponent.error_message, number)
        .where(
            _of(watch_name),
            FileComponent.status_since >= since,
            FileComponent.status.in_(statuses),
        )
        .group_by(FileComponent.error_message)
        .order_by(number.desc(), FileComponent.error_message)
    )
    return [(reason or "no reason given", count) for reason, count in connection.execute(query)]


def _of(watch_name: str) -> ColumnElement[bool]:
    # Not by an index: SQLite would take that of the watches, and read all that a watch ever had.
    return FileComponent.watch_name.concat("") == watch_name
