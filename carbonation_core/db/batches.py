"""Batches: membership, leases, and the stage each group has reached."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Executable, and_, bindparam, func, insert, or_, select, update

from carbonation_core.db.engine import chunks, database_now
from carbonation_core.db.models import Batch, BatchGroup, Group
from carbonation_core.errors import LostOwnership
from carbonation_core.process import host_name

LEASE = timedelta(seconds=40)  # a run that dies gives its groups back within a minute
OFFERED, RUNNING, ENDED = "offered", "running", "ended"


class Fingerprint(NamedTuple):
    """What tells whether two processes would do the same with a group; None: nobody said."""

    config_digest: str | None
    release: str | None
    plugin_digest: str | None


UNKNOWN = Fingerprint(None, None, None)  # of batches that an earlier release has made


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A row of `batches`."""

    id: str
    watch_name: str
    instance: str
    status: str
    size: int
    rules_digest: str
    created_at: datetime
    run_id: str | None = None
    holder: str | None = None
    lease_until: datetime | None = None
    site: str | None = None
    host: str | None = None
    fingerprint: Fingerprint = UNKNOWN


class Member(NamedTuple):
    """A row of `batch_groups`."""

    group_id: int
    stage: str | None
    outcome: str | None
    reason: str | None
    archive_name: str | None
    archive_directory: str | None
    files: int
    bytes: int
    judged: str | None = None


@dataclass(frozen=True, slots=True)
class Last:
    """How far a group came in the batch that it was in last."""

    run_id: str | None
    stage: str | None
    archive_name: str | None


_COLUMNS = (
    Batch.id,
    Batch.watch_name,
    Batch.instance,
    Batch.status,
    Batch.size,
    Batch.rules_digest,
    Batch.created_at,
    Batch.run_id,
    Batch.holder,
    Batch.lease_until,
    Batch.site,
    Batch.host,
    Batch.config_digest,
    Batch.release,
    Batch.plugin_digest,
)

_MEMBER = tuple(getattr(BatchGroup, name) for name in Member._fields)


def make(
    connection: Connection,
    watch_name: str,
    instance: str,
    rules_digest: str,
    group_ids: Sequence[int],
    now: datetime,
    site: str | None = None,
    fingerprint: Fingerprint = UNKNOWN,
) -> BatchRow | None:
    """A new offered batch of those groups that nobody owns; None if there are none left."""
    batch_id = uuid.uuid4().hex
    taken = 0
    for chunk in chunks(group_ids):
        free = (Group.id.in_(chunk), Group.batch_id.is_(None), Group.due_at.is_not(None))
        taken += connection.execute(update(Group).where(*free).values(batch_id=batch_id)).rowcount
    if not taken:
        return None
    row = BatchRow(
        batch_id,
        watch_name,
        instance,
        OFFERED,
        taken,
        rules_digest,
        now,
        site=site,
        fingerprint=fingerprint,
    )
    connection.execute(
        insert(Batch).values(
            id=batch_id,
            watch_name=watch_name,
            instance=instance,
            status=OFFERED,
            size=taken,
            rules_digest=rules_digest,
            created_at=now,
            site=site,
            **fingerprint._asdict(),
        )
    )
    members = select(Group.batch_id, Group.id).where(Group.batch_id == batch_id)
    connection.execute(insert(BatchGroup).from_select(["batch_id", "group_id"], members))
    return row


def get(connection: Connection, batch_id: str) -> BatchRow | None:
    """The batch, if there is one of that id."""
    return next(iter(_batches(connection, select(*_COLUMNS).where(Batch.id == batch_id))), None)


def by_id(connection: Connection, ids: Iterable[str]) -> dict[str, BatchRow]:
    """The batches with these ids."""
    found: dict[str, BatchRow] = {}
    for chunk in chunks(ids):
        query = select(*_COLUMNS).where(Batch.id.in_(chunk))
        found |= {batch.id: batch for batch in _batches(connection, query)}
    return found


