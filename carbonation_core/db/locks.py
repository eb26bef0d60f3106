"""Rows whose lock keeps use cases apart, and counters that nobody counts beside."""

from sqlalchemy import Connection, select, update

from carbonation_core.db.engine import insert_new
from carbonation_core.db.models import LONGEST_COUNTER, Counter, path_digest
from carbonation_core.db.service import part_of_watch


def lock_watch(connection: Connection, watch_name: str) -> None:
    """Wait until nobody else changes which groups of that watch there are, and whose they are."""
    lock(connection, part_of_watch(watch_name))


def lock(connection: Connection, name: str) -> None:
    """Wait until no other transaction holds the lock of that name, and hold it till the end."""
    count_up(connection, name, 1)


def count_up(connection: Connection, name: str, by: int) -> int:
    """Hold the lock of that name, and count it up; returns the new value."""
    name = name if len(name) <= LONGEST_COUNTER else path_digest(name)
    counter = update(Counter).where(Counter.name == name).values(value=Counter.value + by)
    if connection.execute(counter).rowcount == 0:
        connection.execute(insert_new(connection, Counter).values(name=name, value=0))
        connection.execute(counter)
    return connection.execute(select(Counter.value).where(Counter.name == name)).scalar_one()
