"""Expected arrivals: made ahead, found by what came, closed in bulk."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Executable,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from carbonation_core.db.engine import chunks, insert_new
from carbonation_core.db.models import ExpectedArrival, FeedEntry, FileComponent, Group, path_digest
from carbonation_core.lifecycle import ArrivalState, FileStatus

E = ExpectedArrival
PORTION = 2000  # rows that are stored in one statement
LEARNED_FROM = 200  # the last arrivals of a feed


@dataclass(frozen=True, slots=True)
class NewRow:
    """What is expected `at` a time, under a key if that is known; the times are those of the columns."""

    at: datetime
    opens_at: datetime
    late_at: datetime
    missed_at: datetime
    group_key: str | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """One that nothing came for, and from when till when it may come and is not late."""

    id: int
    at: datetime
    opens_at: datetime
    late_at: datetime


@dataclass(frozen=True, slots=True)
class ArrivalRow:
    """A row of `arrivals`."""

    id: int
    watch_name: str
    expectation: str | None
    at: datetime
    late_at: datetime | None
    missed_at: datetime | None
    group_key: str | None
    state: ArrivalState
    group_id: int | None
    arrived_at: datetime | None
    reason: str | None


_COLUMNS = (
    E.id,
    E.watch_name,
    E.expectation,
    E.at,
    E.late_at,
    E.missed_at,
    E.group_key,
    E.state,
    E.group_id,
    E.arrived_at,
    E.reason,
)


def last_made(connection: Connection, watch_name: str, expectation: str) -> datetime | None:
    """The time of the last one that was made ahead of its time."""
    query = select(func.max(E.at)).where(E.watch_name == watch_name, E.expectation == expectation)
    return connection.execute(query).scalar()


def make(connection: Connection, watch_name: str, expectation: str, rows: Iterable[NewRow]) -> None:
    """Rows for what is expected; one that is there stays as it is."""
    for portion in chunks(rows, PORTION):
        connection.execute(
            insert_new(connection, E),
            [
                {
                    "watch_name": watch_name,
                    "expectation": expectation,
                    "at": row.at,
                    "opens_at": row.opens_at,
                    "late_at": row.late_at,
                    "missed_at": row.missed_at,
                    "group_key": row.group_key,
                    "group_key_sha256": None if row.group_key is None else path_digest(row.group_key),
                    "state": ArrivalState.EXPECTED,
                    "due_at": row.late_at,
                }
                for row in portion
            ],
        )


def make_unexpected(
    connection: Connection, watch_name: str, came: Iterable[tuple[int, str, datetime]]
) -> None:
    """Rows for groups that were not expected when they came: id, key and time of each."""
    rows = [
        {
            "watch_name": watch_name,
            "at": at,
            "group_id": group_id,
            "group_key": key,
            "group_key_sha256": path_digest(key),
            "arrived_at": at,
            "state": ArrivalState.UNEXPECTED,
        }
        for group_id, key, at in came
    ]
    if rows:
        connection.execute(insert(E), rows)


def withdraw(connection: Connection, watch_name: str, now: datetime) -> None:
    """Remove what is expected later than now, and nothing came for: other times may hold."""
    connection.execute(
        delete(E).where(
            E.watch_name == watch_name,
            E.state == ArrivalState.EXPECTED,
            E.at > now,
            E.group_id.is_(None),
        )
    )


def of_groups(connection: Connection, group_ids: Iterable[int]) -> dict[int, ArrivalRow]:
    """What these groups came for, by their ids: the last of each."""
    found: dict[int, ArrivalRow] = {}
    for chunk in chunks(group_ids):
        rows = _rows(connection, select(*_COLUMNS).where(E.group_id.in_(chunk)).order_by(E.at, E.id))
        found |= {row.group_id: row for row in rows if row.group_id is not None}
    return found


def by_key(connection: Connection, watch_name: str, keys: Iterable[str]) -> dict[str, list[ArrivalRow]]:
    """What is expected under these keys, the oldest first."""
    found: dict[str, list[ArrivalRow]] = {}
    for chunk in chunks(path_digest(key) for key in keys):
        query = (
            select(*_COLUMNS)
            .where(E.watch_name == watch_name, E.group_key_sha256.in_(chunk), E.expectation.is_not(None))
            .order_by(E.at)
        )
        for row in _rows(connection, query):
            found.setdefault(str(row.group_key), []).append(row)
    return found


def waiting(connection: Connection, watch_name: str, expectation: str, when: datetime) -> list[Waiting]:
    """What nothing came for, of all that something may come for at that time, the oldest first."""
    query = (
        select(E.id, E.at, E.opens_at, E.late_at)
        .where(
            E.watch_name == watch_name,
            E.expectation == expectation,
            or_(E.due_at.is_not(None), and_(E.state == ArrivalState.EXCUSED, E.late_at >= when)),
            E.opens_at <= when,
            E.group_id.is_(None),
        )
        .order_by(E.at)
    )
    rows: Iterable[Any] = connection.execute(query)
    return [Waiting(*row) for row in rows]


def by_id(connection: Connection, ids: Iterable[int]) -> list[ArrivalRow]:
    """The rows with these ids, in their order."""
    found = [
        row for chunk in chunks(ids) for row in _rows(connection, select(*_COLUMNS).where(E.id.in_(chunk)))
    ]
    return sorted(found, key=lambda row: row.id)


def store(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Set columns; each row has `id` and the columns to set, all rows the same."""
    if not rows:
        return
    values: dict[str, Any] = {name: bindparam(f"b_{name}") for name in rows[0] if name != "id"}
    statement = update(E).where(E.id == bindparam("b_id")).values(**values)
    connection.execute(statement, [{f"b_{name}": value for name, value in row.items()} for row in rows])