def not_ended(connection: Connection, watch_name: str) -> list[BatchRow]:
    """The offered and running batches of the watch, the oldest first."""
    query = (
        select(*_COLUMNS)
        .where(Batch.watch_name == watch_name, Batch.status.in_([OFFERED, RUNNING]))
        .order_by(Batch.created_at, Batch.id)
    )
    return _batches(connection, query)


def count_open(connection: Connection, watch_names: Iterable[str], instance: str) -> int:
    """How many batches of these watches are offered to that instance, or held by a run of it that lives."""
    query = select(func.count()).where(
        Batch.watch_name.in_(list(watch_names)),
        Batch.instance == instance,
        or_(
            Batch.status == OFFERED,
            and_(Batch.status == RUNNING, Batch.lease_until >= database_now(connection)),
        ),
    )
    return int(connection.execute(query).scalar_one())


def members(connection: Connection, batch_id: str) -> list[Member]:
    """The batch's groups, in order of their ids."""
    query = select(*_MEMBER).where(BatchGroup.batch_id == batch_id)
    return list(map(Member._make, connection.execute(query.order_by(BatchGroup.group_id)).all()))


def given_back(connection: Connection, batch_id: str, group_ids: Iterable[int]) -> dict[str, list[Member]]:
    """The other batches that had come to route these groups and whose end was not their run's own.

    The last one comes first; each with those of these groups that it had.
    """
    found: dict[str, list[Member]] = {}
    for chunk in chunks(group_ids):
        query = (
            select(Batch.id, *_MEMBER)
            .join(Batch, Batch.id == BatchGroup.batch_id)
            .where(BatchGroup.group_id.in_(chunk), BatchGroup.archive_directory.is_not(None))
            .where(Batch.id != batch_id, Batch.status == ENDED, Batch.reason.is_not(None))
            .order_by(Batch.created_at.desc(), Batch.id)
        )
        for id_, *row in connection.execute(query):
            found.setdefault(id_, []).append(Member._make(row))
    return found


def still_open(connection: Connection, ids: Iterable[str]) -> set[str]:
    """Those of these batches that have not ended."""
    found: set[str] = set()
    for chunk in chunks(set(ids)):
        query = select(Batch.id).where(Batch.id.in_(chunk), Batch.status != ENDED)
        found |= set(connection.execute(query).scalars())
    return found


def directories_in_work(connection: Connection, directories: Iterable[str]) -> set[str]:
    """Those of these archive directories to which a running batch brings files."""
    found: set[str] = set()
    for chunk in chunks(set(directories)):
        query = (
            select(BatchGroup.archive_directory)
            .join(Batch, Batch.id == BatchGroup.batch_id)
            .where(Batch.status == RUNNING, BatchGroup.archive_directory.in_(chunk))
        )
        found |= {directory for directory in connection.execute(query).scalars() if directory}
    return found


def last_of(connection: Connection, group_ids: Iterable[int]) -> dict[int, Last]:
    """How far these groups came in the batches that they were in last."""
    found: dict[int, Last] = {}
    for chunk in chunks(group_ids):
        query = (
            select(BatchGroup.group_id, Batch.run_id, BatchGroup.stage, BatchGroup.archive_name)
            .join(Batch, Batch.id == BatchGroup.batch_id)
            .where(BatchGroup.group_id.in_(chunk))
            .order_by(Batch.created_at, Batch.id)
        )
        found |= {row.group_id: Last(*row[1:]) for row in connection.execute(query)}
    return found


def take(connection: Connection, batch_id: str, run_id: str, holder: str) -> None:
    """Begin or go on with a batch as its owner; raises `LostOwnership`."""
    now = database_now(connection)
    free = (Batch.status == OFFERED) | ((Batch.status == RUNNING) & (Batch.run_id == run_id))
    statement = (
        update(Batch)
        .where(Batch.id == batch_id, free)
        .values(status=RUNNING, run_id=run_id, host=host_name(), holder=holder, lease_until=now + LEASE)
    )
    if connection.execute(statement).rowcount == 0:
        raise LostOwnership(f"batch {batch_id} has ended, or another run works on it")


