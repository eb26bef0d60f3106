"""Where a reader of the feed stands: the entry that it took last, by its number and its token.

Numbers are given anew after a database was restored from an earlier copy. Tokens
are not, so that a cursor which stands on an entry of the time before is found out.
"""

import re
from datetime import UTC, datetime

from sqlalchemy import and_, func, or_, select

from carbonation_core.db.engine import Connection
from carbonation_core.db.models import FeedEntry
from carbonation_core.errors import QueryError
from carbonation_core.text import quoted

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
