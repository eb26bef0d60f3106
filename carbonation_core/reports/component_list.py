"""Delivered files as people and programs ask for them, each with what it waits for."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from carbonation_core.db import catalog, queries
from carbonation_core.db.catalog import COMPONENT_COLUMNS as STORED
from carbonation_core.db.engine import Connection, reading
from carbonation_core.errors import QueryError
from carbonation_core.project import Project
from carbonation_core.reports.waiting import waits_of_components
from carbonation_core.text import listing, quoted

WAITS = ("waits_for", "waits_until")  # reckoned, and therefore neither a filter nor sorted by
COMPONENT_COLUMNS = (*STORED, *WAITS)
_PORTION = 500  # rows for which it is reckoned at a time


def components(
    project: Project,
    filters: Mapping[str, object] | None = None,
    columns: Sequence[str] | None = None,
    order_by: str | Sequence[str] | None = None,
    limit: int | None = None,
) -> Iterator[dict[str, Any]]:
    """The components that fit all filters; only a portion of them is held at a time.

    Raises `QueryError`, at once, for what is not known.
    """
    names = tuple(COMPONENT_COLUMNS if columns is None else columns)
    unknown = [name for name in names if name not in COMPONENT_COLUMNS]
    if unknown:
        known = listing(COMPONENT_COLUMNS)
        raise QueryError(f"columns: there is no column {quoted(unknown[0])}; known: {known}")
    stored = [name for name in names if name in STORED]
    query = catalog.component_query(filters, ["id", *stored], order_by, limit)
    return _rows(project, query, names)


def _rows(project: Project, query: queries.Query, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    # A server tells one result at a time, so what they wait for is asked beside it.
    with reading(project.engine) as connection, reading(project.engine) as beside:
        rows = queries.stream(connection, query)
        if not set(WAITS) & set(names):
            yield from ({name: row[name] for name in names} for row in rows)
            return
        while portion := list(islice(rows, _PORTION)):
            yield from _with_waits(project, beside, portion, names)


def _with_waits(
    project: Project, connection: Connection, rows: Sequence[dict[str, Any]], names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    waits = waits_of_components(project, connection, [row["id"] for row in rows])
    for row in rows:
        wait = waits.get(row["id"])
        more = {"waits_for": wait and wait.says, "waits_until": wait and wait.until}
        yield {name: more[name] if name in more else row[name] for name in names}
