"""The tables. Times are aware UTC, paths are spelled by `carbonation_core.names`."""

import hashlib
import secrets
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column

from carbonation_core.db.column_types import Listed, Sentence, UtcDateTime
from carbonation_core.lifecycle import FileStatus
from carbonation_core.process import LONGEST_HOST

VERSION_TABLE = "carbonation_version"  # its own, so that Dagster's storage may share the database

__all__ = ["FileBase", "FileComponent", "FileStatus"]

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
Id = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers rows by INTEGER only


LONGEST_COUNTER = 64  # characters, as many as a digest has
LONGEST_TALLY = 128  # characters, so that a host may be named in it


def path_digest(text: str) -> str:
    """What makes a long path or key unique on every database: SHA-256, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def _digest_of(column: str) -> Any:
    def default(context: DefaultExecutionContext) -> str:
        parameters: dict[str, str] = context.get_current_parameters()  # type: ignore[no-untyped-call]  # SQLAlchemy's own lack
        return path_digest(parameters[column])

    return default


class Base(DeclarativeBase):
    """The core's tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {datetime: UtcDateTime(), dict[str, Any]: JSON()}


class GroupColumns:
    """What every row of `files` has, whatever the plugin adds."""

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    watch_name: Mapped[str] = mapped_column(String(255))
    file_type: Mapped[str | None] = mapped_column(String(255))
    group_key: Mapped[str] = mapped_column(Text)
    group_key_sha256: Mapped[str] = mapped_column(String(64), default=_digest_of("group_key"))
    complete: Mapped[bool] = mapped_column(Boolean, default=False)
    archive_path: Mapped[str | None] = mapped_column(Text)  # of the primary file
    archive_name: Mapped[str | None] = mapped_column(String(255))
    archive_directory: Mapped[str | None] = mapped_column(Text)  # the stored route
    metadata_: Mapped[dict[str, Any] | None] = mapped_column("metadata", JSON)
    created_at: Mapped[datetime]
    reopened_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    modified_at: Mapped[datetime]
    retention_date: Mapped[datetime | None]
    lacks: Mapped[str | None] = mapped_column(Sentence)  # what it was archived without
    rules_digest: Mapped[str | None] = mapped_column(String(64))  # that archived it
    attempts: Mapped[int] = mapped_column(Integer, default=0)  # failed ones since it was last opened
    due_at: Mapped[datetime | None]  # may be claimed from then on; None: not ready
    deadline_at: Mapped[datetime | None]  # its timeout; None: none, or dealt with
    timed_out_at: Mapped[datetime | None]  # its timeout was dealt with since it was last opened
    batch_id: Mapped[str | None] = mapped_column(String(32))  # whoever owns it now

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return (
            UniqueConstraint("watch_name", "group_key_sha256"),
            Index(None, "group_key_sha256"),
            Index(None, "created_at"),
            Index(None, "watch_name", "due_at"),
            Index(None, "watch_name", "deadline_at"),
            Index(None, "batch_id"),
        )


class Group(GroupColumns, Base):
    """`files` as the core knows it: one row per group, without the plugin's columns."""

    __tablename__ = "files"


BASE_COLUMNS = frozenset(column.name for column in Group.__table__.columns)


class FileBase(GroupColumns, DeclarativeBase):
    """What a plugin's `class File(FileBase)` inherits from.

    Columns that name no type get one that holds the same values on every
    database: times with microseconds in UTC, integers of 64 bits, numbers of
    double precision, text of any length. Each plugin's model has metadata of
    its own, so that several plugins can be loaded in one process.
    """

    __abstract__ = True
    type_annotation_map = {
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(),
        float: Double(),
        int: BigInteger(),
        str: Text(),
    }

    def __init_subclass__(cls, **kwargs: Any) -> None:
        cls.metadata = MetaData(naming_convention=NAMING)
        super().__init_subclass__(**kwargs)


