"""How rows are printed, however many there are."""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import Enum
from typing import Any
from uuid import UUID

import click
import pytest

from carbonation_dagster.cli.printing import WRITERS
from carbonation_dagster.cli.text_table import text_table

MANY = 100_000


@pytest.mark.parametrize("form", WRITERS)
def test_no_form_holds_more_than_a_portion_of_the_rows(form: str) -> None:
    given = 0

    def rows() -> Iterator[Mapping[str, Any]]:
        nonlocal given
        for number in range(MANY):
            given = number + 1
            yield {"name": f"run{number}"}

    ahead = 0
    lines = 0
    for portion in WRITERS[form](["name"], rows()):
        lines += portion.count("\n")
        ahead = max(ahead, given - lines)
    assert given == MANY
    assert ahead <= 1001


def test_a_column_gets_wider_when_a_later_row_needs_it() -> None:
    rows = [("a", "1")] * 1000 + [("a much longer one", "2")]
    lines = list(text_table(("name", "n"), rows))
    assert len(lines) == 1002
    assert lines[1] == "a     1"
    assert lines[-1] == "a much longer one  2"


def test_a_table_without_rows_has_its_headings() -> None:
    (line,) = text_table(("name", "number"), [])
    assert click.unstyle(line) == "name  number"


def test_numbers_are_aligned_on_the_right() -> None:
    assert list(text_table(("n", "name"), [("1", "a"), ("-10.5", "b"), ("", "c")]))[1:] == [
        "    1  a",
        "-10.5  b",
        "       c",
    ]


class Colour(Enum):
    RED = 1


def test_ids_spans_and_members_are_printed_as_json_has_them() -> None:
    row = {"id": UUID(int=1), "late": timedelta(minutes=90), "colour": Colour.RED}
    printed = {form: "".join(write(list(row), [row])).splitlines()[-1] for form, write in WRITERS.items()}
    assert printed["csv"] == "00000000-0000-0000-0000-000000000001,PT1H30M,RED"
    assert printed["table"].split() == printed["csv"].split(",")
    (found,) = json.loads("".join(WRITERS["json"](list(row), [row])))
    assert list(found.values()) == printed["csv"].split(",")
