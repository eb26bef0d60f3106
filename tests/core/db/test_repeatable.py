"""A transaction that the database breaks off for another's sake begins anew, whoever opened it."""

import ast
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from carbonation_core.db import locks
from carbonation_core.db.engine import ATTEMPTS, repeatable, writing
from carbonation_core.db.models import Counter
from carbonation_core.errors import Overtaken
from tests import databases
from tests.site import Site

CORE = Path(__file__).parents[3] / "carbonation_core"


def calls(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.Call):
            name = one.func
            yield name.id if isinstance(name, ast.Name) else getattr(name, "attr", "")


def not_repeatable(file: Path) -> set[str]:
    """Functions that open a transaction that writes, and not by way of a private one that they alone call."""
    functions = [
        (node.name, set(calls(node)))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and "repeatable" not in {getattr(one, "id", "") for one in node.decorator_list}
    ]
    opening = {"writing"}
    while more := {name for name, called in functions if called & opening} - opening:
        opening |= more
    return {name for name in opening - {"writing"} if not name.startswith("_")}


def test_every_use_case_that_writes_can_begin_anew() -> None:
    lacking = []
    for file in sorted(CORE.rglob("*.py")):
        if file.parent.name != "db":  # where transactions are made
            lacking += [f"{file.name}: {name}" for name in not_repeatable(file)]
    assert lacking == []


def test_it_is_tried_so_often_and_told_then() -> None:
    tried = []

    @repeatable
    def overtaken() -> None:
        tried.append(1)
        raise Overtaken

    with pytest.raises(Overtaken):
        overtaken()
    assert len(tried) == ATTEMPTS


@pytest.mark.skipif(databases.SQLITE, reason="has one writer at a time")
def test_two_that_wait_for_each_other_both_come_to_their_end(site: Site) -> None:
    engine = site.project.engine
    with writing(engine) as connection:
        for name in ("a", "b"):
            locks.lock(connection, name)
    both_hold_one = threading.Barrier(2)
    begun: list[str] = []

    @repeatable
    def count(first: str, second: str) -> None:
        begun.append(first)
        with writing(engine) as connection:
            for name in (first, second):
                connection.execute(
                    update(Counter).where(Counter.name == name).values(value=Counter.value + 10)
                )
                if len(begun) == 2 and name == first:
                    both_hold_one.wait(30)

    others = threading.Thread(target=count, args=("b", "a"))
    others.start()
    count("a", "b")
    others.join()
    assert len(begun) > 2
    with writing(engine) as connection:
        assert locks.count_up(connection, "a", 0) == 21
        assert locks.count_up(connection, "b", 0) == 21
