"""How rows are printed, however many there are."""

from collections.abc import Iterator, Mapping
from typing import Any

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


def test_a_narrow_table_has_fewer_columns_and_whole_words() -> None:
    rows = [("incoming", "2026-01-01 12:00:00 UTC", "it waits for the second of its files to arrive")]
    table = [*text_table(("watch", "seen", "why"), rows, width=60, spare=("seen",))]
    assert click.unstyle(table[0]) == "watch     why"
    assert table[1:] == ["incoming  it waits for the second of its files to arrive"]
    assert [*text_table(("watch", "why"), [(row[0], row[2]) for row in rows], width=40)][1:] == [
        "incoming  it waits for the second of its",
        "          files to arrive",
    ]
    assert "2026" in [*text_table(("watch", "seen", "why"), rows, spare=("seen",))][1]


def test_where_sentences_have_no_room_they_stand_beneath_their_row() -> None:
    headings = ("file", "tries", "why", "waits")
    rows = [("run1.dat", "2", "the file says it is broken", "for another attempt"), ("run2.dat", "0", "", "")]
    table = [
        click.unstyle(line) for line in text_table(headings, rows, width=20, spare=("tries",), beneath=2)
    ]
    assert table == [
        "file      tries",
        "run1.dat      2",
        "    the file says it",
        "    is broken",
        "    for another",
        "    attempt",
        "run2.dat      0",
    ]
