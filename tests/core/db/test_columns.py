"""What each type of column takes, and how a value that does not fit is told."""

import enum
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Double,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    PickleType,
    SmallInteger,
    String,
    Text,
    Time,
    Uuid,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.types import TypeEngine

from carbonation_core.db.column_types import UtcDateTime
from carbonation_core.db.columns import LARGEST, as_json, fitted, jsonable, refusal
from carbonation_core.errors import AttemptFailed

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
ONE = UUID("12345678-1234-5678-1234-567812345678")


class Colour(enum.Enum):
    RED = "r"
    GREEN = "g"


class Plain(enum.StrEnum):
    RED = "red"


@dataclass
class Scalar:
    """A scalar as numpy has them."""

    value: Any
    shape: ClassVar[tuple[int, ...]] = ()

    def item(self) -> Any:
        return self.value

    def __index__(self) -> int:
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise TypeError
        return self.value


class NotATime(datetime):
    """Like pandas' NaT: a datetime by its type alone."""

    year = month = day = float("nan")  # type: ignore[assignment]


class Lost(tzinfo):
    """A zone that cannot say what it is."""

    def utcoffset(self, _: datetime | None) -> timedelta:
        raise LookupError


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def column(kind: TypeEngine[Any] | type[TypeEngine[Any]]) -> Column[Any]:
    return Column("it", kind)


def refused(kind: Any, value: object, dialect: Any = None) -> str:
    with pytest.raises(AttemptFailed) as raised:
        fitted(column(kind), value, dialect)
    return str(raised.value).removeprefix('column "it" takes ')


