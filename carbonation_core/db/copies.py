"""Copies that were made in archives: whose they are, which are current, which are superseded."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from carbonation_core.db.engine import PAGE, Connection, Engine, chunks, reading
from carbonation_core.db.models import ArchiveCopy, FileComponent, Group, path_digest
from carbonation_core.errors import Overtaken
from carbonation_core.lifecycle import FileStatus


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy that should lie in an archive, and where its component stands.

    `is_current`: it is the component's newest; `in_work`: somebody owns its group;
    `digest`: None as long as nobody has read it.
    """

    id: int
    component_id: int
    path: str
    digest: str | None
    size: int
    mtime_ns: int
    status: FileStatus
    in_archive: bool
    is_current: bool
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


def live(
    engine: Engine,
    archive_name: str,
    watch_name: str | None,
    below: Sequence[str],
    *,
    but_of: Collection[str] = (),
    unread: bool = False,
) -> Iterator[list[Copy]]:
    """The current copies of an archive in pages, each read by itself.

    `below`: these paths, else all; `but_of`: not those of these watches; `unread`:
    only those without a digest.
    """
    last = 0
    while True:
        query = _copies(archive_name, watch_name, below, but_of, unread=unread)
        query = query.where(ArchiveCopy.id > last).order_by(ArchiveCopy.id).limit(PAGE)
        with reading(engine) as connection:
            rows = connection.execute(query).all()
        if not rows:
            return
        last = rows[-1][0]
        yield [copy for copy in map(_copy, rows) if _lies_below(copy.path, below)]


def live_by_id(connection: Connection, ids: Iterable[int]) -> dict[int, Copy]:
    """Those of these copies that are not superseded, by id."""
    found: dict[int, Copy] = {}
    for chunk in chunks(ids):
        query = _joined().where(ArchiveCopy.id.in_(chunk), ArchiveCopy.path_key.is_not(None))
        found |= {copy.id: copy for copy in map(_copy, connection.execute(query))}
    return found


def count(
    connection: Connection,
    archive_name: str,
    watch_name: str | None = None,
    below: Sequence[str] = (),
    *,
    but_of: Collection[str] = (),
    unread: bool = False,
) -> int:
    """How many current copies there are; as `live` has it."""
    query = _copies(archive_name, watch_name, below, but_of, unread=unread)
    return connection.execute(query.with_only_columns(func.count(ArchiveCopy.id))).scalar_one()


def count_expected(connection: Connection, archive_name: str, but_of: Collection[str] = ()) -> int:
    """How many files should lie in an archive, those that are known to be missing left out."""
    query = _copies(archive_name, None, (), but_of).where(FileComponent.in_archive)
    return connection.execute(query.with_only_columns(func.count(ArchiveCopy.id))).scalar_one()


def superseded_in_work(connection: Connection) -> set[str]:
    """Superseded copies whose files a batch is about to remove."""
    query = (
        select(ArchiveCopy.path)
        .join(FileComponent, FileComponent.id == ArchiveCopy.component_id)
        .join(Group, Group.id == FileComponent.group_id)
        .where(Group.batch_id.is_not(None), ArchiveCopy.superseded_at.is_not(None))
    )
    return set(connection.execute(query).scalars())


def owners(connection: Connection, paths: Iterable[str]) -> dict[str, int]:
    """Archive paths that hold a component's current copy, and whose."""
    found: dict[str, int] = {}
    for chunk in chunks(path_digest(path) for path in paths):
        query = select(ArchiveCopy.path, ArchiveCopy.component_id).where(ArchiveCopy.path_key.in_(chunk))
        found |= {row.path: row.component_id for row in connection.execute(query)}
    return found


def are_below(
    connection: Connection, archive_name: str, base: str, watch_names: Collection[str] | None = None
) -> bool:
    """Whether anything of that archive, and of these watches if given, should lie below a directory."""
    query = select(ArchiveCopy.id).where(
        ArchiveCopy.archive_name == archive_name,
        ArchiveCopy.path_key.is_not(None),
        ArchiveCopy.path.startswith(f"{base}/", autoescape=True),
    )
    if watch_names is not None:
        query = query.join(FileComponent, FileComponent.id == ArchiveCopy.component_id)
        query = query.where(FileComponent.watch_name.in_(watch_names))
    return connection.execute(query.limit(1)).first() is not None


