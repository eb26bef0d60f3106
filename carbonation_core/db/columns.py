"""What the columns of a plugin take: values that every database stores and gives back as they are."""

import json
import math
import numbers
import operator
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from pathlib import PurePath
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Enum,
    Float,
    Integer,
    Interval,
    Numeric,
    SmallInteger,
    String,
    Time,
    Uuid,
)
from sqlalchemy.types import TypeDecorator

from carbonation_core.db.column_types import UtcDateTime
from carbonation_core.errors import AttemptFailed
from carbonation_core.process import is_told_to_end
from carbonation_core.text import listing, written

DEEPEST = 30  # levels of dicts and lists in a value; MariaDB takes 31 of all metadata
LARGEST = 2 << 20  # bytes of all metadata as JSON; MariaDB takes a statement of 16 MiB with all of them twice
LONGEST_SHOWN = 100  # characters of a value in a message
# MariaDB counts text in bytes; the other databases take as much as there is.
_BYTES = MappingProxyType({"TINYTEXT": 2**8, "text": 2**16, "TEXT": 2**16, "MEDIUMTEXT": 2**24})
_EXAMPLES: Mapping[type, object] = MappingProxyType(
    {
        bool: True,
        date: date(2000, 1, 1),
        datetime: datetime(2000, 1, 1, tzinfo=UTC),
        Decimal: Decimal(1),
        dict: {},
        float: 1.0,
        int: 1,
        list: [],
        str: "text",
        time: time.min,
        timedelta: "text",
    }
)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # from which SQLAlchemy counts spans where there is no type for them


def fitted(column: Column[Any], value: object, dialect: Dialect | None = None) -> Any:
    """The value as the column takes it on every database, and on that one.

    Times become UTC, numbers of numpy Python's own. Raises `AttemptFailed` naming
    column, type wanted and value.
    """
    if value is None:
        return None
    kind: Any = column.type
    fit, wanted = next(row[1:] for row in _TYPES if isinstance(kind, row[0]))
    try:
        return fit(kind, value, dialect)
    except BaseException as error:  # a value of a plugin may do anything when it is looked at
        if is_told_to_end(error):
            raise
        raise AttemptFailed(
            f'column "{column.key}" takes {wanted(kind, dialect)}, not {_shown(value)}'
        ) from error


def is_same(column: Column[Any], stored: object, told: object, dialect: Dialect) -> bool:
    """Whether a column that holds the one would be given the same for the other.

    `told` is fitted. What the database makes of a value is not known here.
    """
    if stored is None or told is None:
        return stored is told
    give: Any = column.type.dialect_impl(dialect).bind_processor(dialect)
    try:
        held = fitted(column, stored, dialect)
        return bool(held == told or (give and give(held) == give(told)))
    except BaseException as error:  # a type of a plugin may do anything
        if is_told_to_end(error):
            raise
        return False


def refusal(column: Column[Any]) -> str | None:
    """Why no plugin may have a column of that type."""
    kind: Any = column.type
    if isinstance(kind, TypeDecorator):
        kind = kind.impl_instance
    if python_type(kind) is bytes:
        return "its values are kept as JSON, too, which has no bytes; keep text, or the path of a file"
    return None


def example(column: Column[Any]) -> object:
    """A value that the column may have, as texts have it; None if its type does not say."""
    kind: Any = column.type
    found = datetime if isinstance(kind, UtcDateTime) else python_type(kind)
    if isinstance(kind, Enum | Interval | Uuid):
        return "text"
    return _EXAMPLES.get(found)


def as_json(values: Mapping[str, object]) -> dict[str, Any]:
    """Metadata as JSON has them; raises `AttemptFailed` when they are too many to be stored."""
    text = json.dumps({key: written(value) for key, value in values.items()}, default=jsonable)
    if len(text) > LARGEST:
        raise AttemptFailed(f"the metadata have {len(text):,} bytes as JSON, more than {LARGEST:,}")
    found: dict[str, Any] = json.loads(text)
    return found


