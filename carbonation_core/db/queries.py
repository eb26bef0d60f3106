"""Questions to named columns that were found valid, and the rows that answer them."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    DateTime,
    FromClause,
    Select,
    and_,
    collate,
    false,
    func,
    or_,
    select,
)

from carbonation_core.db.columns import python_type
from carbonation_core.db.filters import Between, Condition, Exactly, Filter, Like, conditions
from carbonation_core.db.models import path_digest
from carbonation_core.errors import QueryError
from carbonation_core.text import listing, quoted

MOST_ROWS = 2**63 - 1  # that a statement can be limited to
_PORTION = 1000  # rows fetched at a time


@dataclass(frozen=True)
class Query:
    """A question that was found valid: of which rows, which columns, in what order."""

    source: FromClause  # has a column `id`
    conditions: tuple[Condition, ...]
    columns: tuple[str, ...]
    order_by: tuple[str, ...]
    limit: int | None


def query(
    source: FromClause,
    known: Mapping[str, Filter],
    filters: Mapping[str, object] | None,
    columns: Sequence[str],
    order_by: str | Sequence[str] | None,
    limit: int | None,
) -> Query:
    """The question, checked; raises `QueryError` that lists what is known.

    `order_by` names columns, each with a leading "-" for descending; rows that
    are equal then come in the order of their ids, and those without a value last.
    """
    chosen = _columns(source, columns)
    order = (order_by,) if isinstance(order_by, str) else _names("order_by", order_by or ())
    for name in order:
        column = source.c.get(name.removeprefix("-"))
        if column is None or isinstance(column.type, JSON):
            sortable = [c.name for c in source.c if not isinstance(c.type, JSON)]
            raise QueryError(f"order_by: there is no column {quoted(name)}; known: {listing(sortable)}")
    if limit is not None:
        require_limit(limit, least=0)
    if filters is not None and not isinstance(filters, Mapping):
        raise QueryError(f"filters: should be a dict of names and values, not {quoted(filters)}")
    return Query(source, conditions(known, filters or {}), chosen, order, limit)


def require_limit(limit: object, least: int) -> None:
    """Raises `QueryError` for a limit that not every database takes."""
    if not isinstance(limit, int) or isinstance(limit, bool) or not least <= limit <= MOST_ROWS:
        raise QueryError(f"limit: should be a whole number from {least} to {MOST_ROWS}, not {quoted(limit)}")


def count(connection: Connection, query: Query) -> int:
    """How many rows answer the question, whatever its limit."""
    statement = select(func.count()).select_from(query.source).where(*_conditions(connection, query))
    return connection.execute(statement).scalar_one()


def stream(connection: Connection, query: Query) -> Iterator[dict[str, Any]]:
    """The rows that answer the question; only a portion of them is held at a time."""
    source = query.source
    statement = select(*(source.c[name] for name in query.columns))
    wanted = _conditions(connection, query)
    if query.limit is not None and query.limit <= _PORTION:
        # What is not on the page is sorted, too, but not read as a whole.
        found = _sorted(select(source.c.id).where(*wanted), query)
        page = found.limit(query.limit).subquery("page")
        statement = statement.join_from(source, page, page.c.id == source.c.id)
    else:
        statement = statement.where(*wanted).limit(query.limit)
    return rows_of(connection, _sorted(statement, query), source, query.columns)


def _sorted(statement: Select[Any], query: Query) -> Select[Any]:
    for name in query.order_by:
        column = query.source.c[name.removeprefix("-")]
        if column.nullable:
            # Databases differ in where they put what has no value.
            statement = statement.order_by(column.is_(None))
        statement = statement.order_by(column.desc() if name.startswith("-") else column)
    return statement.order_by(query.source.c.id)


def _columns(source: FromClause, columns: Sequence[str]) -> tuple[str, ...]:
    names = _names("columns", columns)
    for name in names:
        if name not in source.c:
            raise QueryError(f"columns: there is no column {quoted(name)}; known: {listing(source.c.keys())}")
    if not names:
        raise QueryError(f"columns: should name at least one; known: {listing(source.c.keys())}")
    return tuple(dict.fromkeys(names))


def _names(argument: str, given: object) -> tuple[str, ...]:
    """What should be several names; raises `QueryError` when it is something else."""
    if isinstance(given, Collection) and not isinstance(given, str | bytes):
        names: tuple[Any, ...] = tuple(given)
        if all(isinstance(name, str) for name in names):
            return names
    raise QueryError(f"{argument}: should be a list of names, not {quoted(given)}")


def rows_of(
    connection: Connection, statement: Select[Any], source: FromClause, names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The rows of a statement as dicts, as programs get them."""
    # A plugin's plain DateTime gives naive times; they are in UTC like all others.
    naive = [name for name in names if name in source.c and isinstance(source.c[name].type, DateTime)]
    result = connection.execute(statement, execution_options={"yield_per": _PORTION})
    for values in result:
        row = dict(zip(names, values, strict=True))
        for name in naive:
            row[name] = _in_utc(row[name])
        yield row


def _in_utc(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _conditions(connection: Connection, query: Query) -> list[ColumnElement[bool]]:
    return [_where(connection.dialect.name, query.source, condition) for condition in query.conditions]


def _where(dialect: str, source: FromClause, condition: Condition) -> ColumnElement[bool]:
    columns = [source.c[name] for name in condition.columns]
    column: ColumnElement[Any] = columns[0] if len(columns) == 1 else func.coalesce(*columns)
    # A database that has no time zones would take an aware time for a local one.
    plain = isinstance(columns[0].type, DateTime) and not columns[0].type.timezone

    def bound(value: object) -> object:
        if isinstance(value, UUID) and python_type(columns[0].type) is str:
            return str(value)
        return value.replace(tzinfo=None) if plain and isinstance(value, datetime) else value

    exact = [
        bound(one.value)
        for one in condition.alternatives
        if isinstance(one, Exactly) and one.value is not None
    ]
    found: list[ColumnElement[bool]] = [column.in_(exact)] if exact else []
    digest = source.c.get(f"{condition.columns[0]}_sha256")
    if exact and digest is not None:
        # A key or path is text of any length, which only its digest is an index of.
        found = [and_(digest.in_([path_digest(str(value)) for value in exact]), *found)]
    for one in condition.alternatives:
        if isinstance(one, Like):
            found.append(_like(dialect, column, one.pattern))
        elif isinstance(one, Between):
            ends = [column >= bound(one.low)] if one.low is not None else []
            ends += [column <= bound(one.high)] if one.high is not None else []
            found.append(and_(*ends))
        elif one.value is None:
            found.append(column.is_(None))
    return or_(false(), *found)


def _like(dialect: str, column: ColumnElement[Any], pattern: str) -> ColumnElement[bool]:
    """Whether the column's text is that of the pattern, in which only `%` is special and case counts."""
    parts = pattern.split("%")
    if dialect == "sqlite":  # whose LIKE is blind to the case of letters
        return column.op("GLOB", is_comparison=True)("*".join(re.sub(r"([*?[])", r"[\1]", p) for p in parts))
    if dialect in ("mysql", "mariadb"):  # where it is a matter of the column's collation
        column = collate(column, "utf8mb4_bin")
    return column.like("%".join(re.sub(r"([!_])", r"!\1", part) for part in parts), escape="!")
