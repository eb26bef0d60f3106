"""The feed: its entries, what gives them their places, and where a reader of it stands.

A cursor is the entry that a reader took last, by its number and its token. Numbers
are given anew after a database was restored from an earlier copy. Tokens are not, so
that a cursor which stands on an entry of the time before is found out.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import and_, exists, func, insert, or_, select
from sqlalchemy.orm import aliased

from carbonation_core.db.catalog import default_columns, table_of
from carbonation_core.db.engine import Connection
from carbonation_core.db.groups import GroupRow
from carbonation_core.db.locks import count_up
from carbonation_core.db.models import ExpectedArrival, FeedEntry, FileBase, Group
from carbonation_core.db.queries import rows_of
from carbonation_core.errors import QueryError
from carbonation_core.lifecycle import OF_COMPLETE, FeedEvent
from carbonation_core.text import quoted

SEQUENCE, EVENT, EXPECTED_AT = "sequence", "event", "expected_at"  # what a row of the feed has besides
_CURSOR = re.compile(r"feed:(\d{1,18})(?:-([0-9a-f]{16}))?", re.ASCII)
_EARLIER_CURSOR = re.compile(r"(.+):(\d{1,18})", re.ASCII)  # <iso time>:<id> of time-based releases
_ELSEWHERE = (
    "it is from another database, or this one was restored from an earlier copy; go on from a cursor as old "
    "as that copy, such as the one that `acked` gives, or from None, which is the beginning"
)


def cursor_at(connection: Connection, sequence: int) -> str:
    """The cursor of a reader that has taken everything up to that entry of the feed."""
    token = _token(connection, sequence)
    return f"feed:{sequence}" if token is None else f"feed:{sequence}-{token}"


def feed_end(connection: Connection) -> int:
    """The sequence of the feed's last entry; 0 when it is empty."""
    return connection.execute(select(func.coalesce(func.max(FeedEntry.sequence), 0))).scalar_one()


def position(connection: Connection, cursor: str | None, end: int) -> int:
    """The sequence that a cursor stands for in a feed that ends there; None is the beginning.

    Raises `QueryError` if the entry is not in this feed. A cursor without a
    token, as they were and as the first is, is believed.
    """
    if cursor is None:
        return 0
    ours = _CURSOR.fullmatch(cursor) if isinstance(cursor, str) else None
    if ours is None:
        found = _of_time(connection, *_earlier(cursor))
        return end if found is None else found
    sequence, token = int(ours[1]), ours[2]
    if sequence > end:
        raise QueryError(f'cursor "{cursor}" is ahead of the feed, which ends at {end}; {_ELSEWHERE}')
    if token is not None and token != _token(connection, sequence):
        raise QueryError(f'cursor "{cursor}" stands on an entry that is not in this feed; {_ELSEWHERE}')
    return sequence


def _token(connection: Connection, sequence: int) -> str | None:
    return connection.execute(select(FeedEntry.token).where(FeedEntry.sequence == sequence)).scalar()


def _of_time(connection: Connection, at: datetime, group_id: int) -> int | None:
    """The sequence after which everything stands that is later than that time and group; None: nothing is."""
    later = or_(FeedEntry.at > at, and_(FeedEntry.at == at, FeedEntry.group_id > group_id))
    first = connection.execute(select(func.min(FeedEntry.sequence)).where(later)).scalar()
    return None if first is None else first - 1


def _earlier(cursor: object) -> tuple[datetime, int]:
    """The time and group of an earlier release's cursor."""
    match = _EARLIER_CURSOR.fullmatch(cursor) if isinstance(cursor, str) else None
    try:
        if match is not None:
            at = datetime.fromisoformat(match[1])
            return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC), int(match[2])
    except (ValueError, OverflowError):
        pass
    raise QueryError(f"cursor {quoted(cursor)} is none that get_new_files gave")


