"""Components that were in delivery, as a look at everything compares them with what lies there."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select

from carbonation_core.db import components
from carbonation_core.db.components import Component
from carbonation_core.db.engine import PAGE, Connection, Engine, chunks, reading
from carbonation_core.db.models import FileComponent, Group, path_digest
from carbonation_core.disk.stamp import Stamp
from carbonation_core.lifecycle import FileStatus


@dataclass(frozen=True, slots=True)
class Delivered:
    """A component that was in delivery when last looked at. `in_work`: somebody owns its group."""

    id: int
    source_path: str
    filename: str
    stamp: Stamp
    status: FileStatus
    archive_name: str | None
    is_explained: bool  # it bears a message
    in_work: bool


@dataclass(frozen=True, slots=True)
class Rest:
    """Components that stay as they are while their files do: those in one of `statuses`.

    But for archived ones whose source an archive of `moving` should have taken away.
    """

    statuses: frozenset[FileStatus]
    moving: frozenset[str]


_DELIVERED = (
    FileComponent.id,
    FileComponent.source_path,
    FileComponent.filename,
    FileComponent.size_bytes,
    FileComponent.mtime_ns,
    FileComponent.ctime_ns,
    FileComponent.inode,
    FileComponent.status,
    FileComponent.archive_name,
    FileComponent.error_message,
    Group.batch_id,
)


def pages(engine: Engine, watch_name: str) -> Iterator[list[Delivered]]:
    """The components of a watch that were in delivery, in pages, each read by itself."""
    last = 0
    while True:
        query = (
            select(*_DELIVERED)
            .outerjoin(Group, Group.id == FileComponent.group_id)
            .where(FileComponent.watch_name == watch_name, FileComponent.in_delivery, FileComponent.id > last)
            .order_by(FileComponent.id)
            .limit(PAGE)
        )
        with reading(engine) as connection:
            rows = connection.execute(query).all()
        if not rows:
            return
        last = rows[-1][0]
        yield [_delivered(row) for row in rows]


def at_rest(connection: Connection, watch_name: str, rest: Rest) -> Iterator[tuple[str, Stamp, str]]:
    """Paths, stamps and statuses of such components of a watch in delivery; a portion is held at a time."""
    stamp = (FileComponent.size_bytes, FileComponent.mtime_ns, FileComponent.ctime_ns, FileComponent.inode)
    query = select(FileComponent.source_path, *stamp, FileComponent.status).where(
        FileComponent.watch_name == watch_name,
        FileComponent.in_delivery,
        FileComponent.status.in_(sorted(rest.statuses)),
    )
    if rest.moving:
        query = query.where(
            or_(
                FileComponent.status != FileStatus.ARCHIVED,
                FileComponent.archive_name.is_(None),
                FileComponent.archive_name.not_in(sorted(rest.moving)),
            )
        )
    rows = connection.execute(query, execution_options={"yield_per": PAGE})
    for path, size, mtime_ns, ctime_ns, inode, status in rows:
        yield path, Stamp(size, mtime_ns, ctime_ns, inode), status


def restless(connection: Connection, watch_name: str, rest: Rest) -> list[Component]:
    """All other components of the watch in delivery."""
    others = FileComponent.status.in_(sorted(set(FileStatus) - rest.statuses))
    found = components.in_delivery(connection, watch_name, others)
    if rest.moving and FileStatus.ARCHIVED in rest.statuses:
        to_take = FileComponent.archive_name.in_(sorted(rest.moving))
        # By itself, as an index finds these and those above, and no index finds both.
        archived = FileComponent.status == FileStatus.ARCHIVED
        found += components.in_delivery(connection, watch_name, archived, to_take)
    return found


def known(connection: Connection, watch_name: str, paths: Iterable[str]) -> set[str]:
    """Those of these absolute paths that are known as files in delivery."""
    found: set[str] = set()
    for chunk in chunks(path_digest(path) for path in paths):
        query = select(FileComponent.source_path).where(
            FileComponent.watch_name == watch_name,
            FileComponent.in_delivery,
            FileComponent.source_path_sha256.in_(chunk),
        )
        found |= set(connection.execute(query).scalars())
    return found


def in_work(connection: Connection, ids: Iterable[int]) -> set[int]:
    """Those of these components whose group somebody owns."""
    found: set[int] = set()
    for chunk in chunks(ids):
        query = (
            select(FileComponent.id)
            .join(Group, Group.id == FileComponent.group_id)
            .where(FileComponent.id.in_(chunk), Group.batch_id.is_not(None))
        )
        found |= set(connection.execute(query).scalars())
    return found


def _delivered(row: Any) -> Delivered:
    id_, source_path, filename, size, mtime_ns, ctime_ns, inode, status, archive_name, message, batch_id = row
    return Delivered(
        id_,
        source_path,
        filename,
        Stamp(size, mtime_ns, ctime_ns, inode),
        FileStatus(status),
        archive_name,
        message is not None,
        batch_id is not None,
    )