def jsonable(value: object) -> object:
    """What JSON lacks as it can hold it: times in ISO 8601, Decimals as text, members of an Enum by name."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal | PurePath):
        return str(value)
    plain = _of_numpy(written(value))
    if plain is value:
        raise AttemptFailed(f"{_shown(value)} cannot be kept as JSON")
    return plain


def _shown(value: object) -> str:
    """Type and beginning of a value, whatever it is."""
    kind = type(value).__name__
    try:
        # Python writes no integer of more than 4300 digits in full.
        long = isinstance(value, int) and abs(value) >= 10**LONGEST_SHOWN
        text = f"{Decimal(value):.3e}" if long else str(value)  # type: ignore[arg-type]  # an int then
    except BaseException as error:  # a value of a plugin may do anything when it is looked at
        if is_told_to_end(error):
            raise
        return kind
    more = f"… of {len(text):,} characters" if len(text) > LONGEST_SHOWN else ""
    return f"{kind} {text[:LONGEST_SHOWN]!r}{more}"


def _of_numpy(value: Any) -> Any:
    """A scalar of numpy as Python's own number or boolean; anything else as it is."""
    if getattr(value, "shape", None) == () and isinstance(item := value.item(), bool | int | float):
        return item
    return value


def _number(value: object) -> Any:
    number = _of_numpy(value)
    if isinstance(number, bool) or not isinstance(number, numbers.Real | Decimal):
        raise TypeError
    if not math.isfinite(float(number)):
        raise ValueError
    return number


def _time(kind: Any, value: object, _: Dialect | None) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError
    # Subclasses may say that they are no time at all, as pandas' NaT does.
    plain = datetime.combine(_day(value), _clock(value), value.tzinfo)
    utc = plain.replace(tzinfo=UTC) if plain.tzinfo is None else plain.astimezone(UTC)
    aware = isinstance(kind, UtcDateTime) or kind.timezone
    return utc if aware else utc.replace(tzinfo=None)


def _day(value: date) -> date:
    return date(value.year, value.month, value.day)


def _clock(value: time | datetime) -> time:
    return time(value.hour, value.minute, value.second, value.microsecond, fold=value.fold)


def _date(_kind: Any, value: object, _: Dialect | None) -> date:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise TypeError
    return _day(value)


def _time_of_day(_kind: Any, value: object, _: Dialect | None) -> time:
    # Of the databases only PostgreSQL keeps the zone of a time without a day.
    if not isinstance(value, time) or value.tzinfo is not None:
        raise TypeError
    return _clock(value)


def _span(_kind: Any, value: object, _: Dialect | None) -> timedelta:
    if not isinstance(value, timedelta):
        raise TypeError
    return storable(timedelta(value.days, value.seconds, value.microseconds))


def storable(span: timedelta) -> timedelta:
    """The span itself; raises `OverflowError` for one that a database without spans could not store."""
    _EPOCH + span
    return span


def _boolean(_kind: Any, value: object, _: Dialect | None) -> bool:
    plain = _of_numpy(value)
    if not isinstance(plain, bool):
        raise TypeError
    return plain


def _integer(kind: Any, value: object, _: Dialect | None) -> int:
    if isinstance(_of_numpy(value), bool):  # Python counts True as 1, a database need not
        raise TypeError
    number = operator.index(value)  # type: ignore[arg-type]  # raises what is caught
    if not -(2 ** _bits(kind)) <= number < 2 ** _bits(kind):
        raise OverflowError
    return number


def _bits(kind: Any) -> int:
    return 15 if isinstance(kind, SmallInteger) else 63 if isinstance(kind, BigInteger) else 31


def _float(kind: Any, value: object, _: Dialect | None) -> float | Decimal:
    number = float(_number(value))
    return Decimal(str(number)) if kind.asdecimal else number


def _decimal(kind: Any, value: object, _: Dialect | None) -> float | Decimal:
    number = _number(value)
    exact = Decimal(number) if isinstance(number, int | Decimal) else Decimal(str(float(number)))
    if kind.precision is not None:
        # As the servers round it, and SQLite would not.
        step = Decimal(1).scaleb(-(kind.scale or 0))
        exact = exact.quantize(step, ROUND_HALF_UP, Context(prec=kind.precision))
    return exact if kind.asdecimal else float(exact)


