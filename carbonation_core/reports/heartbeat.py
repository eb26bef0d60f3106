"""The heartbeat of whoever does the work: the service, or a pass by cron or by hand."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from carbonation_core.db import service
from carbonation_core.db.engine import reading, repeatable, writing
from carbonation_core.db.service import PartState
from carbonation_core.process import host_name, is_dead, this_process
from carbonation_core.project import Project

SERVICE, PASS = "service", "pass"
_OF_SERVICE = "service:"  # what the names of its parts begin with


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
    ended.
    """

    started_at: datetime
    last_heartbeat: datetime
    is_running: bool
    is_dead: bool
    host: str
    pid: int | None
    ui: str | None
    errors: tuple[str, ...]


def begin(project: Project, part: str, ui: str | None = None, reports: Sequence[PartReport] = ()) -> None:
    """Say that this process begins to work as that part; `reports` are of the parts of the service."""
    _say(project, part, {"running": True, "ui": ui}, reports, started=True)


def beat(project: Project, part: str, ui: str | None = None, reports: Sequence[PartReport] = ()) -> None:
    """Say that it still does."""
    _say(project, part, {"running": True, "ui": ui}, reports)


def end(project: Project, part: str, errors: Sequence[str] = ()) -> None:
    """Say that it has ended, and what went wrong in it."""
    _say(project, part, {"running": False, "errors": list(errors)})


def has_ended(project: Project, part: str) -> bool:
    """Whether whoever worked as that part last has said that it ended; true before the first time."""
    with reading(project.engine) as connection:
        last = worker(service.get(connection, part))
    return last is None or not last.is_running


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
    details = {"process": this_process(part), "pid": os.getpid(), "host": host_name(), **more}
    now = project.clock()
    with writing(project.engine) as connection:
        if part == SERVICE and started:
            service.forget(connection, _OF_SERVICE)
        service.say(connection, part, now, details, started=started)
        for one in reports:
            if one.answered_at is not None:
                said = {
                    "pid": one.pid,
                    "well": one.is_well,
                    "starts": one.starts,
                    "trouble": one.trouble,
                }
                service.say(connection, _OF_SERVICE + one.name, one.answered_at, said)
