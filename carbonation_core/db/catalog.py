"""The groups as people and programs ask for them, and the feed of completed ones."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    DateTime,
    Select,
    Table,
    and_,
    collate,
    false,
    func,
    or_,
    select,
)

from carbonation_core.db.columns import python_type
from carbonation_core.db.filters import Between, Condition, Exactly, Filter, Like, conditions, filters_of
from carbonation_core.db.models import BASE_COLUMNS, FileBase, Group, path_digest
from carbonation_core.errors import QueryError
from carbonation_core.text import listing, quoted

# What of the core's columns a row has when nobody names columns; the rest is
# how the service does its work.
PUBLIC = (
    "id",
    "watch_name",
    "file_type",
    "group_key",
    "complete",
    "archive_name",
    "archive_path",
    "created_at",
    "completed_at",
    "modified_at",
    "retention_date",
    "lacks",
    "metadata",
)
SHORT = MappingProxyType(
    {
        "file_type": "type",
        "created_at": "created",
        "completed_at": "completed",
        "modified_at": "modified",
    }
)
MOST_ROWS = 2**63 - 1  # that a statement can be limited to
_PORTION = 1000  # rows fetched at a time


@dataclass(frozen=True)
class FileQuery:
    """A question that was found valid: which groups, which columns, in what order."""

    model: type[FileBase]
    conditions: tuple[Condition, ...]
    columns: tuple[str, ...]
    order_by: tuple[str, ...]
    limit: int | None


def known_filters(model: type[FileBase]) -> dict[str, Filter]:
    """The filters on the core's and the plugin's columns, by each of their names."""
    columns = [column for column in table_of(model).columns if column.name != "group_key_sha256"]
    base = [column for column in columns if column.name in BASE_COLUMNS]
    own = [column for column in columns if column.name not in BASE_COLUMNS]
    return filters_of([*base, *own], SHORT)


def default_columns(model: type[FileBase]) -> tuple[str, ...]:
    """The columns of a row when nobody names any: the public ones and the plugin's."""
    own = [column.name for column in table_of(model).columns if column.name not in BASE_COLUMNS]
    return (*PUBLIC, *own)


def file_query(
    model: type[FileBase],
    filters: Mapping[str, object] | None = None,
    columns: Sequence[str] | None = None,
    order_by: str | Sequence[str] | None = None,
    limit: int | None = None,
) -> FileQuery:
    """The question, checked; raises `QueryError` that lists what is known.

    `order_by` names columns, each with a leading "-" for descending; groups
    that are equal then come in the order of their ids, and those without a
    value last.
    """
    table = table_of(model)
    chosen = default_columns(model) if columns is None else _columns(table, columns)
    order = (order_by,) if isinstance(order_by, str) else _names("order_by", order_by or ())
    for name in order:
        column = table.columns.get(name.removeprefix("-"))
        if column is None or isinstance(column.type, JSON):
            sortable = [c.name for c in table.columns if not isinstance(c.type, JSON)]
            raise QueryError(f"order_by: there is no column {quoted(name)}; known: {listing(sortable)}")
    if limit is not None:
        require_limit(limit, least=0)
    if filters is not None and not isinstance(filters, Mapping):
        raise QueryError(f"filters: should be a dict of names and values, not {quoted(filters)}")
    found = conditions(known_filters(model), filters or {})
    return FileQuery(model, found, chosen, order, limit)


def require_limit(limit: object, least: int) -> None:
    """Raises `QueryError` for a limit that not every database takes."""
    if not isinstance(limit, int) or isinstance(limit, bool) or not least <= limit <= MOST_ROWS:
        raise QueryError(f"limit: should be a whole number from {least} to {MOST_ROWS}, not {quoted(limit)}")


def count(connection: Connection, query: FileQuery) -> int:
    """How many groups answer the question, whatever its limit."""
    table = table_of(query.model)
    statement = select(func.count()).select_from(table).where(*_conditions(connection, query))
    return connection.execute(statement).scalar_one()


def stream(connection: Connection, query: FileQuery) -> Iterator[dict[str, Any]]:
    """The groups that answer the question; only a portion of them is held at a time."""
    table = table_of(query.model)
    statement = select(*(table.c[name] for name in query.columns))
    statement = statement.where(*_conditions(connection, query))
    for name in query.order_by:
        column = table.c[name.removeprefix("-")]
        if column.nullable:
            # Databases differ in where they put what has no value.
            statement = statement.order_by(column.is_(None))
        statement = statement.order_by(column.desc() if name.startswith("-") else column)
    statement = statement.order_by(table.c.id)
    if query.limit is not None:
        statement = statement.limit(query.limit)
    return rows_of(connection, statement, table, query.columns)


def has_groups(connection: Connection, watch_name: str) -> bool:
    """Whether the watch, configured or not, ever had a group."""
    query = select(Group.id).where(Group.watch_name == watch_name).limit(1)
    return connection.execute(query).first() is not None


def _columns(table: Table, columns: Sequence[str]) -> tuple[str, ...]:
    names = _names("columns", columns)
    for name in names:
        if name not in table.columns:
            raise QueryError(
                f"columns: there is no column {quoted(name)}; known: {listing(table.columns.keys())}"
            )
    if not names:
        raise QueryError(f"columns: should name at least one; known: {listing(table.columns.keys())}")
    return tuple(dict.fromkeys(names))


def _names(argument: str, given: object) -> tuple[str, ...]:
    """What should be several names; raises `QueryError` when it is something else."""
    if isinstance(given, Collection) and not isinstance(given, str | bytes):
        names: tuple[Any, ...] = tuple(given)
        if all(isinstance(name, str) for name in names):
            return names
    raise QueryError(f"{argument}: should be a list of names, not {quoted(given)}")


def rows_of(
    connection: Connection, statement: Select[Any], table: Table, names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The rows of a statement as dicts, as programs get them."""
    # A plugin's plain DateTime gives naive times; they are in UTC like all others.
    naive = [name for name in names if name in table.columns and isinstance(table.c[name].type, DateTime)]
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


def _conditions(connection: Connection, query: FileQuery) -> list[ColumnElement[bool]]:
    table, dialect = table_of(query.model), connection.dialect.name
    return [_where(dialect, table, condition) for condition in query.conditions]


def _where(dialect: str, table: Table, condition: Condition) -> ColumnElement[bool]:
    columns = [table.c[name] for name in condition.columns]
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
    if exact and column is table.c.group_key:
        # A key is text of any length, which only its digest is an index of.
        digests = [path_digest(str(key)) for key in exact]
        found = [and_(table.c.group_key_sha256.in_(digests), *found)]
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


def table_of(model: type[FileBase]) -> Table:
    """The table of a model."""
    table = model.__table__
    assert isinstance(table, Table)
    return table
