"""What the table of `make bench` says."""

import json

from tests.bench.table import Row, as_json, line, markdown


def test_a_row_says_figure_floor_target_and_whether_it_holds() -> None:
    row = Row("a pass: time", 20.25, "s", 4.04, "`cp`", 30.3, others=0.04)
    assert line(row) == "| a pass: time | 20.2 s | 4.04 (`cp`) | ≤ 30.3 | yes | 0.0 |"


def test_a_rate_is_to_be_at_least_its_target() -> None:
    missed = Row("a burst: rate", 107.4, "groups/s", 1790.6, "`cp`", 350, at_least=True, others=1.52)
    assert line(missed) == "| a burst: rate | 107 groups/s | 1,791 (`cp`) | ≥ 350 | **no** | 1.5 |"


def test_a_figure_without_a_target_neither_holds_nor_fails() -> None:
    row = Row("to purge a run", 0.0, "ms")
    assert row.holds is None
    assert line(row) == "| to purge a run | 0 ms |  |  |  | 0.0 |"


def test_programs_read_the_same_rows_as_people() -> None:
    rows = [Row("a", 1, "s", target=2), Row("b", 3, "s", target=2)]
    found = json.loads(as_json(rows, "two cores"))
    assert [(row["work"], row["figure"], row["holds"]) for row in found["rows"]] == [
        ("a", 1, True),
        ("b", 3, False),
    ]
    assert markdown(rows, "two cores").splitlines()[:2] == ["two cores", ""]
