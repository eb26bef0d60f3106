"""The heartbeat of whoever does the work: the service, or a pass by cron or by hand."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from carbonation_core.db import service
from carbonation_core.db.engine import Connection, reading, repeatable, writing
from carbonation_core.db.locks import lock
from carbonation_core.db.service import PartState
from carbonation_core.errors import CarbonationError, DatabaseError
from carbonation_core.process import host_name, is_dead, this_process
from carbonation_core.project import Project, release
from carbonation_core.text import ago

SERVICE, PASS = service.SERVICE, service.PASS
WORKERS = (SERVICE, PASS, service.WORKER, service.STANDBY)  # parts of which each host has its own
GONE_AFTER = timedelta(days=1)  # of silence: the host of a worker is no more, as a container's
_OF_SERVICE = "service:"  # what the names of its parts begin with


class NameTakenError(CarbonationError):
    """A worker on a host of the same name speaks, too."""


@dataclass(frozen=True, slots=True)
class PartReport:
    """How a part of the service does.

    `answered_at` is its last sign of life, `starts` counts all the processes
    that it has had since the service was started. `trouble` says what is in its
    way while it lives.
    """

    name: str
    pid: int | None
    is_well: bool
    answered_at: datetime | None
    starts: int
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Worker:
    """What the service, or a pass, last said of itself.

    `is_running`: it began and did not say that it ended. `is_dead`: it says so
    no more, as its process has surely gone. `errors` are those of a pass that
    ended. `uses_queue`: its runs are for workers that take them from a queue.
    """

    started_at: datetime
    last_heartbeat: datetime
    is_running: bool
    is_dead: bool
    host: str
    pid: int | None
    ui: str | None
    errors: tuple[str, ...]
    release: str = ""
    uses_queue: bool = False


def begin(
    project: Project,
    part: str,
    more: Mapping[str, Any] | None = None,
    reports: Sequence[PartReport] = (),
) -> None:
    """Say that this process begins to work as that part, and `more` of itself; `reports` are of its parts."""
    _say(project, part, {"running": True, **(more or {})}, reports, started=True)


def beat(
    project: Project,
    part: str,
    more: Mapping[str, Any] | None = None,
    reports: Sequence[PartReport] = (),
) -> None:
    """Say that it still does."""
    _say(project, part, {"running": True, **(more or {})}, reports)


class Pulse:
    """Says now and then that a part still lives, which began when this was made.

    A word that fails is left out. `interval`: seconds between two.
    """

    def __init__(self, project: Project, part: str) -> None:
        self._project, self._part = project, part
        self.interval = project.config.service.heartbeat_interval.total_seconds()
        self._due = project.clock() + project.config.service.heartbeat_interval

    def beat_when_due(self) -> None:
        """Say so, once in each `heartbeat_interval`."""
        now = self._project.clock()
        if now < self._due:
            return
        with suppress(DatabaseError):
            beat(self._project, self._part)
            self._due = now + self._project.config.service.heartbeat_interval


def end(project: Project, part: str, errors: Sequence[str] = ()) -> None:
    """Say that it has ended, and what went wrong in it."""
    _say(project, part, {"running": False, "errors": list(errors)})


@repeatable
def forget(project: Project, part: str) -> None:
    """Have it as if that part had never been here, unless another process is it by now."""
    site, host = project.config.service.site_name, host_name()
    with writing(project.engine) as connection:
        last = service.get(connection, part, site, host)
        if last is not None and last.details.get("process") == this_process(part):
            service.forget(connection, part, site, host)


def has_ended(project: Project, part: str) -> bool:
    """Whether whoever worked here as that part last has said that it ended; true before the first time."""
    with reading(project.engine) as connection:
        last = worker(service.get(connection, part, project.config.service.site_name, host_name()))
    return last is None or not last.is_running


def of_site(parts: Iterable[PartState], site: str) -> dict[str, PartState]:
    """What the parts of a site last said, and what was said of watches, by their names.

    Of a service, or passes, of several hosts that is the one that runs, or was heard last.
    """
    ours = [part for part in parts if part.site in ("", site)]
    last: dict[str, PartState] = {}
    for part in sorted(ours, key=lambda one: (bool(one.details.get("running")), one.last_heartbeat)):
        if part.part in (SERVICE, PASS):
            last[part.part] = part
    head = last[SERVICE].host if SERVICE in last else ""
    others = {part.part: part for part in ours if part.host in ("", head) and part.part not in WORKERS}
    return others | last


def service_of(project: Project) -> Worker | None:
    """What the service of this site last said of itself; None before its first start."""
    site = project.config.service.site_name
    with reading(project.engine) as connection:
        return worker(of_site(service.parts(connection, site), site).get(SERVICE))


def reports_of(parts: Mapping[str, PartState]) -> list[PartReport]:
    """What the service last said of its parts."""
    return [report(part) for name, part in sorted(parts.items()) if name.startswith(_OF_SERVICE)]


def report(part: PartState) -> PartReport:
    """What the service last said of one of its parts."""
    details = part.details
    return PartReport(
        name=part.part.removeprefix(_OF_SERVICE),
        pid=details.get("pid"),
        is_well=bool(details.get("well")),
        answered_at=part.last_heartbeat,
        starts=int(details.get("starts", 0)),
        trouble=details.get("trouble"),
    )


def worker(part: PartState | None) -> Worker | None:
    """What a part's state means; None before its first start."""
    if part is None:
        return None
    details = part.details
    process = str(details.get("process", ""))
    running = bool(details.get("running"))
    return Worker(
        started_at=part.started_at,
        last_heartbeat=part.last_heartbeat,
        is_running=running,
        is_dead=running and is_dead(process),
        host=str(details.get("host", "")),
        pid=details.get("pid"),
        ui=details.get("ui"),
        errors=tuple(details.get("errors", ())),
        release=str(details.get("release", "")),
        uses_queue=bool(details.get("uses_queue")),
    )


