"""Rows that are stored together, though the database may refuse one of them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from carbonation_core.db import tallies
from carbonation_core.db.engine import objection

R = TypeVar("R")


def store_each(
    connection: Connection, rows: Sequence[R], store: Callable[[Sequence[R]], object]
) -> list[tuple[R, str]]:
    """Have all rows stored that the database takes; the others, with what it has against each.

    `store` is called with all of them, and where that fails with one half and the
    other, until those are found that are at fault.
    """
    words = _refusal(connection, rows, store) if rows else None
    if words is None:
        return []
    if len(rows) == 1:
        return [(rows[0], words)]
    middle = len(rows) // 2
    return [
        *store_each(connection, rows[:middle], store),
        *store_each(connection, rows[middle:], store),
    ]


def _refusal(connection: Connection, rows: Sequence[R], store: Callable[[Sequence[R]], object]) -> str | None:
    """Store all of these or none; why none."""
    try:
        with tallies.kept(connection), connection.begin_nested():
            store(rows)
    except Exception as error:
        words = objection(error)
        if words is None:
            raise
        return words
    return None
