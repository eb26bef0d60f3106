"""All rows of all tables, ours and the plugin's, read and stored as they are."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Table,
    delete,
    func,
    insert,
    inspect,
    null,
    select,
    text,
    type_coerce,
)
from sqlalchemy.types import NULLTYPE

from carbonation_core.db.engine import PAGE
from carbonation_core.db.models import Base, Counter, FeedEntry, FileBase

Row = Mapping[str, Any]


def all_of(model: type[FileBase]) -> dict[str, Table]:
    """The core's tables and the plugin's by name; `files` with the columns of both."""
    return {**Base.metadata.tables, **model.metadata.tables}


def in_order(connection: Connection, model: type[FileBase]) -> list[Table]:
    """All tables, each after those that it refers to in that database."""
    known = all_of(model)
    found = inspect(connection).get_sorted_table_and_fkc_names()
    return [known[name] for name, _ in found if name in known]


def without_model(connection: Connection, model: type[FileBase]) -> list[str]:
    """Columns that are in that database and in no model, as `table.column`."""
    inspector = inspect(connection)
    return sorted(
        f"{table.name}.{column['name']}"
        for table in all_of(model).values()
        for column in inspector.get_columns(table.name)
        if column["name"] not in table.columns
    )


def counts(connection: Connection, model: type[FileBase]) -> dict[str, int]:
    """How many rows each table has that is there, by name."""
    there = inspect(connection).get_table_names()
    return {
        name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for name, table in all_of(model).items()
        if name in there
    }


def has_rows(counted: Mapping[str, int]) -> dict[str, int]:
    """Those of these tables that have rows, but for counters: revisions begin one."""
    return {name: number for name, number in counted.items() if number and name != Counter.__tablename__}


def clear_counters(connection: Connection) -> None:
    """Remove what revisions put into a table that has to be as another database has it."""
    connection.execute(delete(Counter))


def pages(connection: Connection, table: Table) -> Iterator[list[Row]]:
    """All rows of the table in the order of its key, as `store` takes them; one statement reads them."""
    columns = [column for column in table.columns if column.computed is None]
    # Of JSON, where no value is one thing and `null` another, the driver gives None for both.
    missing = [column for column in columns if isinstance(column.type, JSON)]
    query = select(*columns, *(column.is_(null()).label(f"{column.name} is missing") for column in missing))
    rows = connection.execute(query.order_by(*table.primary_key), execution_options={"yield_per": PAGE})
    for page in rows.partitions():
        yield [_row(columns, missing, row) for row in page]


def _row(columns: Sequence[Column[Any]], missing: Sequence[Column[Any]], row: Sequence[Any]) -> Row:
    values = {column.key: value for column, value in zip(columns, row, strict=False)}
    for column, is_missing in zip(missing, row[len(columns) :], strict=True):
        if is_missing:
            values[column.key] = null()
    return values


def store(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows that have all columns."""
    connection.execute(insert(table), rows)


def number_on(connection: Connection, table: Table) -> None:
    """Have new rows get numbers above those that are there, where the database would not do so by itself."""
    column = table.autoincrement_column
    if column is None or connection.dialect.name != "postgresql":
        return
    highest = connection.execute(select(func.max(column))).scalar()
    if highest is not None:
        keep_free(connection, table.name, column.name, highest)


def keep_free(connection: Connection, table: str, column: str, highest: int) -> None:
    """Have new rows get numbers above that one, where the database would not do so by itself."""
    if connection.dialect.name == "postgresql":
        quote = connection.dialect.identifier_preparer.quote
        sequence = "pg_get_serial_sequence(:table, :column)"
        connection.execute(
            text(f"SELECT setval({sequence}, GREATEST(:highest, nextval({sequence})))"),
            {"highest": highest, "table": quote(table), "column": column},
        )


def changed(model: type[FileBase], then: Connection, now: Connection) -> list[str]:
    """The tables of one database whose rows two transactions see differently."""
    return [name for name, table in sorted(all_of(model).items()) if not _alike(table, then, now)]


def _alike(table: Table, one: Connection, other: Connection) -> bool:
    # As the driver has them: what a plugin's type makes of a value need not equal anything.
    query = select(*(type_coerce(column, NULLTYPE) for column in table.columns)).order_by(*table.primary_key)
    options = {"yield_per": PAGE}
    with (
        one.execute(query, execution_options=options) as rows,
        other.execute(query, execution_options=options) as likes,
    ):
        return all(row == like or _equal(row, like) for row, like in zip_longest(rows, likes, fillvalue=()))


def _equal(row: Sequence[Any], like: Sequence[Any]) -> bool:
    # A float that is no number equals not even itself.
    pairs = zip_longest(row, like)
    return all(value == other or (value != value and other != other) for value, other in pairs)


def feeds_agree(one: Connection, other: Connection) -> bool:
    """Whether both feeds have the same entries in the same order, with the same tokens."""
    query = select(FeedEntry.__table__).order_by(FeedEntry.sequence)
    of_each = (
        (row for row in each.execute(query, execution_options={"yield_per": PAGE})) for each in (one, other)
    )
    return all(row == like for row, like in zip_longest(*of_each))