@pytest.mark.parametrize(
    ("kind", "value", "fit"),
    [
        (Uuid, ONE, ONE),
        (Uuid(as_uuid=False), str(ONE), str(ONE)),
        (Interval, timedelta(hours=-3), timedelta(hours=-3)),
        (Enum(Colour), Colour.RED, Colour.RED),
        (Enum(Colour), "RED", "RED"),
        (Enum(Colour, values_callable=lambda kind: [one.value for one in kind]), Colour.RED, Colour.RED),
        (Enum("red", "green"), "red", "red"),
        (Enum("red", "green"), Plain.RED, "red"),
        (Time, time(1, 2, 3), time(1, 2, 3)),
        (Text, Plain.RED, "red"),
        (BigInteger, Scalar(5), 5),
        (SmallInteger, -(2**15), -(2**15)),
        (Double, Scalar(0.5), 0.5),
        (Double, Scalar(5), 5.0),
        (Double, Fraction(1, 4), 0.25),
        (Boolean, Scalar(True), True),
        (Numeric(12, 3), Scalar(1.5), Decimal("1.500")),
        (Numeric(12, 3), Decimal("1.0005"), Decimal("1.001")),
        (Numeric(12, 3), 123456789, Decimal("123456789.000")),
        (Numeric(4), Decimal("-1.5"), Decimal(-2)),
        (Numeric(12, 3, asdecimal=False), Decimal("1.5"), 1.5),
        (Numeric, 1, Decimal(1)),
        (Float(asdecimal=True), 1.5, Decimal("1.5")),
        (JSON, {"at": NOON, "of": Colour.RED, "n": Scalar(1), "id": ONE}, {
            "at": "2024-05-01T12:00:00+00:00", "of": "RED", "n": 1, "id": str(ONE),
        }),
        (JSON, nested(30), nested(30)),
        (String(3), "äöü", "äöü"),
        (postgresql.INTERVAL, timedelta(1), timedelta(1)),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_a_value_that_fits_is_kept(kind: Any, value: object, fit: object) -> None:
    found = fitted(column(kind), value)
    assert (found, type(found)) == (fit, type(fit))


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (Numeric(12, 3), 1e12, "a number of at most 9 digits before the point, not float '1000000000000.0'"),
        (Numeric(12, 3), Decimal("999999999.9999"), "a number of at most 9 digits before the point, not D"),
        (Numeric(12, 3), 10**400, "a number of at most 9 digits before the point, not int '1.000e+400'"),
        (Numeric, 10**400, "a finite number, not int '1.000e+400'"),
        (Numeric, Decimal("sNaN"), "a finite number, not Decimal 'sNaN'"),
        (Numeric, Decimal("Infinity"), "a finite number, not Decimal 'Infinity'"),
        (Numeric, Decimal("1e400"), "a finite number, not Decimal '1E+400'"),
        (Numeric, True, "a finite number, not bool 'True'"),
        (Numeric, "1.5", "a finite number, not str '1.5'"),
        (Double, float("nan"), "a finite number, not float 'nan'"),
        (Double, float("-inf"), "a finite number, not float '-inf'"),
        (Double, 10**400, "a finite number, not int '1.000e+400'"),
        (Double, Scalar(True), "a finite number, not Scalar"),
        (Double, 1j, "a finite number, not complex '1j'"),
        (Integer, 10**5000, "an int of 32 bits, not int '1.000e+5000'"),
        (Integer, 2**31, "an int of 32 bits, not int '2147483648'"),
        (SmallInteger, 2**15, "an int of 16 bits, not int '32768'"),
        (BigInteger, 2**63, "an int of 64 bits, not int '9223372036854775808'"),
        (Integer, 1.0, "an int of 32 bits, not float '1.0'"),
        (Integer, Scalar(True), "an int of 32 bits, not Scalar"),
        (Boolean, 1, "True or False, not int '1'"),
        (Boolean, Scalar(1), "True or False, not Scalar"),
        (UtcDateTime, NotATime(2024, 5, 1), "a datetime, not NotATime"),
        (UtcDateTime, datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), "a datetime, not datetime"),
        (DateTime, datetime(2024, 5, 1, tzinfo=Lost()), "a datetime, not datetime"),
        (DateTime, date(2024, 5, 1), "a datetime, not date '2024-05-01'"),
        (Date, NotATime(2024, 5, 1), "a date, not NotATime"),
        (Time, time(1, tzinfo=UTC), "a time without a zone, not time '01:00:00+00:00'"),
        (Interval, 5, "a timedelta that leads from 1970 to a year from 1 to 9999, not int '5'"),
        (Interval, timedelta.max, "a timedelta that leads from 1970 to a year from 1 to 9999, not timedelta"),
        (Uuid, "x", "a UUID, not str 'x'"),
        (Uuid(as_uuid=False), "x", "a UUID, not str 'x'"),
        (Enum("red", "green"), "blue", 'one of "green", "red", not str \'blue\''),
        (Enum(Colour), Plain.RED, 'one of "GREEN", "RED", not Plain \'red\''),
        (Enum(Colour), "r", 'one of "GREEN", "RED", not str \'r\''),
        (String(3), "long", "UTF-8 text of at most 3 characters, not str 'long'"),
        (Text, "a\0b", "UTF-8 text, not str 'a\\x00b'"),
        (Text, "\udc80", "UTF-8 text, not str '\\udc80'"),
        (JSON, {"a": {1}}, "a dict or list that JSON can hold, of at most 30 levels, not dict \"{'a"),
        (JSON, {"a": float("nan")}, "a dict or list that JSON can hold, of at most 30 levels, not dict"),
        (JSON, ["\ud800"], "a dict or list that JSON can hold, of at most 30 levels, not list"),
        (JSON, {(1, 2): 3}, "a dict or list that JSON can hold, of at most 30 levels, not dict"),
        (JSON, [10**5000], "a dict or list that JSON can hold, of at most 30 levels, not list"),
        (JSON, nested(31), "a dict or list that JSON can hold, of at most 30 levels, not list"),
        (JSON, nested(90_000), "a dict or list that JSON can hold, of at most 30 levels, not list"),
        (JSON, "text", "a dict or list that JSON can hold, of at most 30 levels, not str 'text'"),
        (postgresql.INTERVAL, 5, "a timedelta that JSON can hold, not int '5'"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_value_that_no_database_should_be_given_is_named(kind: Any, value: object, said: str) -> None:
    assert refused(kind, value).startswith(said)


def test_a_long_value_is_cut() -> None:
    said = refused(String(10), "x" * 170_000)
    assert said == f"UTF-8 text of at most 10 characters, not str '{'x' * 100}'… of 170,000 characters"


@pytest.mark.parametrize(
    ("kind", "dialect", "most"),
    [
        (Text(), mysql.dialect(), 65_535),
        (Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb"), mysql.dialect(), 2**24 - 1),
        (Text(100_000), mysql.dialect(), 100_000),
        (Text(), postgresql.dialect(), None),
        (Text(), sqlite.dialect(), None),
    ],
    ids=["TEXT", "MEDIUMTEXT", "TEXT(n)", "PostgreSQL", "SQLite"],
)
def test_text_is_as_long_as_the_database_takes_it(kind: Any, dialect: Any, most: int | None) -> None:
    for size in (17_000_000,) if most is None else (most,):
        assert len(fitted(column(kind), "x" * size, dialect)) == size
    if most is not None:
        assert f"of at most {most:,}" in refused(kind, "x" * (most + 1), dialect).replace("100000", "100,000")


def test_a_value_that_cannot_even_be_shown_is_named_by_its_type() -> None:
    class Broken:
        def __str__(self) -> str:
            raise ValueError

        shape = property(lambda _: 1 / 0)

    assert refused(Integer, Broken()) == "an int of 32 bits, not Broken"
    assert refused(Text, Broken()) == "UTF-8 text, not Broken"


def test_a_value_that_ends_the_process_when_it_is_looked_at_is_refused_like_others() -> None:
    class Exits:
        def __str__(self) -> str:
            sys.exit("shown")

        def __index__(self) -> int:
            sys.exit("counted")

    assert refused(Integer, Exits()) == "an int of 32 bits, not Exits"


def test_an_interrupt_is_no_refusal() -> None:
    class Interrupted:
        def __index__(self) -> int:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(column(Integer), Interrupted())


@pytest.mark.parametrize("kind", [LargeBinary, PickleType, mysql.LONGBLOB, postgresql.BYTEA], ids=repr)
def test_bytes_have_no_column(kind: Any) -> None:
    assert "JSON, too, which has no bytes" in (refusal(column(kind)) or "")


def test_metadata_are_kept_as_json() -> None:
    values = {
        "id": ONE,
        "long": timedelta(1, 2, 3),
        "of": Colour.RED,
        "word": Plain.RED,
        "price": Decimal("1.50"),
    }
    assert as_json(values | {"at": NOON, "day": date(2024, 5, 1), "of_day": time(1)}) == {
        "id": str(ONE),
        "long": "P1DT2.000003S",
        "of": "RED",
        "word": "RED",
        "price": "1.50",
        "at": "2024-05-01T12:00:00+00:00",
        "day": "2024-05-01",
        "of_day": "01:00:00",
    }
    assert jsonable(Path("a")) == "a"
    with pytest.raises(AttemptFailed, match=r"set '\{1\}' cannot be kept as JSON"):
        jsonable({1})


def test_metadata_that_no_statement_could_carry_fail_the_attempt() -> None:
    with pytest.raises(AttemptFailed, match="the metadata have 2,097,164 bytes as JSON, more than 2,097,152"):
        as_json({"text": "x" * LARGEST})


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()], ids=["sqlite", "postgresql"])
def test_times_that_are_equal_to_python_and_an_hour_apart_are_stored_apart(dialect: Dialect) -> None:
    """As when the clocks are put back."""
    store = UtcDateTime().bind_processor(dialect)
    assert store is not None
    berlin = ZoneInfo("Europe/Berlin")
    first, second = (datetime(2026, 10, 25, 2, 30, tzinfo=berlin, fold=fold) for fold in (0, 1))
    assert first == second
    told = [store(time.astimezone(UTC)) for time in (first, second)]
    assert [store(first), store(second)] == told
    assert told[0] != told[1]