def retake(
    connection: Connection,
    batch_id: str,
    run_id: str,
    holder: str,
    rules_digest: str,
    fingerprint: Fingerprint,
) -> None:
    """Open an ended batch again, under other rules, for a run that repeats it.

    Raises `LostOwnership`.
    """
    statement = update(Batch).where(Batch.id == batch_id, Batch.status == ENDED)
    values = {"status": OFFERED, "ended_at": None, "reason": None, "rules_digest": rules_digest}
    connection.execute(statement.values(values | fingerprint._asdict()))
    take(connection, batch_id, run_id, holder)


def renew(connection: Connection, batch_id: str, holder: str) -> bool:
    """Hold the batch for another `LEASE`; False if it is no longer ours."""
    now = database_now(connection)
    statement = update(Batch).where(Batch.id == batch_id, Batch.holder == holder, Batch.status == RUNNING)
    return connection.execute(statement.values(lease_until=now + LEASE)).rowcount == 1


def require_owner(connection: Connection, batch_id: str, holder: str) -> None:
    """Raise `LostOwnership` unless the batch is ours till this transaction ends."""
    if not renew(connection, batch_id, holder):
        raise LostOwnership(f"batch {batch_id} was given to somebody else")


def is_expired(batch: BatchRow, now: datetime) -> bool:
    """Whether the batch's lease holds no more, `now` by the database's clock.

    A lease that ends later than one given now could is from a clock that was
    wrong, and holds no more either.
    """
    return batch.lease_until is None or not now <= batch.lease_until <= now + LEASE


def set_stage(connection: Connection, batch_id: str, group_ids: Iterable[int], stage: str) -> None:
    """Note that these groups have passed a stage."""
    for chunk in chunks(group_ids):
        connection.execute(
            update(BatchGroup)
            .where(BatchGroup.batch_id == batch_id, BatchGroup.group_id.in_(chunk))
            .values(stage=stage)
        )


def set_members(connection: Connection, batch_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Set columns of members; each row has `group_id` and the columns to set, all rows the same."""
    if not rows:
        return
    columns = [column for column in rows[0] if column != "group_id"]
    statement = (
        update(BatchGroup)
        .where(BatchGroup.batch_id == batch_id, BatchGroup.group_id == bindparam("b_group_id"))
        .values({column: bindparam(f"b_{column}") for column in columns})
    )
    connection.execute(statement, [{f"b_{name}": value for name, value in row.items()} for row in rows])


def release(connection: Connection, batch_id: str, group_ids: Iterable[int]) -> None:
    """Let go of groups that the batch owns."""
    for chunk in chunks(group_ids):
        connection.execute(
            update(Group).where(Group.id.in_(chunk), Group.batch_id == batch_id).values(batch_id=None)
        )


def own_again(connection: Connection, batch_id: str, group_ids: Iterable[int]) -> list[int]:
    """Take groups into the batch that once were in it and that nobody owns; returns which."""
    for chunk in chunks(group_ids):
        connection.execute(
            update(Group).where(Group.id.in_(chunk), Group.batch_id.is_(None)).values(batch_id=batch_id)
        )
    return list(connection.execute(select(Group.id).where(Group.batch_id == batch_id)).scalars())


def end(
    connection: Connection,
    batch_id: str,
    now: datetime,
    reason: str | None = None,
    holder: str | None = None,
) -> bool:
    """End the batch, if `holder` is given only theirs; False if it had ended already."""
    statement = update(Batch).where(Batch.id == batch_id, Batch.status != ENDED)
    if holder is not None:
        statement = statement.where(Batch.holder == holder)
    values = {"status": ENDED, "ended_at": now, "holder": None, "lease_until": None, "reason": reason}
    return connection.execute(statement.values(values)).rowcount == 1


def _batches(connection: Connection, query: Executable) -> list[BatchRow]:
    first = len(_COLUMNS) - len(Fingerprint._fields)
    rows = connection.execute(query)
    return [BatchRow(*[*row[:first], Fingerprint(*row[first:])]) for row in rows]