def due(connection: Connection, watch_name: str, now: datetime) -> list[ArrivalRow]:
    """Those whose state time alone has changed, the longest due first; a portion of them."""
    query = (
        select(*_COLUMNS)
        .where(E.watch_name == watch_name, E.due_at <= now)
        .order_by(E.due_at, E.id)
        .limit(PORTION)
    )
    return _rows(connection, query)


def next_due(connection: Connection, watch_name: str) -> datetime | None:
    """When time alone next changes the state of one."""
    return connection.execute(select(func.min(E.due_at)).where(E.watch_name == watch_name)).scalar()


def unsettled_since(connection: Connection, watch_name: str, seen_after: datetime) -> datetime | None:
    """Since when the oldest file lies there that has not settled; of files first seen after that time.

    The time is the file system's, which may be earlier than our first look.
    """
    query = select(func.min(FileComponent.ctime_ns)).where(
        FileComponent.watch_name == watch_name,
        FileComponent.status == FileStatus.DETECTED,
        FileComponent.in_delivery.is_(True),
        FileComponent.quiet_since >= seen_after,
    )
    found = connection.execute(query).scalar()
    return None if found is None else datetime.fromtimestamp(found / 1e9, UTC)


def on_board(
    connection: Connection,
    watch_names: Collection[str],
    since: datetime,
    until: datetime | None,
    states: Collection[ArrivalState] = (),
) -> list[ArrivalRow]:
    """What was expected, or came, in that time; by watch, expectation and time."""
    query = select(*_COLUMNS).where(E.watch_name.in_(watch_names), E.at >= since)
    if until is not None:
        query = query.where(E.at < until)
    if states:
        query = query.where(E.state.in_(states))
    # By time, as an index has it: in the order of expectations all rows of a watch would be read.
    rows = _rows(connection, query.order_by(E.watch_name, E.at, E.id))
    return sorted(rows, key=lambda row: (row.watch_name, row.expectation or ""))


def by_state(
    connection: Connection, watch_names: Collection[str], since: datetime
) -> list[tuple[str, str, int]]:
    """How many are in each state, by watch, of what was expected or came since then."""
    query = (
        select(E.watch_name, E.state, func.count())
        .where(E.watch_name.in_(watch_names), E.at >= since)
        .group_by(E.watch_name, E.state)
    )
    return [(watch, state, number) for watch, state, number in connection.execute(query)]


def by_slot(
    connection: Connection, watch_name: str, edges: Sequence[datetime], until: datetime
) -> list[tuple[str, int, ArrivalState, bool, int]]:
    """Numbers of what was expected: by expectation, edge that its time follows, state, and whether late."""
    slot = case(*((E.at >= edge, number) for number, edge in reversed(list(enumerate(edges)))))
    late = case((E.arrived_at > E.late_at, 1), else_=0)
    query = (
        select(E.expectation, slot, E.state, late, func.count())
        .where(E.watch_name == watch_name, E.at >= edges[0], E.at < until, E.expectation.is_not(None))
        .group_by(E.expectation, slot, E.state, late)
        .order_by(E.expectation)
    )
    rows: Iterable[Any] = connection.execute(query)
    return [
        (label, int(n), ArrivalState(state), bool(is_late), count) for label, n, state, is_late, count in rows
    ]


def keys_of(connection: Connection, group_ids: Iterable[int]) -> dict[int, str]:
    """The keys of these groups, by their ids."""
    found: dict[int, str] = {}
    for chunk in chunks(group_ids):
        rows: Iterable[Any] = connection.execute(select(Group.id, Group.group_key).where(Group.id.in_(chunk)))
        found |= {row.id: row.group_key for row in rows}
    return found


def delays(connection: Connection, watch_name: str, expectation: str) -> list[timedelta]:
    """How long after its time each of the last arrivals of a feed came."""
    query = (
        select(E.at, E.arrived_at)
        .where(E.watch_name == watch_name, E.expectation == expectation, E.arrived_at.is_not(None))
        .order_by(E.at.desc())
        .limit(LEARNED_FROM)
    )
    return [arrived_at - at for at, arrived_at in connection.execute(query) if arrived_at is not None]


def old(
    connection: Connection, before: datetime, after_id: int, limit: int, but_of: Collection[str]
) -> list[int]:
    """Closed ones from before that time of which the feed tells nothing, in order of their ids.

    `but_of`: watches whose arrivals are left out.
    """
    is_told = exists().where(FeedEntry.arrival_id == E.id)
    query = (
        select(E.id)
        .where(E.id > after_id, E.at < before, E.due_at.is_(None), ~is_told, E.watch_name.not_in(but_of))
        .order_by(E.id)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def forget(connection: Connection, ids: Sequence[int]) -> None:
    """Remove these."""
    for chunk in chunks(ids):
        connection.execute(delete(E).where(E.id.in_(chunk)))


_STATE = [column.key for column in _COLUMNS].index("state")


def _rows(connection: Connection, query: Executable) -> list[ArrivalRow]:
    rows: list[list[Any]] = [list(row) for row in connection.execute(query)]
    for row in rows:
        row[_STATE] = ArrivalState(row[_STATE])
    return [ArrivalRow(*row) for row in rows]
