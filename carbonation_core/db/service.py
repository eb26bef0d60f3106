"""What the parts of the service last said of themselves."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import Connection, Select, delete, select, update

from carbonation_core.db.engine import insert_new
from carbonation_core.db.models import ServiceState
from carbonation_core.process import is_dead, pid_of

_TIMES = frozenset({"counted_at", "last_new", "board_due_at"})  # of a watch's details, in ISO 8601


SERVICE, PASS = "service", "pass"  # who does the work of a site: a service, or a pass by cron or by hand
WORKER = "worker"  # takes runs of a service from a queue, on any host
STANDBY = "standby"  # a service that waits, as another host is the head of its site
_IN_FORCE = "configuration"  # no part, but which configuration holds at a site


@dataclass(frozen=True, slots=True)
class PartState:
    """A part's last word; `site` and `host` are empty where it is of none."""

    site: str
    host: str
    part: str
    started_at: datetime
    last_heartbeat: datetime
    details: Mapping[str, Any]

    @property
    def allowed_silence(self) -> timedelta:
        """How long its next word may take to come, as it said itself."""
        return timedelta(seconds=float(self.details.get("silence", 0)))

    def is_silent(self, now: datetime) -> bool:
        """Whether its next word should have come."""
        return now - self.last_heartbeat > self.allowed_silence


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
    `root` is where it looked.
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
    root: str | None = None

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


def get(connection: Connection, part: str, site: str = "", host: str = "") -> PartState | None:
    """What that part last said."""
    query = _all().where(ServiceState.site == site, ServiceState.host == host, ServiceState.part == part)
    return next((PartState(*row) for row in connection.execute(query)), None)


def parts(connection: Connection, *sites: str) -> list[PartState]:
    """What every part of these sites last said, of all sites if none is named."""
    query = (
        _all()
        .where(ServiceState.part != _IN_FORCE)
        .order_by(ServiceState.site, ServiceState.host, ServiceState.part)
    )
    if sites:
        query = query.where(ServiceState.site.in_(sites))
    return [PartState(*row) for row in connection.execute(query)]


def is_silent(connection: Connection, site: str, now: datetime) -> bool:
    """Whether that site had a service, and nobody there says any more that he works.

    One that has ended in good order is silent after a while, too.
    """
    known = [one for one in parts(connection, site) if one.part in (SERVICE, PASS)]
    return any(one.part == SERVICE for one in known) and all(one.is_silent(now) for one in known)


def at_work(connection: Connection, now: datetime) -> list[PartState]:
    """The services, passes and workers of all sites that work, as far as can be told from here."""
    kinds = (SERVICE, PASS, WORKER)
    known = [one for one in parts(connection) if one.part in kinds and one.details.get("running")]
    return [one for one in known if not _is_over(one, now)]


def accept(
    connection: Connection, site: str, digest: str, watches: Iterable[str], host: str, now: datetime
) -> None:
    """Have the configuration of that digest, with these watches, hold at a site whose service is there."""
    said = {"digest": digest, "watches": list(watches), "host": host}
    say(connection, _IN_FORCE, now, said, site=site)


def accepted_on(connection: Connection, site: str, digest: str, watch_name: str, now: datetime) -> str | None:
    """The host whose service has accepted another configuration than that for the watch, and works."""
    said = get(connection, _IN_FORCE, site)
    if said is None or said.details["digest"] == digest or watch_name not in said.details["watches"]:
        return None
    works = any(one.site == site and one.part == SERVICE for one in at_work(connection, now))
    return str(said.details["host"]) if works else None


def _is_over(part: PartState, now: datetime) -> bool:
    process = str(part.details.get("process", ""))
    return is_dead(process) or (pid_of(process) is None and part.is_silent(now))


def _all() -> Select[str, str, str, datetime, datetime, dict[str, Any]]:
    return select(
        ServiceState.site,
        ServiceState.host,
        ServiceState.part,
        ServiceState.started_at,
        ServiceState.last_heartbeat,
        ServiceState.details,
    )


def say(
    connection: Connection,
    part: str,
    now: datetime,
    details: Mapping[str, Any],
    *,
    site: str = "",
    host: str = "",
    started: bool = False,
) -> None:
    """Note that the part is alive; `started` begins its life anew."""
    values = {"last_heartbeat": now, "details": dict(details)}
    if started:
        values["started_at"] = now
    key = {"site": site, "host": host, "part": part}
    saying = update(ServiceState).filter_by(**key).values(values)
    if connection.execute(saying).rowcount == 0:
        first = {**key, "started_at": now, **values}
        connection.execute(insert_new(connection, ServiceState).values(first))
        connection.execute(saying)


def forget(connection: Connection, prefix: str, site: str, host: str) -> None:
    """Forget every part there whose name begins so."""
    connection.execute(
        delete(ServiceState).where(
            ServiceState.site == site,
            ServiceState.host == host,
            ServiceState.part.startswith(prefix, autoescape=True),
        )
    )
