"""Whole tables read in ranges of keys, so that memory never grows with them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Select, func, or_, select

from carbonation_core.db.engine import chunks, reading
from carbonation_core.db.models import ArchiveCopy, Batch, BatchGroup, FileComponent, Group, path_digest
from carbonation_core.disk.stamp import Stamp
from carbonation_core.lifecycle import FileStatus

PAGE = 1000  # rows


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy that should lie in an archive, and where its component stands.

    `is_current`: it is the component's newest; `in_work`: somebody owns its group.
    """

    id: int
    component_id: int
    path: str
    digest: str
    size: int
    mtime_ns: int
    status: FileStatus
    in_archive: bool
    is_current: bool
    in_work: bool


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


_COPY = (
    ArchiveCopy.id,
    ArchiveCopy.component_id,
    ArchiveCopy.path,
    ArchiveCopy.digest,
    ArchiveCopy.size_bytes,
    ArchiveCopy.mtime_ns,
    FileComponent.status,
    FileComponent.in_archive,
    FileComponent.archive_path,
    Group.batch_id,
)
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


def live_copies(
    engine: Engine, archive_name: str, watch_name: str | None, below: Sequence[str]
) -> Iterator[list[Copy]]:
    """The current copies of an archive in pages, each read by itself; `below`: these paths, else all."""
    last = 0
    while True:
        query = (
            _copies(archive_name, watch_name, below)
            .where(ArchiveCopy.id > last)
            .order_by(ArchiveCopy.id)
            .limit(PAGE)
        )
        with reading(engine) as connection:
            rows = connection.execute(query).all()
        if not rows:
            return
        last = rows[-1][0]
        yield [copy for copy in map(_copy, rows) if _lies_below(copy.path, below)]


def live_copies_by_id(connection: Connection, ids: Iterable[int]) -> dict[int, Copy]:
    """Those of these copies that are not superseded, by id."""
    found: dict[int, Copy] = {}
    for chunk in chunks(ids):
        query = _joined().where(ArchiveCopy.id.in_(chunk), ArchiveCopy.path_key.is_not(None))
        found |= {copy.id: copy for copy in map(_copy, connection.execute(query))}
    return found


def count_copies(
    connection: Connection, archive_name: str, watch_name: str | None = None, below: Sequence[str] = ()
) -> int:
    """How many current copies there are."""
    query = _copies(archive_name, watch_name, below)
    return connection.execute(query.with_only_columns(func.count(ArchiveCopy.id))).scalar_one()


def count_expected(connection: Connection, archive_name: str) -> int:
    """How many files should lie in an archive, those that are known to be missing left out."""
    query = _copies(archive_name, None, ()).where(FileComponent.in_archive)
    return connection.execute(query.with_only_columns(func.count(ArchiveCopy.id))).scalar_one()


def directories_in_work(connection: Connection, directories: Iterable[str]) -> set[str]:
    """Those of these archive directories to which a running batch brings files."""
    found: set[str] = set()
    for chunk in chunks(set(directories)):
        query = (
            select(BatchGroup.archive_directory)
            .join(Batch, Batch.id == BatchGroup.batch_id)
            .where(Batch.status == "running", BatchGroup.archive_directory.in_(chunk))
        )
        found |= {directory for directory in connection.execute(query).scalars() if directory}
    return found


def superseded_in_work(connection: Connection) -> set[str]:
    """Superseded copies whose files a batch is about to remove."""
    query = (
        select(ArchiveCopy.path)
        .join(FileComponent, FileComponent.id == ArchiveCopy.component_id)
        .join(Group, Group.id == FileComponent.group_id)
        .where(Group.batch_id.is_not(None), ArchiveCopy.superseded_at.is_not(None))
    )
    return set(connection.execute(query).scalars())


def open_batches(connection: Connection, ids: Iterable[str]) -> set[str]:
    """Those of these batches that have not ended."""
    found: set[str] = set()
    for chunk in chunks(set(ids)):
        query = select(Batch.id).where(Batch.id.in_(chunk), Batch.status != "ended")
        found |= set(connection.execute(query).scalars())
    return found


def incomplete_groups(
    connection: Connection, watch_name: str, archive_name: str, after: int
) -> Sequence[int]:
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


def groups_of(connection: Connection, watch_name: str, after: int) -> dict[int, bool]:
    """A page of the groups of a watch, by id, and whether an extractor ever described them."""
    query = (
        select(Group.id, Group.metadata_.is_not(None))
        .where(Group.watch_name == watch_name, Group.id > after)
        .order_by(Group.id)
        .limit(PAGE)
    )
    return {id_: bool(is_described) for id_, is_described in connection.execute(query)}


def in_delivery(engine: Engine, watch_name: str) -> Iterator[list[Delivered]]:
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


def known_in_delivery(connection: Connection, watch_name: str, paths: Iterable[str]) -> set[str]:
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


def components_in_work(connection: Connection, ids: Iterable[int]) -> set[int]:
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


def _joined() -> "Select[*tuple[Any, ...]]":
    joined: Select[*tuple[Any, ...]] = (
        select(*_COPY)
        .join(FileComponent, FileComponent.id == ArchiveCopy.component_id)
        .outerjoin(Group, Group.id == FileComponent.group_id)
    )
    return joined


def _copies(archive_name: str, watch_name: str | None, below: Sequence[str]) -> "Select[*tuple[Any, ...]]":
    query = _joined().where(ArchiveCopy.archive_name == archive_name, ArchiveCopy.path_key.is_not(None))
    if watch_name is not None:
        query = query.where(FileComponent.watch_name == watch_name)
    if below:
        query = query.where(or_(*(_is_below(path) for path in below)))
    return query


def _is_below(path: str) -> ColumnElement[bool]:
    # Blind to case on SQLite, so that pages are sieved once more.
    return (ArchiveCopy.path == path) | ArchiveCopy.path.startswith(f"{path}/", autoescape=True)


def _lies_below(path: str, places: Sequence[str]) -> bool:
    return not places or any(path == place or path.startswith(f"{place}/") for place in places)


def _copy(row: Any) -> Copy:
    id_, component_id, path, digest, size, mtime_ns, status, in_archive, archive_path, batch_id = row
    return Copy(
        id_,
        component_id,
        path,
        digest,
        size,
        mtime_ns,
        FileStatus(status),
        in_archive,
        archive_path == path,
        batch_id is not None,
    )


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