def _uuid(kind: Any, value: object, _: Dialect | None) -> UUID | str:
    if not isinstance(value, UUID if kind.as_uuid else UUID | str):
        raise TypeError
    found = UUID(str(value))
    return found if kind.as_uuid else str(found)


def _word(kind: Any, value: object, _: Dialect | None) -> object:
    if kind.enum_class is not None and isinstance(value, kind.enum_class):
        if value.name in kind.enum_class.__members__:
            return value
    elif isinstance(value, str) and value in kind.enums:
        return str.__str__(value)
    raise LookupError


def _text(kind: Any, value: object, dialect: Dialect | None) -> str:
    if not isinstance(value, str):
        raise TypeError
    text = str.__str__(value)
    limit = _limit(kind, dialect)
    if "\0" in text or len(text.encode()) > (limit or math.inf) or len(text) > (kind.length or len(text)):
        raise ValueError
    return text


def _limit(kind: Any, dialect: Dialect | None) -> int | None:
    if dialect is None or dialect.name not in ("mysql", "mariadb") or kind.length:
        return None
    limit = _BYTES.get(kind.dialect_impl(dialect).__visit_name__)
    return limit and limit - 1


def _json(_kind: Any, value: object, _: Dialect | None) -> object:
    if not isinstance(value, dict | list):
        raise TypeError
    text = json.dumps(value, default=jsonable, allow_nan=False, ensure_ascii=False)
    text.encode()
    plain = json.loads(text)
    if _is_deeper(plain, DEEPEST):
        raise ValueError
    return plain


def _is_deeper(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(one, levels - 1) for one in inner)


def _other(kind: Any, value: object, _: Dialect | None) -> object:
    if not isinstance(value, python_type(kind)):
        raise TypeError
    json.dumps(written(value), default=jsonable, allow_nan=False)
    return value


def python_type(kind: Any) -> type:
    """What a type of SQLAlchemy gives back; `object` of one that does not say."""
    try:
        found: type = kind.python_type
    except NotImplementedError:  # by types that do not say
        return object
    return found


def _digits(kind: Any, _: Dialect | None) -> str:
    if kind.precision is None:
        return "a finite number"
    return f"a number of at most {kind.precision - (kind.scale or 0)} digits before the point"


def _letters(kind: Any, dialect: Dialect | None) -> str:
    limit = _limit(kind, dialect)
    if limit is not None:
        return f"UTF-8 text of at most {limit:,} bytes"
    return "UTF-8 text" + (f" of at most {kind.length} characters" if kind.length else "")


def _always(words: str) -> Callable[[Any, Dialect | None], str]:
    return lambda _kind, _dialect: words


# What each type takes, the most special first: how a value becomes fit, and what it should be in words.
_Fit = Callable[[Any, object, Dialect | None], object]
_TYPES: tuple[tuple[type | tuple[type, ...], _Fit, Callable[[Any, Dialect | None], str]], ...] = (
    ((UtcDateTime, DateTime), _time, _always("a datetime")),
    (Interval, _span, _always("a timedelta that leads from 1970 to a year from 1 to 9999")),
    (Date, _date, _always("a date")),
    (Time, _time_of_day, _always("a time without a zone")),
    (Boolean, _boolean, _always("True or False")),
    (Integer, _integer, lambda kind, _: f"an int of {_bits(kind) + 1} bits"),
    (Float, _float, _always("a finite number")),  # before 2.1 of SQLAlchemy a Numeric, too
    (Numeric, _decimal, _digits),
    (Uuid, _uuid, _always("a UUID")),
    (Enum, _word, lambda kind, _: f"one of {listing(kind.enums)}"),  # which is a String, too
    (String, _text, _letters),
    (JSON, _json, _always(f"a dict or list that JSON can hold, of at most {DEEPEST} levels")),
    (object, _other, lambda kind, _: f"a {python_type(kind).__name__} that JSON can hold"),
)
