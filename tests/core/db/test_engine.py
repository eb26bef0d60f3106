"""What every connection gives, on each database, or says."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import (
    Engine,
    insert,
    select,
    text,
)

from carbonation_core.config.sections import DatabaseSection
from carbonation_core.db import locks
from carbonation_core.db.engine import make_engine, reading, repeatable, writing
from carbonation_core.db.migrate import upgrade
from carbonation_core.db.models import Counter
from carbonation_core.errors import ConfigError, DatabaseError
from tests import databases


def test_names_that_differ_in_bytes_differ_in_the_database(engine: Engine) -> None:
    upgrade(engine, None)
    with writing(engine) as connection:
        for name in ("a", "A", "a ", "ä", "a\u0308"):
            connection.execute(insert(Counter).values(name=name, value=len(name)))
        found = select(Counter.name).where(Counter.name == "a")
        assert list(connection.execute(found).scalars()) == ["a"]


def test_the_first_lock_of_a_name_is_held_by_one_at_a_time(section: DatabaseSection) -> None:
    engine = make_engine(section)
    upgrade(engine, None)

    @repeatable
    def count_one(_: int) -> None:
        with writing(engine) as connection:
            locks.count_up(connection, "new", 1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count_one, range(40)))
    with reading(engine) as connection:
        assert connection.execute(select(Counter.value).where(Counter.name == "new")).scalar() == 40
    engine.dispose()


def test_a_server_that_cannot_be_reached_is_a_sentence(section: DatabaseSection) -> None:
    for wrong, said in (
        ({"port": 1}, "cannot be reached"),
        ({"name": "/no/such"}, "cannot be reached|is gone"),
    ):
        if databases.SQLITE and "port" in wrong:
            continue
        engine = make_engine(section.model_copy(update=wrong))
        with pytest.raises(DatabaseError, match=said), reading(engine) as connection:
            connection.execute(text("SELECT 1"))
        engine.dispose()


@pytest.mark.parametrize(
    ("drivername", "module", "extra"),
    [
        ("postgresql", "psycopg2", "postgresql"),
        ("postgresql+psycopg2", "psycopg2", "postgresql"),
        ("mysql", "MySQLdb", "mariadb"),
        ("mariadb+mysqldb", "MySQLdb", "mariadb"),
        ("mysql+pymysql", "pymysql", "pymysql"),
        ("mariadb+pymysql", "pymysql", "pymysql"),
    ],
)
def test_a_driver_that_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, drivername: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError) as raised:
        make_engine(DatabaseSection.model_validate({"drivername": drivername}))
    assert str(raised.value).endswith(f'is not installed; run: pip install "carbonation-dagster[{extra}]"')
    assert '[database]: key "drivername": the driver of' in str(raised.value)
