"""Components that were in delivery, as a look at everything compares them with what lies there."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

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