@repeatable
def _say(
    project: Project,
    part: str,
    more: Mapping[str, Any],
    reports: Sequence[PartReport] = (),
    *,
    started: bool = False,
) -> None:
    settings, host = project.config.service, host_name()
    site, silence = settings.site_name, settings.allowed_silence.total_seconds()
    process = {"process": this_process(part), "pid": os.getpid(), "host": host}
    details = {**process, "release": release(), "silence": silence, **more}
    now = project.clock()
    with writing(project.engine) as connection:
        if part == service.WORKER:
            if started:  # two may begin at the same moment
                lock(connection, f"{part}/{site}/{host}")
            _require_own_name(connection, site, host, now)
        if started:
            service.forget(connection, part, "", "")  # of a release that did not say where
        if part == SERVICE:
            if started:
                _forget_heads(connection, site, host)
            _forget_gone(connection, site, now, timedelta(0) if started else GONE_AFTER)
        service.say(connection, part, now, details, site=site, host=host, started=started)
        for one in reports:
            if one.answered_at is not None:
                said = {
                    "pid": one.pid,
                    "well": one.is_well,
                    "starts": one.starts,
                    "trouble": one.trouble,
                }
                name = _OF_SERVICE + one.name
                service.say(connection, name, one.answered_at, said, site=site, host=host)


def _require_own_name(connection: Connection, site: str, host: str, now: datetime) -> None:
    """Raise `NameTakenError` where another process than this is the worker of that host, and may live."""
    last = service.get(connection, service.WORKER, site, host)
    process = str(last.details.get("process", "")) if last is not None else ""
    if last is None or process == this_process(service.WORKER):
        return
    if not last.is_silent(now) and not is_dead(process):
        heard = ago(now - last.last_heartbeat)
        raise NameTakenError(
            f"another worker of site {site} is on a host that is called {host}, too, and was heard {heard} "
            "ago; give each host a name of its own"
        )


def _forget_heads(connection: Connection, site: str, host: str) -> None:
    """Forget the parts of a service that was here before, and heads before this one."""
    service.forget(connection, _OF_SERVICE, site, host)
    for one in service.parts(connection, site):
        if one.part == SERVICE and one.host != host:
            service.forget(connection, one.part, site, one.host)


def _forget_gone(connection: Connection, site: str, now: datetime, after: timedelta) -> None:
    """Forget the workers, and who stood by, that have been silent for so long, or have ended."""
    for one in service.parts(connection, site):
        is_long_silent = one.is_silent(now) and now - one.last_heartbeat > after
        is_over = is_long_silent or not one.details.get("running")
        if one.part in (service.WORKER, service.STANDBY) and is_over:
            service.forget(connection, one.part, site, one.host)
