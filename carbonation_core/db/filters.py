"""What files can be asked for: one definition of filters, behind the API and the CLI."""

import difflib
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import PurePath
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Date, DateTime, Enum, Float, Integer, Numeric, String, Uuid
from sqlalchemy.sql.elements import KeyedColumnElement
from sqlalchemy.types import TypeDecorator

from carbonation_core.db.columns import python_type, storable
from carbonation_core.errors import QueryError
from carbonation_core.names import to_text
from carbonation_core.text import listing, parse_span, quoted

DATERANGE, AGE = "_daterange", "_age"
START, STOP = "start", "stop"  # columns that the two need
MOST_VALUES = 30_000  # of a list; SQLite takes not many more in one statement
_LARGEST = 2**63  # what a database can compare an integer with


class Kind(StrEnum):
    """What a column holds, as far as a filter is concerned."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    TIME = "time"
    DATE = "date"
    BOOLEAN = "boolean"
    WORD = "word"  # of an Enum
    SPAN = "span"
    UUID = "uuid"


class Operator(StrEnum):
    """What a filter asks of a column."""

    IS = "is"  # a value, or one of several; text with `%`
    FROM = "from"  # at least, inclusive
    TO = "to"  # at most, inclusive
    OVERLAPS = "overlaps"  # start and stop have something in common with a range
    SINCE = "since"  # stop, or start without one, is not before a time


_NUMBERS = MappingProxyType({"_min": (Operator.FROM, "at least this"), "_max": (Operator.TO, "at most this")})
_TIMES = MappingProxyType(
    {"_after": (Operator.FROM, "not before this"), "_before": (Operator.TO, "not after this")}
)
_RANGES: Mapping[Kind, Mapping[str, tuple[Operator, str]]] = MappingProxyType(
    {
        Kind.INTEGER: _NUMBERS,
        Kind.NUMBER: _NUMBERS,
        Kind.SPAN: _NUMBERS,
        Kind.TIME: _TIMES,
        Kind.DATE: _TIMES,
    }
)
_DESCRIPTIONS: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.TEXT: "one of these; % stands for any text",
        Kind.INTEGER: "one of these",
        Kind.NUMBER: "one of these",
        Kind.TIME: "one of these; a date means the whole day",
        Kind.DATE: "one of these",
        Kind.BOOLEAN: "true or false; no value is neither",
        Kind.WORD: "one of these",
        Kind.SPAN: "one of these",
        Kind.UUID: "one of these",
    }
)
_TAKES: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.TEXT: "text",
        Kind.INTEGER: "a number",
        Kind.NUMBER: "a number",
        Kind.TIME: "a time or date",
        Kind.DATE: "a date",
        Kind.BOOLEAN: "True or False",
        Kind.SPAN: 'a timedelta, or text such as "PT1H30M" or "90m"',
        Kind.UUID: "a UUID",
    }
)


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter by its name; `other_names` mean the same. `column` is empty when it asks of two.

    `words` are those of an Enum, by themselves and by its members.
    """

    name: str
    column: str
    kind: Kind
    operator: Operator
    description: str
    other_names: tuple[str, ...] = ()
    words: tuple[tuple[object, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Exactly:
    """The column has this value; None: it has none."""

    value: object


@dataclass(frozen=True, slots=True)
class Like:
    """The column's text fits the pattern, in which `%` stands for any text."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Between:
    """The column's value is in the range, ends included; None: no end on that side."""

    low: object
    high: object


@dataclass(frozen=True, slots=True)
class Condition:
    """One of `alternatives` holds for the first of `columns` that has a value; none never holds."""

    columns: tuple[str, ...]
    alternatives: tuple[Exactly | Like | Between, ...]


def kind_of(column: KeyedColumnElement[Any]) -> Kind | None:
    """What the column holds; None if nothing that a filter could ask for."""
    if python_type(column.type) is timedelta:
        return Kind.SPAN
    kind = column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type
    for classes, found in (
        (Enum, Kind.WORD),
        (Uuid, Kind.UUID),
        (DateTime, Kind.TIME),
        (Date, Kind.DATE),
        (Boolean, Kind.BOOLEAN),
        (Integer, Kind.INTEGER),
        ((Numeric, Float), Kind.NUMBER),
        (String, Kind.TEXT),
    ):
        if isinstance(kind, classes):
            return found
    return None


def filters_of(columns: Iterable[KeyedColumnElement[Any]], short: Mapping[str, str]) -> dict[str, Filter]:
    """The filters of these columns, by each of their names.

    `short` gives columns a second, shorter name, which a column of that very
    name takes from them. A column's own name always wins over a derived one.
    """
    columns = list(columns)
    kinds = {column.name: kind for column in columns if (kind := kind_of(column)) is not None}
    words = {column.name: _words(column.type) for column in columns if isinstance(column.type, Enum)}
    found: list[Filter] = []
    for column, kind in kinds.items():
        others = (short[column],) if column in short and short[column] not in kinds else ()
        own_words = words.get(column, ())
        found.append(Filter(column, column, kind, Operator.IS, _DESCRIPTIONS[kind], others, own_words))
        for suffix, (operator, text) in _RANGES.get(kind, {}).items():
            if column + suffix not in kinds:
                names = tuple(other + suffix for other in others if other + suffix not in kinds)
                found.append(Filter(column + suffix, column, kind, operator, text, names))
    if {kinds.get(START), kinds.get(STOP)} in ({Kind.TIME}, {Kind.DATE}):
        text = f"from {START} to {STOP} has something in common with this range"
        found.append(Filter(DATERANGE, "", kinds[START], Operator.OVERLAPS, text))
        text = f"{STOP}, or {START} where there is none, is not before this"
        found.append(Filter(AGE, "", kinds[START], Operator.SINCE, text))
    return {name: one for one in found for name in (one.name, *one.other_names)}


def conditions(known: Mapping[str, Filter], filters: Mapping[str, object]) -> tuple[Condition, ...]:
    """What the filters ask for, all of which must hold; raises `QueryError`."""
    found: list[Condition] = []
    for name, value in filters.items():
        if name not in known:
            close = difflib.get_close_matches(str(name), known, 1)
            hint = f'did you mean "{close[0]}"? ' if close else ""
            raise QueryError(f"there is no filter {quoted(name)}; {hint}known: {listing(_own_names(known))}")
        found += _conditions(known[name], name, value)
    return tuple(found)


def spelled(text: str) -> str:
    """`text` as the database holds it; a name that no server takes is spelled as its path is."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return to_text(text)
    return to_text(text) if "\0" in text else text


def parse_time(text: str) -> date:
    """A day, or an aware time in UTC, of its ISO 8601 text; raises `ValueError`."""
    try:
        return _time(text)
    except (ValueError, OverflowError):
        raise ValueError("should be a date or time such as 2026-01-31 or 2026-01-31T12:00") from None


def _words(kind: Enum) -> tuple[tuple[object, str], ...]:
    members = () if kind.enum_class is None else kind.enum_class
    return tuple(zip((*kind.enums, *members), kind.enums * 2, strict=False))


def _own_names(known: Mapping[str, Filter]) -> list[str]:
    return [name for name, one in known.items() if name == one.name]


def _conditions(asked: Filter, name: str, value: object) -> Iterator[Condition]:
    column = (asked.column,)
    if asked.operator is Operator.IS:
        several = isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping)
        values: Collection[object] = value if several else (value,)  # type: ignore[assignment]  # checked above
        if len(values) > MOST_VALUES:
            raise QueryError(f'filter "{name}" takes at most {MOST_VALUES} values, not {len(values)}')
        yield Condition(column, tuple(_alternative(asked, name, one) for one in values))
    elif asked.operator is Operator.FROM:
        yield Condition(column, (Between(_span(asked.kind, name, value)[0], None),))
    elif asked.operator is Operator.TO:
        yield Condition(column, (Between(None, _span(asked.kind, name, value)[1]),))
    elif asked.operator is Operator.SINCE:
        yield Condition((STOP, START), (Between(_span(asked.kind, name, value)[0], None),))
    else:
        low, high = _range(asked.kind, name, value)
        if low is not None:
            yield Condition((STOP, START), (Between(low, None),))
        if high is not None:
            yield Condition((START, STOP), (Between(None, high),))


def _range(kind: Kind, name: str, value: object) -> tuple[Any, Any]:
    if not isinstance(value, list | tuple) or len(value) != 2 or all(end is None for end in value):
        raise QueryError(
            f'filter "{name}" takes a pair of times, one of which may be None, not {quoted(value)}'
        )
    begin, end = value
    low = None if begin is None else _span(kind, name, begin)[0]
    high = None if end is None else _span(kind, name, end)[1]
    if low is not None and high is not None and low > high:  # type: ignore[operator]  # both times, or both dates
        raise QueryError(f'filter "{name}": the range ends before it begins: {begin} to {end}')
    return low, high


def _alternative(asked: Filter, name: str, value: object) -> Exactly | Like | Between:
    if value is None:
        return Exactly(None)
    if asked.kind is Kind.WORD:
        for known, word in asked.words:
            if value == known:
                return Exactly(word)
        words = listing({word for _, word in asked.words})
        raise QueryError(f'filter "{name}" takes one of {words}, not {quoted(value)}')
    low, high = _span(asked.kind, name, value)
    if low != high:
        return Between(low, high)
    if asked.kind is Kind.TEXT and isinstance(value, str) and "%" in value:
        return Like(str(low))
    return Exactly(low)


def _span(kind: Kind, name: str, value: object) -> tuple[object, object]:
    """From when to when the value reaches; both are the same but for a day among times."""
    try:
        return _checked(kind, value)
    except (TypeError, ValueError, OverflowError):
        found = f"{type(value).__name__} {quoted(value)}"
        raise QueryError(f'filter "{name}" takes {_TAKES[kind]}, not {found}') from None


def _checked(kind: Kind, value: object) -> tuple[object, object]:
    if kind is Kind.TEXT:
        if isinstance(value, bytes | PurePath):  # a name as the operating system gives it
            return (to_text(os.fspath(value)),) * 2
        if not isinstance(value, str):
            raise TypeError
        if "\0" in value:  # which no server takes, so that nothing can have it
            raise ValueError
        return (spelled(value),) * 2
    if kind is Kind.BOOLEAN:
        if not isinstance(value, bool):
            raise TypeError
        return value, value
    if kind in (Kind.INTEGER, Kind.NUMBER):
        return (_number(value),) * 2
    if kind is Kind.SPAN:
        return (storable(value if isinstance(value, timedelta) else parse_span(value)),) * 2
    if kind is Kind.UUID:
        return (value if isinstance(value, UUID) else UUID(value),) * 2  # type: ignore[arg-type]  # or it raises
    day_or_time = _time(value)
    if kind is Kind.DATE:
        return (day_or_time.date() if isinstance(day_or_time, datetime) else day_or_time,) * 2
    if isinstance(day_or_time, datetime):
        return day_or_time, day_or_time
    return (
        datetime.combine(day_or_time, time.min, UTC),
        datetime.combine(day_or_time, time.max, UTC),
    )


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise TypeError
    if not math.isfinite(value):
        raise ValueError
    if isinstance(value, int):
        # Beyond what a database holds, floats compare the same and are taken by all.
        return value if -_LARGEST <= value < _LARGEST else float(value)
    return float(value)


def _time(value: object) -> date:
    """A day, or a time in UTC; naive times mean UTC."""
    if isinstance(value, str):
        text = value.strip()
        try:
            value = date.fromisoformat(text)
        except ValueError:
            value = datetime.fromisoformat(text)
    if not isinstance(value, date):
        raise TypeError
    if not isinstance(value, datetime):
        return value
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
