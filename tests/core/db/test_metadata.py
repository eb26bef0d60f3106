"""What a database is given to keep, and what it refuses, on each of them."""

import enum
import logging
import re
from collections import UserDict
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Enum, Interval, Numeric, String, Uuid
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, UserDefinedType

from carbonation_core import Database, Plugin
from carbonation_core.db.engine import reading
from carbonation_core.db.metadata import of_groups
from carbonation_core.db.models import FileBase
from carbonation_core.errors import QueryError
from carbonation_core.pipeline.work import Outcome
from tests.site import Site, SiteMaker

RULES = '[single]\n[single.metadata]\nextract = "by_name"\n'
ONE = UUID("12345678-1234-5678-1234-567812345678")
LATE = timedelta(days=-1, seconds=90)


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Short(UserDefinedType[str]):
    """A type that only the database knows the limits of."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "VARCHAR(5) CHECK (length(code) < 6)"


class Station(TypeDecorator[str]):
    """A type that the plugin checks itself."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        if value == "nowhere":
            raise LookupError("there is no such station")
        return value


class File(FileBase):
    __tablename__ = "files"

    price: Mapped[Decimal | None] = mapped_column(Numeric(12, 3))
    word: Mapped[str | None] = mapped_column(Enum("red", "green", name="word"))
    colour: Mapped[Colour | None] = mapped_column(Enum(Colour))
    uuid: Mapped[UUID | None] = mapped_column(Uuid())
    late: Mapped[timedelta | None] = mapped_column(Interval())
    count: Mapped[int | None]
    start: Mapped[datetime | None]
    note: Mapped[str | None]
    tags: Mapped[dict[str, Any] | None]
    code: Mapped[str | None] = mapped_column(Short())
    station: Mapped[str | None] = mapped_column(Station())


class Unreadable(UserDict[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise OSError("the file behind it is closed")


# What is returned for a file of each name, and what is said of it.
REFUSED: dict[str, tuple[Any, str]] = {
    "price": ({"price": 1e12}, 'column "price" takes a number of at most 9 digits before the point'),
    "huge": ({"count": 10**5000}, 'column "count" takes an int of 64 bits, not int'),
    "nan": ({"price": Decimal("sNaN")}, 'column "price" takes a number of at most 9 digits before the point'),
    "word": ({"word": "blue"}, 'column "word" takes one of "green", "red", not str'),
    "deep": (
        {"tags": {"a": [[[[]]] * 3] * 3} | {"b": eval("[" * 40 + "]" * 40)}},
        'column "tags" takes a dict',
    ),
    "mapping": (Unreadable(a=1), 'extractor "by_name" raised OSError: the file behind it is closed'),
    "mass": ({"tags": {"a": ["x" * 1000] * 3000}}, "the metadata have 3,0"),
    "code": (
        {"code": "too long"},
        "the database refuses the metadata: .*(CHECK constraint failed|too long)",
    ),
    "station": (
        {"station": "nowhere"},
        "the database refuses the metadata: LookupError: there is no such station",
    ),
}
FINE = {
    "price": Decimal("1.500"),
    "word": "red",
    "colour": Colour.GREEN,
    "uuid": ONE,
    "late": LATE,
    "code": "a",
    "station": "here",
}


def by_name(file_paths: list[Path]) -> Any:
    if file_paths[0].stem == "long":
        return {"note": "x" * 170_000}
    return REFUSED.get(file_paths[0].stem, (FINE, ""))[0]


PLUGIN = Plugin(File, extractors={"by_name": by_name})


@pytest.fixture
def site(make: SiteMaker) -> Site:
    return make(RULES, plugin=PLUGIN, service={"single_group_runs": "0"})


def test_what_no_column_takes_fails_its_group_and_no_other(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.deliver(*(f"{name}.bin" for name in (*REFUSED, "good", "better")))
    with caplog.at_level(logging.WARNING):
        site.one_pass()
    (report,) = site.reports
    assert {group.group_key for group in report.with_outcome(Outcome.ARCHIVED)} == {"good.bin", "better.bin"}
    for name, (_, said) in REFUSED.items():
        component = site.component(f"{name}.bin")
        assert (component.status, component.retry_count) == ("retry_pending", 1)
        assert re.match(said, component.error_message)
        assert "\n" not in component.error_message
        assert "UPDATE" not in component.error_message
    assert "Traceback" not in caplog.text


def test_text_may_be_as_long_as_the_database_takes_it(site: Site) -> None:
    site.deliver("long.bin")
    site.one_pass()
    component = site.component("long.bin")
    if site.project.engine.dialect.name in ("mysql", "mariadb"):
        assert component.error_message.startswith(
            'column "note" takes UTF-8 text of at most 65,535 bytes, not'
        )
    else:
        assert component.status == "archived"


def test_ids_spans_and_members_come_back_as_they_were_and_can_be_asked_for(site: Site) -> None:
    site.deliver("good.bin")
    site.one_pass()
    database = Database(site.project)
    (row,) = database.query_files({"uuid": str(ONE), "colour": "GREEN", "word": "red", "late_max": "PT0S"})
    assert {name: row[name] for name in FINE} == FINE
    assert row["metadata"] == {
        "price": "1.500",
        "word": "red",
        "code": "a",
        "station": "here",
        "colour": "GREEN",
        "uuid": str(ONE),
        "late": "-PT23H58M30S",
    }
    with reading(site.project.engine) as connection:
        assert of_groups(connection, File, [row["id"]]) == {row["id"]: FINE}
    for others in ({"uuid": UUID(int=1)}, {"colour": Colour.RED}, {"late_min": "1s"}, {"late": timedelta(1)}):
        assert database.query_files(others) == []
    for unknown in ({"colour": "BLUE"}, {"uuid": "1"}, {"late": 5}, {"late_max": timedelta.max}):
        with pytest.raises(QueryError):
            database.query_files(unknown)


def test_members_and_spans_stand_in_a_path_as_in_json(make: SiteMaker) -> None:
    site = make(
        RULES + '[[single.selection]]\nfield = "colour"\nmatches = ["^GREEN$"]\n',
        plugin=PLUGIN,
        archive={"destination": '"archive/{colour}/{late}/{uuid:.8}"'},
    )
    site.deliver("good.bin")
    site.one_pass()
    assert list(site.archived()) == ["GREEN/-PT23H58M30S/12345678/good.bin"]
