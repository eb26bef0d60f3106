"""The feed of what became of groups, for programs that poll, and the consumers that take it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from carbonation_core.db import catalog, consumers, feed, queries
from carbonation_core.db.consumers import ConsumerRow, Lag
from carbonation_core.db.engine import Connection, reading, repeatable, writing
from carbonation_core.db.feed import cursor_at, feed_end, position
from carbonation_core.errors import QueryError, ReadOnlyDatabase
from carbonation_core.project import Project
from carbonation_core.text import listing, quoted

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")


def new_files(
    project: Project, cursor: str | None, watch_name: str | None, limit: int, *, events: bool
) -> tuple[list[dict[str, Any]], str]:
    """The entries after the cursor, `limit` at most, and the next cursor; raises `QueryError`."""
    queries.require_limit(limit, least=1)
    with reading(project.engine) as connection:
        if watch_name is not None:
            _require_watch(project, connection, watch_name)
        # Asked for first: what comes after it meanwhile is for the next call.
        end = feed_end(connection)
        after = position(connection, cursor, end)
        model = project.plugin.file_model
        rows = feed.entries(connection, model, after, end, watch_name, limit, events)
        last = rows[-1][feed.SEQUENCE] if len(rows) == limit else end
        return rows, cursor_at(connection, last)


@repeatable
def ack(project: Project, consumer: str, cursor: str, watch_name: str | None) -> None:
    """Keep that a consumer has dealt with all that comes before the cursor.

    Raises `QueryError` for a name or cursor that cannot be, a cursor that goes
    back, and another `watch_name` than before.
    """
    _require_name(consumer)
    if cursor is None:
        raise QueryError(f'consumer "{consumer}" acknowledges nothing without a cursor')
    with _acknowledging(project, consumer) as connection:
        if watch_name is not None:
            _require_watch(project, connection, watch_name)
        before = consumers.locked(connection, consumer)
        sequence = position(connection, cursor, feed_end(connection))
        if before is not None and before.watch_name != watch_name:
            raise QueryError(
                f'consumer "{consumer}" takes {_what(before.watch_name)}, not {_what(watch_name)}; '
                "take that under another name"
            )
        if before is not None and before.sequence > sequence:
            raise QueryError(
                f'consumer "{consumer}" has acknowledged "{cursor_at(connection, before.sequence)}" already, '
                f'which is later than "{cursor}"; is there another program of that name?'
            )
        consumers.store(connection, ConsumerRow(consumer, watch_name, sequence, project.clock()))


def acked(project: Project, consumer: str) -> str | None:
    """The cursor that a consumer acknowledged last; None before its first time."""
    _require_name(consumer)
    with reading(project.engine) as connection:
        row = consumers.get(connection, consumer)
        return None if row is None else cursor_at(connection, row.sequence)


def lag(project: Project, consumer: str) -> Lag:
    """How far a consumer is behind; raises `QueryError` if there is none of that name."""
    _require_name(consumer)
    with reading(project.engine) as connection:
        row = consumers.get(connection, consumer)
        if row is None:
            raise _unknown(connection, consumer)
        return consumers.lag(connection, row)


@repeatable
def forget(project: Project, consumer: str) -> None:
    """Remove a consumer; raises `QueryError` if there is none of that name."""
    _require_name(consumer)
    with writing(project.engine) as connection:
        if not consumers.forget(connection, consumer):
            raise _unknown(connection, consumer)


@contextmanager
def _acknowledging(project: Project, consumer: str) -> Iterator[Connection]:
    try:
        with writing(project.engine) as connection:
            yield connection
    except ReadOnlyDatabase as error:
        raise ReadOnlyDatabase(
            f'consumer "{consumer}" cannot acknowledge anything, and has to keep its cursor itself: {error}'
        ) from error


def _require_name(consumer: str) -> None:
    if not isinstance(consumer, str) or not _NAME.fullmatch(consumer):
        raise QueryError(
            f"a consumer's name has letters, digits, _ - and . only, 255 at most; {quoted(consumer)} is none"
        )


def _require_watch(project: Project, connection: Connection, name: str) -> None:
    known = [watch.name for watch in project.config.watch]
    is_name = isinstance(name, str) and _NAME.fullmatch(name)
    # One that is configured no more still has what it delivered.
    if not is_name or (name not in known and not catalog.has_groups(connection, name)):
        raise QueryError(f"there is no watch {quoted(name)}; known: {listing(known)}")


def _what(watch_name: str | None) -> str:
    return "the feed of all watches" if watch_name is None else f'that of watch "{watch_name}"'


def _unknown(connection: Connection, consumer: str) -> QueryError:
    names = [row.name for row in consumers.known(connection)]
    return QueryError(f'no consumer "{consumer}" has ever acknowledged anything; known: {listing(names)}')
