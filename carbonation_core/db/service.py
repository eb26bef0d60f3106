"""What the parts of the service last said of themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select, update

from carbonation_core.db.engine import insert_new
from carbonation_core.db.models import ServiceState


@dataclass(frozen=True, slots=True)
class PartState:
    """A part's last word."""

    part: str
    started_at: datetime
    last_heartbeat: datetime
    details: Mapping[str, Any]


def part_of_watch(watch_name: str) -> str:
    """The watch as a part of the service: its lock and its heartbeat go by this name."""
    return f"watch:{watch_name}"


def get(connection: Connection, part: str) -> PartState | None:
    """What that part last said."""
    return parts(connection, part).get(part)


def parts(connection: Connection, prefix: str = "") -> dict[str, PartState]:
    """What every part whose name begins so last said."""
    query = select(
        ServiceState.part, ServiceState.started_at, ServiceState.last_heartbeat, ServiceState.details
    ).where(ServiceState.part.startswith(prefix, autoescape=True))
    return {row.part: PartState(*row) for row in connection.execute(query)}


def say(
    connection: Connection,
    part: str,
    now: datetime,
    details: Mapping[str, Any],
    *,
    started: bool = False,
) -> None:
    """Note that the part is alive; `started` begins its life anew."""
    values = {"last_heartbeat": now, "details": dict(details)}
    if started:
        values["started_at"] = now
    saying = update(ServiceState).where(ServiceState.part == part).values(values)
    if connection.execute(saying).rowcount == 0:
        first = {"part": part, "started_at": now, **values}
        connection.execute(insert_new(connection, ServiceState).values(first))
        connection.execute(saying)


def forget(connection: Connection, prefix: str) -> None:
    """Forget every part whose name begins so."""
    connection.execute(delete(ServiceState).where(ServiceState.part.startswith(prefix, autoescape=True)))
