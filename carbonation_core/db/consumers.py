"""Programs that take the feed: how far each said that it has come, and how far that is behind."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from carbonation_core.db.feed import cursor_at, feed_end
from carbonation_core.db.locks import lock
from carbonation_core.db.models import Consumer, FeedEntry


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a consumer is behind the feed.

    `behind` counts the entries that it has not acknowledged, of its watch if it
    takes only one; `since` is when the first of them came, None when there is none.
    """

    consumer: str
    watch_name: str | None
    cursor: str
    behind: int
    since: datetime | None
    acked_at: datetime


@dataclass(frozen=True, slots=True)
class ConsumerRow:
    """A row of `consumers`."""

    name: str
    watch_name: str | None
    sequence: int
    acked_at: datetime


_COLUMNS = (Consumer.name, Consumer.watch_name, Consumer.sequence, Consumer.acked_at)


def known(connection: Connection) -> list[ConsumerRow]:
    """All consumers, by name."""
    return [ConsumerRow(*row) for row in connection.execute(select(*_COLUMNS).order_by(Consumer.name))]


def get(connection: Connection, name: str) -> ConsumerRow | None:
    """The consumer of that name, if there is one."""
    row = connection.execute(select(*_COLUMNS).where(Consumer.name == name)).first()
    return None if row is None else ConsumerRow(*row)


def locked(connection: Connection, name: str) -> ConsumerRow | None:
    """The consumer of that name, as it stays until this transaction ends."""
    lock(connection, "consumers")
    return get(connection, name)


def store(connection: Connection, row: ConsumerRow) -> None:
    """Keep how far a consumer, `locked` before, has come; one that is new is made."""
    values = {"watch_name": row.watch_name, "sequence": row.sequence, "acked_at": row.acked_at}
    if connection.execute(update(Consumer).where(Consumer.name == row.name).values(values)).rowcount == 0:
        connection.execute(insert(Consumer).values(name=row.name, **values))


def forget(connection: Connection, name: str) -> bool:
    """Remove a consumer; False if there is none of that name."""
    return connection.execute(delete(Consumer).where(Consumer.name == name)).rowcount == 1


def lag(connection: Connection, row: ConsumerRow) -> Lag:
    """How far that consumer is behind."""
    behind, first = _ahead(connection, row)
    since = None
    if first is not None:
        since = connection.execute(select(FeedEntry.at).where(FeedEntry.sequence == first)).scalar_one()
    return Lag(row.name, row.watch_name, cursor_at(connection, row.sequence), behind, since, row.acked_at)


def _ahead(connection: Connection, row: ConsumerRow) -> tuple[int, int | None]:
    """How many entries there are for the consumer to take, and the sequence of the first."""
    if row.watch_name is None:  # sequences have no gaps
        end = feed_end(connection)
        return end - row.sequence, row.sequence + 1 if end > row.sequence else None
    ahead = (FeedEntry.watch_name == row.watch_name, FeedEntry.sequence > row.sequence)
    behind, first = connection.execute(select(func.count(), func.min(FeedEntry.sequence)).where(*ahead)).one()
    return behind, first