class FileComponent(Base):
    """One delivered file."""

    __tablename__ = "file_components"
    __table_args__ = (
        UniqueConstraint("watch_name", "source_path_sha256"),
        Index(None, "watch_name", "status", "in_delivery"),
        Index(None, "status_since", "status"),
        Index(None, "group_id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    watch_name: Mapped[str] = mapped_column(String(255))
    filename: Mapped[str] = mapped_column(Text)
    source_path: Mapped[str] = mapped_column(Text)
    source_path_sha256: Mapped[str] = mapped_column(String(64), default=_digest_of("source_path"))
    archive_name: Mapped[str | None] = mapped_column(String(255))
    archive_path: Mapped[str | None] = mapped_column(Text)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
    ctime_ns: Mapped[int] = mapped_column(BigInteger)
    inode: Mapped[str] = mapped_column(String(42))  # a number that exceeds a BIGINT somewhere
    quiet_since: Mapped[datetime]  # since when it is as it is, as far as we know
    digest: Mapped[str | None] = mapped_column(String(64))  # SHA-256 of what was archived
    status: Mapped[str] = mapped_column(String(32))
    status_since: Mapped[datetime | None]
    in_delivery: Mapped[bool] = mapped_column(Boolean)
    in_archive: Mapped[bool] = mapped_column(Boolean, default=False)
    group_id: Mapped[int | None] = mapped_column(Id, ForeignKey("files.id"))
    # Of a manifest: the members that it names, below the watch, or how many there are.
    lists: Mapped[tuple[str, ...] | int | None] = mapped_column(Listed)
    error_message: Mapped[str | None] = mapped_column(Sentence)
    retry_count: Mapped[int] = mapped_column(default=0)
    retry_at: Mapped[datetime | None]  # of the next attempt
    last_retry_at: Mapped[datetime | None]
    detected_at: Mapped[datetime]
    archived_at: Mapped[datetime | None]
    cleared_at: Mapped[datetime | None]


class ArchiveCopy(Base):
    """One copy that was made of a component. `path_key` is empty once it is superseded."""

    __tablename__ = "archive_copies"
    __table_args__ = (UniqueConstraint("path_key"), Index(None, "component_id"), Index(None, "archive_name"))

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    component_id: Mapped[int] = mapped_column(Id, ForeignKey("file_components.id"))
    archive_name: Mapped[str] = mapped_column(String(255))
    path: Mapped[str] = mapped_column(Text)
    path_key: Mapped[str | None] = mapped_column(String(64))
    digest: Mapped[str | None] = mapped_column(String(64))  # None: it was imported, and is still to be read
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)  # 0 as long as there is no digest
    copied_at: Mapped[datetime]
    run_id: Mapped[str | None] = mapped_column(String(64))
    superseded_at: Mapped[datetime | None]


class StatusChange(Base):
    """One change of a component's status."""

    __tablename__ = "status_changes"
    __table_args__ = (Index(None, "component_id"), Index(None, "at"))

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    component_id: Mapped[int] = mapped_column(Id, ForeignKey("file_components.id"))
    at: Mapped[datetime]
    from_status: Mapped[str | None] = mapped_column(String(32))  # None: first seen
    to_status: Mapped[str] = mapped_column(String(32))
    event: Mapped[str] = mapped_column(String(32))
    reason: Mapped[str | None] = mapped_column(Sentence)
    run_id: Mapped[str | None] = mapped_column(String(64))


class Batch(Base):
    """Groups that are worked on together, by one owner at a time."""

    __tablename__ = "batches"
    __table_args__ = (Index(None, "watch_name", "status"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    watch_name: Mapped[str] = mapped_column(String(255))
    instance: Mapped[str] = mapped_column(String(255))  # the Dagster instance it was offered to
    status: Mapped[str] = mapped_column(String(32))  # offered, running, ended
    size: Mapped[int]
    rules_digest: Mapped[str] = mapped_column(String(64))
    # With what, and by which site, it was made. None: by an earlier release, which did not say.
    config_digest: Mapped[str | None] = mapped_column(String(64))
    release: Mapped[str | None] = mapped_column(String(64))
    plugin_digest: Mapped[str | None] = mapped_column(String(64))
    site: Mapped[str | None] = mapped_column(String(LONGEST_HOST))
    created_at: Mapped[datetime]
    run_id: Mapped[str | None] = mapped_column(String(64))
    host: Mapped[str | None] = mapped_column(String(LONGEST_HOST))  # that works on it, or did so last
    holder: Mapped[str | None] = mapped_column(String(255))  # process that holds the lease
    lease_until: Mapped[datetime | None]  # by the database's clock
    ended_at: Mapped[datetime | None]
    reason: Mapped[str | None] = mapped_column(Sentence)  # of an end that was not its run's own


class BatchGroup(Base):
    """A group's way through one batch. The row stays when the batch has ended."""

    __tablename__ = "batch_groups"
    __table_args__ = (Index(None, "group_id"),)

    batch_id: Mapped[str] = mapped_column(String(32), ForeignKey("batches.id"), primary_key=True)
    group_id: Mapped[int] = mapped_column(Id, ForeignKey("files.id"), primary_key=True)
    stage: Mapped[str | None] = mapped_column(String(32))  # the last one passed
    judged: Mapped[str | None] = mapped_column(String(64))  # the files that passed the integrity stage
    outcome: Mapped[str | None] = mapped_column(String(32))  # None: still open
    reason: Mapped[str | None] = mapped_column(Sentence)
    archive_name: Mapped[str | None] = mapped_column(String(255))
    archive_directory: Mapped[str | None] = mapped_column(Text)
    files: Mapped[int] = mapped_column(default=0)  # archived in this batch
    bytes: Mapped[int] = mapped_column(BigInteger, default=0)


class FeedEntry(Base):
    """What became of a group, in the order of commits. Sequences have no gaps.

    What is told of an expected arrival has the group that came for it, if one did.
    """

    __tablename__ = "feed"
    __table_args__ = (
        Index(None, "watch_name", "sequence"),
        Index(None, "group_id"),
        Index(None, "arrival_id"),
    )

    sequence: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    group_id: Mapped[int | None] = mapped_column(Id, ForeignKey("files.id"))
    arrival_id: Mapped[int | None] = mapped_column(Id, ForeignKey("arrivals.id"))
    watch_name: Mapped[str] = mapped_column(String(255))
    event: Mapped[str] = mapped_column(String(32))  # a FeedEvent
    at: Mapped[datetime]
    # No other entry has it, not even one of the same number in a copy of the database.
    token: Mapped[str | None] = mapped_column(String(16), default=lambda: secrets.token_hex(8))


class ExpectedArrival(Base):
    """An arrival that is expected at a time, or one that came and was not expected then."""

    __tablename__ = "arrivals"
    __table_args__ = (
        UniqueConstraint("watch_name", "expectation", "at"),
        Index(None, "watch_name", "at"),
        Index(None, "watch_name", "due_at"),
        Index(None, "watch_name", "group_key_sha256"),
        Index(None, "group_id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    watch_name: Mapped[str] = mapped_column(String(255))
    expectation: Mapped[str | None] = mapped_column(String(255))  # None: it was not expected
    at: Mapped[datetime]  # when it is expected; of an unexpected one, when it came
    opens_at: Mapped[datetime | None]  # what comes before is not meant by it
    late_at: Mapped[datetime | None]
    missed_at: Mapped[datetime | None]
    group_key: Mapped[str | None] = mapped_column(Text)  # that is expected; None: only the time is known
    group_key_sha256: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(32))  # an ArrivalState
    due_at: Mapped[datetime | None]  # when time alone changes its state; None: never
    group_id: Mapped[int | None] = mapped_column(Id, ForeignKey("files.id"))  # that came for it
    arrived_at: Mapped[datetime | None]  # the last file of that group, once it was whole
    reason: Mapped[str | None] = mapped_column(Sentence)  # why it is excused


class Consumer(Base):
    """A program that takes the feed, and how far it said that it has come."""

    __tablename__ = "consumers"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    watch_name: Mapped[str | None] = mapped_column(String(255))  # None: it takes the whole feed
    sequence: Mapped[int] = mapped_column(BigInteger)  # the last one that it has taken
    acked_at: Mapped[datetime]


class Counter(Base):
    """A number that is given out under a lock."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(String(LONGEST_COUNTER), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)


class Lease(Base):
    """What one process has and others wait for, until it says so no more; see `locks`."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    holder: Mapped[str] = mapped_column(String(255))  # a process
    host: Mapped[str] = mapped_column(String(LONGEST_HOST))
    since: Mapped[datetime]
    until: Mapped[datetime]  # by the database's clock


class Tally(Base):
    """How many there are of something in a watch; see `tallies`."""

    __tablename__ = "tallies"

    watch_name: Mapped[str] = mapped_column(String(255), primary_key=True)
    name: Mapped[str] = mapped_column(String(LONGEST_TALLY), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)


class WatchOwner(Base):
    """Whose a watch is: a site's, and the directory's that this last saw at its path; see `disk.mark`."""

    __tablename__ = "watches"

    watch_name: Mapped[str] = mapped_column(String(255), primary_key=True)
    site: Mapped[str] = mapped_column(String(LONGEST_HOST))
    since: Mapped[datetime]
    mark: Mapped[str | None] = mapped_column(String(32))
    host: Mapped[str] = mapped_column(String(LONGEST_HOST))
    file_system: Mapped[str] = mapped_column(String(20))  # numbers of 64 bits
    inode: Mapped[str] = mapped_column(String(20))


class RulesVersion(Base):
    """A rules.toml that a site was offered, and whether it was accepted. Its last accepted one holds."""

    __tablename__ = "rules_versions"
    __table_args__ = (Index(None, "accepted", "id"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    site: Mapped[str] = mapped_column(String(LONGEST_HOST))  # empty: from before it was noted; every site's
    digest: Mapped[str] = mapped_column(String(64))
    text: Mapped[str] = mapped_column(Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb"))
    accepted: Mapped[bool] = mapped_column(Boolean)
    reason: Mapped[str | None] = mapped_column(Sentence)
    at: Mapped[datetime]
    written_by: Mapped[str | None] = mapped_column(String(255))  # owner of the file
    written_at: Mapped[datetime | None]  # its mtime
    read_by: Mapped[str | None] = mapped_column(String(255))  # user, host and process


class ServiceState(Base):
    """What a part of the service last said of itself; of a watch, what the last look at it said."""

    __tablename__ = "service_state"

    # Both empty where it is of no host or site, as what is said of a watch.
    site: Mapped[str] = mapped_column(String(LONGEST_HOST), primary_key=True, default="")
    host: Mapped[str] = mapped_column(String(LONGEST_HOST), primary_key=True, default="")
    part: Mapped[str] = mapped_column(String(255), primary_key=True)
    started_at: Mapped[datetime]
    last_heartbeat: Mapped[datetime]
    details: Mapped[dict[str, Any]]
