"""Rows as a table, as CSV and as JSON, however many: never more than a portion of them is held."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from types import MappingProxyType
from typing import Any

from carbonation_core.db.columns import jsonable
from carbonation_core.text import shown
from carbonation_dagster.cli.text_table import terminal_width, text_table

Rows = Iterable[Mapping[str, Any]]


def as_table(
    columns: Sequence[str], rows: Rows, spare: Sequence[str] = (), beneath: int = 1
) -> Iterator[str]:
    """Aligned columns under their names; times to the second, in UTC. See `text_table`."""
    cells = ([cell(row[name]) for name in columns] for row in rows)
    for line in text_table(columns, cells, width=terminal_width(), spare=spare, beneath=beneath):
        yield f"{line}\n"


def as_csv(columns: Sequence[str], rows: Rows) -> Iterator[str]:
    """Names in the first line; times in ISO 8601, no value as an empty field."""
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\n")

    def line_of(values: Iterable[object]) -> str:
        line.seek(0)
        line.truncate()
        writer.writerow(values)
        return line.getvalue()

    yield line_of(columns)
    for row in rows:
        yield line_of(_field(row[name]) for name in columns)


def as_json(columns: Sequence[str], rows: Rows) -> Iterator[str]:
    """One array of objects, an object a line."""
    before = "["
    for row in rows:
        yield f"{before}\n{to_json({name: row[name] for name in columns})}"
        before = ","
    yield "[]\n" if before == "[" else "\n]\n"


WRITERS: Mapping[str, Callable[[Sequence[str], Rows], Iterator[str]]] = MappingProxyType(
    {"table": as_table, "csv": as_csv, "json": as_json}
)


def to_json(value: object) -> str:
    """JSON in ASCII; times in ISO 8601, numbers that JSON lacks as text."""
    try:
        return json.dumps(value, default=jsonable, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), default=jsonable)


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value


def _field(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return to_json(value)
    return value.isoformat() if isinstance(value, date | time) else value


def cell(value: object) -> str:
    """A value as a table has it."""
    if isinstance(value, datetime):
        return shown(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(_field(value))
