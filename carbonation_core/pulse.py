"""The heartbeat of whoever does the work: the service, or a pass by cron or by hand."""

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from carbonation_core.db import service
from carbonation_core.db.engine import writing
from carbonation_core.db.service import PartState
from carbonation_core.owner import is_dead, this_process
from carbonation_core.project import Project

SERVICE, PASS = "service", "pass"


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


def begin(project: Project, part: str, ui: str | None = None) -> None:
    """Say that this process begins to work as that part."""
    _say(project, part, {"running": True, "ui": ui}, started=True)


def beat(project: Project, part: str, ui: str | None = None) -> None:
    """Say that it still does."""
    _say(project, part, {"running": True, "ui": ui})


def end(project: Project, part: str, errors: Sequence[str] = ()) -> None:
    """Say that it has ended, and what went wrong in it."""
    _say(project, part, {"running": False, "errors": list(errors)})


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


def _say(project: Project, part: str, more: Mapping[str, Any], *, started: bool = False) -> None:
    details = {"process": this_process(part), "pid": os.getpid(), "host": socket.gethostname(), **more}
    with writing(project.engine) as connection:
        service.say(connection, part, project.clock(), details, started=started)
