"""A transaction that the database breaks off for another's sake begins anew, whoever opened it."""

import ast
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update

from carbonation_core.db import engine as engine_module
from carbonation_core.db import locks, meters, sqlite, tallies
from carbonation_core.db.engine import ATTEMPTS, LOCK_WAIT, make_engine, reading, repeatable, within, writing
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


def test_it_is_not_tried_again_when_there_is_no_time_left() -> None:
    tried = []

    @repeatable
    def overtaken() -> None:
        tried.append(1)
        raise Overtaken

    with within(0), pytest.raises(Overtaken):
        overtaken()
    assert len(tried) == 1


@pytest.mark.skipif(not databases.SQLITE, reason="is about SQLite")
def test_who_has_no_time_left_does_not_wait_for_the_lock_of_sqlite(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "SILENCE", timedelta(0))
    asked = time.monotonic()
    with (
        writing(site.project.engine),
        within(0),
        pytest.raises(Overtaken, match="was busy with others for too long"),
    ):
        site.tick()
    assert time.monotonic() - asked < 30


@pytest.mark.skipif(not databases.SQLITE, reason="is about SQLite")
def test_a_wait_that_came_to_nothing_is_counted_with_the_next_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = site.project.engine
    monkeypatch.setattr(sqlite, "SILENCE", timedelta(milliseconds=meters.LEAST_WAIT * 1000))
    with writing(engine), within(0), pytest.raises(Overtaken), writing(engine):
        pass
    for waits in (False, True):  # one that is broken off itself keeps it for the next
        with suppress(ZeroDivisionError), writing(engine):
            _ = 1 / waits

    with reading(engine) as connection:
        sums = tallies.by_watch(connection)[tallies.NO_WATCH]
    assert meters.seconds_waited(sums)["database"] >= meters.LEAST_WAIT


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
                if len(begun) <= 2 and name == first:
                    both_hold_one.wait(30)

    others = threading.Thread(target=count, args=("b", "a"))
    others.start()
    count("a", "b")
    others.join()
    assert len(begun) > 2
    with writing(engine) as connection:
        assert locks.count_up(connection, "a", 0) == 21
        assert locks.count_up(connection, "b", 0) == 21


@pytest.mark.skipif(databases.SQLITE, reason="is about servers")
def test_whoever_waits_long_for_a_lock_hears_that_others_are_busy(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = site.project.engine
    shorter = [one.replace(str(LOCK_WAIT), "1") for one in engine_module._SET_UP[engine.dialect.name]]
    monkeypatch.setattr(engine_module, "_SET_UP", {engine.dialect.name: tuple(shorter)})
    impatient = make_engine(site.project.config.database)
    with writing(engine) as connection:
        locks.lock(connection, "a")
        with (
            pytest.raises(Overtaken, match="was busy with others for too long"),
            writing(impatient) as other,
        ):
            locks.lock(other, "a")
    with writing(impatient) as connection:
        locks.lock(connection, "b")
    with reading(engine) as connection:
        sums = tallies.by_watch(connection)[tallies.NO_WATCH]
    assert 0.9 < meters.seconds_waited(sums)["a"] < LOCK_WAIT
    impatient.dispose()


@pytest.mark.skipif(
    databases.SERVER is None or "postgres" not in str(databases.SERVER), reason="of PostgreSQL"
)
def test_a_server_and_a_client_give_up_an_answer_that_nobody_acknowledges(site: Site) -> None:
    with writing(site.project.engine) as connection:
        bounds = ("tcp_user_timeout", "tcp_keepalives_idle", "idle_in_transaction_session_timeout")
        shown = [connection.execute(text(f"SHOW {one}")).scalar_one() for one in bounds]
        driver: Any = connection.connection.dbapi_connection
    assert shown == ["60000", "30", "5min"]
    assert driver.get_dsn_parameters()["tcp_user_timeout"] == "60000"
