"""What the parts of the service last said of themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from carbonation_core.db.models import ServiceState


@dataclass(frozen=True, slots=True)
class PartState:
    """A part's last word."""

    part: str
    started_at: datetime
    last_heartbeat: datetime
    details: Mapping[str, Any]


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
    statement = update(ServiceState).where(ServiceState.part == part).values(values)
    if connection.execute(statement).rowcount == 0:
        connection.execute(
            insert(ServiceState).values(
                part=part, started_at=now, **{k: v for k, v in values.items() if k != "started_at"}
            )
        )
