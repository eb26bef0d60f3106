"""Rows whose lock keeps use cases apart, counters that nobody counts beside, and leases."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import DBAPIError

from carbonation_core.db import meters
from carbonation_core.db.engine import database_now, insert_new
from carbonation_core.db.models import LONGEST_COUNTER, Counter, Lease, path_digest
from carbonation_core.db.service import part_of_watch
from carbonation_core.process import host_name, is_dead

HEAD_LEASE = timedelta(seconds=45)  # so that another works within a minute after a head has died


@dataclass(frozen=True, slots=True)
class Held:
    """Who has a lease, on which host, and since when."""

    holder: str
    host: str
    since: datetime


def lock_watch(connection: Connection, watch_name: str) -> None:
    """Wait until nobody else changes which groups of that watch there are, and whose they are."""
    lock(connection, part_of_watch(watch_name))


def lock(connection: Connection, name: str) -> None:
    """Wait until no other transaction holds the lock of that name, and hold it till the end."""
    count_up(connection, name, 1)


def count_up(connection: Connection, name: str, by: int) -> int:
    """Hold the lock of that name, and count it up; returns the new value."""
    lock, name = name, name if len(name) <= LONGEST_COUNTER else path_digest(name)
    counter, asked = update(Counter).where(Counter.name == name).values(value=Counter.value + by), monotonic()
    try:
        if connection.execute(counter).rowcount == 0:
            connection.execute(insert_new(connection, Counter).values(name=name, value=0))
            connection.execute(counter)
    except DBAPIError:
        meters.waited_in_vain(connection.engine, lock, monotonic() - asked)
        raise
    meters.waited(connection, lock, monotonic() - asked)
    return connection.execute(select(Counter.value).where(Counter.name == name)).scalar_one()


def lease(connection: Connection, name: str, length: timedelta) -> Held | None:
    """Who has the lease of that name, each of whose terms has that length; None: nobody.

    One that ends later than a term that begins now is from a clock that was wrong,
    and holds no more. Nor does that of a process which has surely ended.
    """
    now = database_now(connection)
    query = select(Lease.holder, Lease.host, Lease.since).where(
        Lease.name == name, Lease.until >= now, Lease.until <= now + length
    )
    found = connection.execute(query).first()
    return None if found is None or is_dead(found.holder) else Held(*found)


def lease_of_head(site: str) -> str:
    """The name of the lease that the head of a site has, for a `HEAD_LEASE`."""
    return f"service/{site}"


def hold(connection: Connection, name: str, holder: str, length: timedelta) -> Held:
    """Have the lease of that name for another term, unless somebody else has it; who does."""
    lock(connection, name)
    before, now = lease(connection, name, length), database_now(connection)
    if before is not None and before.holder != holder:
        return before
    held = before or Held(holder, host_name(), now)
    values = {"holder": holder, "host": held.host, "since": held.since, "until": now + length}
    if connection.execute(update(Lease).where(Lease.name == name).values(values)).rowcount == 0:
        connection.execute(insert(Lease).values(name=name, **values))
    return held


def let_go(connection: Connection, name: str, holder: str) -> None:
    """Have nobody hold the lease of that name, if it is `holder`'s."""
    connection.execute(delete(Lease).where(Lease.name == name, Lease.holder == holder))