def record(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Remember copies that were made; raises `Overtaken` if others did so of one of these places."""
    if not rows:
        return
    try:
        connection.execute(
            insert(ArchiveCopy), [{**row, "path_key": path_digest(row["path"])} for row in rows]
        )
    except IntegrityError:  # whoever it was holds the lock of another watch
        raise Overtaken("others recorded a file at the same place in an archive meanwhile") from None


def learn(connection: Connection, read: Sequence[tuple[Copy, str, int]]) -> None:
    """Keep digest and mtime of copies that had none, unless they were superseded meanwhile."""
    if not read:
        return
    rows = [
        {
            "b_id": copy.id,
            "b_component": copy.component_id,
            "b_path": copy.path,
            "b_digest": digest,
            "b_mtime": mtime_ns,
        }
        for copy, digest, mtime_ns in read
    ]
    told: dict[str, Any] = {"digest": bindparam("b_digest")}
    of_copy = (ArchiveCopy.id == bindparam("b_id"), ArchiveCopy.digest.is_(None))
    connection.execute(
        update(ArchiveCopy).where(*of_copy).values(**told, mtime_ns=bindparam("b_mtime")), rows
    )
    of_file = (
        FileComponent.id == bindparam("b_component"),
        FileComponent.archive_path == bindparam("b_path"),
        FileComponent.digest.is_(None),
    )
    connection.execute(update(FileComponent).where(*of_file).values(**told), rows)


def hand_over(connection: Connection, givers: Mapping[int, int]) -> None:
    """Make the current copies of components those of others; `givers` by who takes them."""
    if givers:
        current = (ArchiveCopy.component_id == bindparam("b_giver"), ArchiveCopy.path_key.is_not(None))
        statement = update(ArchiveCopy).where(*current).values(component_id=bindparam("b_taker"))
        connection.execute(statement, [{"b_taker": one, "b_giver": giver} for one, giver in givers.items()])


def supersede(connection: Connection, component_ids: Iterable[int], now: datetime) -> list[str]:
    """Mark the current copies of these components superseded; returns their paths."""
    paths: list[str] = []
    for chunk in chunks(component_ids):
        current = (ArchiveCopy.component_id.in_(chunk), ArchiveCopy.path_key.is_not(None))
        paths += connection.execute(select(ArchiveCopy.path).where(*current)).scalars()
        connection.execute(update(ArchiveCopy).where(*current).values(path_key=None, superseded_at=now))
    return paths


def supersede_paths(connection: Connection, paths: Iterable[str], now: datetime) -> None:
    """Mark the current copies under these archive paths superseded."""
    for chunk in chunks(path_digest(path) for path in paths):
        current = update(ArchiveCopy).where(ArchiveCopy.path_key.in_(chunk))
        connection.execute(current.values(path_key=None, superseded_at=now))


def superseded_at_last(connection: Connection, component_ids: Iterable[int]) -> list[str]:
    """Paths of the copies of these components that their current copies have superseded."""
    paths: list[str] = []
    successor = aliased(ArchiveCopy)
    together = (
        (successor.component_id == ArchiveCopy.component_id)
        & (successor.copied_at == ArchiveCopy.superseded_at)
        & successor.path_key.is_not(None)
    )
    for chunk in chunks(component_ids):
        query = select(ArchiveCopy.path).join(successor, together)
        gone = (ArchiveCopy.component_id.in_(chunk), ArchiveCopy.path_key.is_(None))
        paths += connection.execute(query.where(*gone)).scalars()
    return paths


def _joined() -> "Select[*tuple[Any, ...]]":
    joined: Select[*tuple[Any, ...]] = (
        select(*_COPY)
        .join(FileComponent, FileComponent.id == ArchiveCopy.component_id)
        .outerjoin(Group, Group.id == FileComponent.group_id)
    )
    return joined


def _copies(
    archive_name: str,
    watch_name: str | None,
    below: Sequence[str],
    but_of: Collection[str],
    *,
    unread: bool = False,
) -> "Select[*tuple[Any, ...]]":
    query = _joined().where(ArchiveCopy.archive_name == archive_name, ArchiveCopy.path_key.is_not(None))
    if watch_name is not None:
        query = query.where(FileComponent.watch_name == watch_name)
    if but_of:
        query = query.where(FileComponent.watch_name.not_in(but_of))
    if unread:
        query = query.where(ArchiveCopy.digest.is_(None))
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
