"""What extractors returned: the raw result, and the plugin's typed columns."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Table, bindparam, func, select, update

from carbonation_core.db.engine import PAGE, Connection, chunks
from carbonation_core.db.models import BASE_COLUMNS, FileBase, path_digest
from carbonation_core.db.rows import store_each


def store(
    connection: Connection,
    model: type[FileBase],
    found: Mapping[int, tuple[Mapping[str, Any], Mapping[str, Any]]],
    now: datetime,
) -> dict[int, str]:
    """Store, for each group id, the raw result as JSON takes it and its typed values.

    Returns what the database has against those of some groups, in its own words;
    all others are stored.
    """
    table = _table(model)
    own = [column.name for column in table.columns if column.name not in BASE_COLUMNS]
    rows: list[dict[str, Any]] = [
        # A key that is lacking now may be there from an earlier delivery.
        {"b_id": id_, "b_metadata": raw, **{f"b_{name}": values.get(name) for name in own}}
        for id_, (raw, values) in found.items()
    ]
    assignments: dict[str, Any] = {name: bindparam(f"b_{name}") for name in own}
    statement = (
        update(table)
        .where(table.c.id == bindparam("b_id"))
        .values(metadata=bindparam("b_metadata"), modified_at=now, **assignments)
    )
    refused = store_each(connection, rows, partial(connection.execute, statement))
    return {row["b_id"]: f"the database refuses the metadata: {words}" for row, words in refused}


def of_groups(connection: Connection, model: type[FileBase], ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    """The metadata of each group: the keys its extractor returned, values as the columns hold them."""
    table = _table(model)
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    for chunk in chunks(ids):
        for row in connection.execute(select(table).where(table.c.id.in_(chunk))):
            values = row._mapping
            raw = values["metadata"] or {}
            found[values["id"]] = {key: values.get(key, raw[key]) for key in raw}
    return found


class Described(NamedTuple):
    """What is stored of a group: the raw result of its extractor, and the plugin's columns by name."""

    raw: Mapping[str, Any] | None
    columns: Mapping[str, Any]


def described(connection: Connection, model: type[FileBase], ids: Iterable[int]) -> dict[int, Described]:
    """What is stored of each group."""
    table = _table(model)
    own = [column for column in table.columns if column.name not in BASE_COLUMNS]
    found: dict[int, Described] = {}
    for chunk in chunks(ids):
        query = select(table.c.id, table.c.metadata, *own).where(table.c.id.in_(chunk))
        for id_, raw, *values in connection.execute(query):
            names = (column.name for column in own)
            found[id_] = Described(raw, dict(zip(names, values, strict=True)))
    return found


def settled(
    connection: Connection,
    model: type[FileBase],
    watch_name: str,
    group_key: str | None,
    missing: str | None,
    after: int,
) -> list[int]:
    """A page of the complete groups that no run has or will have; see `count_settled`."""
    table = _table(model)
    wanted = _settled(table, watch_name, group_key, missing)
    query = select(table.c.id).where(table.c.id > after, *wanted).order_by(table.c.id).limit(PAGE)
    return list(connection.execute(query).scalars())


def count_settled(
    connection: Connection,
    model: type[FileBase],
    watch_name: str,
    group_key: str | None,
    missing: str | None,
) -> int:
    """How many there are, of that key, or with no value in the column `missing`."""
    table = _table(model)
    query = select(func.count(table.c.id)).where(*_settled(table, watch_name, group_key, missing))
    return connection.execute(query).scalar_one()


def _settled(
    table: Table, watch_name: str, group_key: str | None, missing: str | None
) -> list[ColumnElement[bool]]:
    of_key = [] if group_key is None else [table.c.group_key_sha256 == path_digest(group_key)]
    lacking = [] if missing is None else [table.c[missing].is_(None)]
    return [
        table.c.watch_name == watch_name,
        table.c.complete.is_(True),
        table.c.batch_id.is_(None),
        table.c.due_at.is_(None),
        *of_key,
        *lacking,
    ]


def _table(model: type[FileBase]) -> Table:
    table = model.__table__
    assert isinstance(table, Table)
    return table
