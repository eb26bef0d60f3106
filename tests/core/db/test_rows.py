"""Of rows that are stored together, exactly those are left out that the database refuses."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import text

from carbonation_core.config.sections import DatabaseSection
from carbonation_core.db.engine import Engine, make_engine, make_file, writing
from carbonation_core.db.rows import store_each
from carbonation_core.errors import DatabaseError


@pytest.fixture
def numbers(tmp_path: Path) -> Engine:
    """A database with one table, which takes no number below 0."""
    engine = make_engine(DatabaseSection(name=str(tmp_path / "numbers.db")))
    make_file(engine)
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE numbers (number INTEGER CHECK (number >= 0))"))
    return engine


def stored(engine: Engine, *rows: int) -> tuple[list[int], list[int]]:
    """Which of these rows are there, and which were refused."""

    def store(some: Sequence[int]) -> None:
        connection.execute(text("INSERT INTO numbers VALUES (:number)"), [{"number": row} for row in some])

    with writing(engine) as connection:
        refused = store_each(connection, rows, store)
        there = connection.execute(text("SELECT number FROM numbers ORDER BY number")).scalars().all()
    assert all("number >= 0" in words or "too large" in words for _, words in refused)
    return list(there), [row for row, _ in refused]


@pytest.mark.parametrize(
    "rows", [(), (1,), (-1,), (1, 2), (-1, 2), (1, -2, 3, 4, -5, 2**63, 7), (-1, -2, -3)]
)
def test_those_at_fault_are_left_out_and_all_others_stored(numbers: Engine, rows: tuple[int, ...]) -> None:
    taken = [row for row in rows if 0 <= row < 2**63]
    assert stored(numbers, *rows) == (sorted(taken), [row for row in rows if row not in taken])


def test_what_no_row_is_to_blame_for_is_raised(numbers: Engine) -> None:
    with writing(numbers) as connection:
        connection.execute(text("DROP TABLE numbers"))
    with pytest.raises(Exception, match="no such table"):
        stored(numbers, 1, 2)

    def store(some: object) -> None:
        raise DatabaseError("out of reach")

    with writing(numbers) as connection, pytest.raises(DatabaseError):
        store_each(connection, [1], store)
