"""What extractors returned: the raw result, and the plugin's typed columns."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Table, bindparam, select, update

from carbonation_core.db.engine import Connection, chunks
from carbonation_core.db.models import BASE_COLUMNS, FileBase
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


def _table(model: type[FileBase]) -> Table:
    table = model.__table__
    assert isinstance(table, Table)
    return table