def entries(
    connection: Connection,
    model: type[FileBase],
    after: int,
    end: int,
    watch_name: str | None,
    limit: int,
    events: bool,
) -> list[dict[str, Any]]:
    """The feed's entries after that sequence and up to `end`, each with its group as it is now.

    The keys "sequence", "event" and "expected_at" are the feed's, even if the plugin
    has such columns. What was retracted, and what became of expected arrivals, is
    told only if asked for; where no group came, the row has watch and key alone.
    """
    table = table_of(model)
    own = (SEQUENCE, EVENT, EXPECTED_AT) if events else (SEQUENCE, EVENT)
    columns = [name for name in default_columns(model) if name not in own]
    told: dict[str, Any] = {name: table.c[name] for name in columns}
    of_feed: list[Any] = [FeedEntry.sequence, FeedEntry.event]
    if events:
        told["watch_name"] = FeedEntry.watch_name
        told["group_key"] = func.coalesce(table.c.group_key, ExpectedArrival.group_key)
        of_feed.append(ExpectedArrival.at)
    statement = select(*told.values(), *of_feed).select_from(FeedEntry)
    statement = statement.join(table, table.c.id == FeedEntry.group_id, isouter=events)
    if events:
        statement = statement.outerjoin(ExpectedArrival, ExpectedArrival.id == FeedEntry.arrival_id)
    else:
        statement = statement.where(FeedEntry.event.in_(OF_COMPLETE))
    if watch_name is not None:
        statement = statement.where(FeedEntry.watch_name == watch_name)
    statement = (
        statement.where(FeedEntry.sequence > after, FeedEntry.sequence <= end)
        .order_by(FeedEntry.sequence)
        .limit(limit)
    )
    return list(rows_of(connection, statement, table, (*columns, *own)))


@dataclass(frozen=True, slots=True)
class ArrivalNews:
    """What the feed tells of an expected arrival, and when that was."""

    sequence: int
    event: FeedEvent
    at: datetime
    watch_name: str
    expectation: str
    expected_at: datetime
    group_key: str | None


def of_arrivals(connection: Connection, after: int, end: int) -> list[ArrivalNews]:
    """What became of expected arrivals after that entry; of one that was late not that it is missed, too."""
    earlier = aliased(FeedEntry)
    was_late = exists().where(
        earlier.arrival_id == FeedEntry.arrival_id,
        earlier.event == FeedEvent.LATE,
        earlier.sequence < FeedEntry.sequence,
    )
    query = (
        select(
            FeedEntry.sequence,
            FeedEntry.event,
            FeedEntry.at,
            FeedEntry.watch_name,
            ExpectedArrival.expectation,
            ExpectedArrival.at,
            func.coalesce(Group.group_key, ExpectedArrival.group_key),
        )
        .join(ExpectedArrival, ExpectedArrival.id == FeedEntry.arrival_id)
        .outerjoin(Group, Group.id == FeedEntry.group_id)
        .where(FeedEntry.sequence > after, FeedEntry.sequence <= end)
        .where(or_(FeedEntry.event != FeedEvent.MISSED, ~was_late))
        .order_by(FeedEntry.sequence)
    )
    rows: Iterable[Any] = connection.execute(query)
    return [ArrivalNews(sequence, FeedEvent(event), *rest) for sequence, event, *rest in rows]


FEED = "feed"  # the counter whose row lock makes sequence order commit order


def announce(connection: Connection, news: Sequence[tuple[GroupRow, FeedEvent]], now: datetime) -> None:
    """Give what became of these groups its places in the feed."""
    _append(
        connection,
        [
            {
                "group_id": group.id,
                "arrival_id": None,
                "watch_name": group.watch_name,
                "event": event,
                "at": now,
            }
            for group, event in news
        ],
    )


def announce_earlier(connection: Connection, news: Sequence[tuple[int, str, FeedEvent, datetime]]) -> None:
    """Give what became of groups in an earlier release its places: id, watch, event, and when that was."""
    _append(
        connection,
        [
            {"group_id": id_, "arrival_id": None, "watch_name": watch_name, "event": event, "at": at}
            for id_, watch_name, event, at in news
        ],
    )


def announce_arrivals(
    connection: Connection,
    watch_name: str,
    news: Sequence[tuple[int, int | None, FeedEvent]],
    now: datetime,
) -> None:
    """Give what became of expected arrivals its places in the feed.

    Each is the arrival's id, that of the group that came for it if one did, and the event.
    """
    _append(
        connection,
        [
            {
                "group_id": group_id,
                "arrival_id": arrival_id,
                "watch_name": watch_name,
                "event": event,
                "at": now,
            }
            for arrival_id, group_id, event in news
        ],
    )


def _append(connection: Connection, entries: Sequence[dict[str, Any]]) -> None:
    if not entries:
        return
    first = count_up(connection, FEED, len(entries)) - len(entries) + 1
    connection.execute(
        insert(FeedEntry),
        [{"sequence": first + number, **entry} for number, entry in enumerate(entries)],
    )
