"""What the parts of the service last said of themselves."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Self

from sqlalchemy import Connection, delete, select, update

from carbonation_core.db.engine import insert_new
from carbonation_core.db.models import ServiceState

_TIMES = frozenset({"counted_at", "last_new", "board_due_at"})  # of a watch's details, in ISO 8601


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


@dataclass(frozen=True, slots=True)
class WatchState:
    """What the last look at a watch said: the details of the watch as a part.

    `files` lie there; `error` says why it cannot be looked
    at. `counted_at`: when the sums beside the rows were counted from them;
    `last_new`: when something was last delivered. `found_by_event` deliveries were
    told of by a file event, `found_by_scan` only found by a look. `listens`: whether
    events come, None before anybody listened; `trouble` says why not if they should.
    `unrecorded` says which files the database refuses. `board_digest`: of what was
    expected, `board_due_at`: when time alone next changes something on the board.
    """

    rules_digest: str | None = None
    files: int | None = None
    error: str | None = None
    counted_at: datetime | None = None
    last_new: datetime | None = None
    found_by_event: int = 0
    found_by_scan: int = 0
    listens: bool | None = None
    trouble: str | None = None
    unrecorded: str | None = None
    board_digest: str | None = None
    board_due_at: datetime | None = None

    @classmethod
    def from_details(cls, details: Mapping[str, Any]) -> Self:
        """What `to_details` wrote, perhaps that of an earlier release which knew less."""
        known: dict[str, Any] = {one.name: details[one.name] for one in fields(cls) if one.name in details}
        times = {name: known[name] and datetime.fromisoformat(known[name]) for name in _TIMES & known.keys()}
        return cls(**known | times)

    def to_details(self) -> dict[str, Any]:
        """As JSON holds it: times in ISO 8601."""
        details = asdict(self)
        return details | {name: details[name] and details[name].isoformat() for name in _TIMES}


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
