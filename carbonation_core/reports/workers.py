"""The workers that take the runs of a site from a queue, by what they last said of themselves."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from carbonation_core.db import service
from carbonation_core.db.clock import SharedClock
from carbonation_core.db.engine import reading, repeatable, writing
from carbonation_core.db.service import WORKER, PartState
from carbonation_core.errors import QueryError
from carbonation_core.process import host_name, is_dead, pid_of, this_process
from carbonation_core.project import Project, rules_accepted
from carbonation_core.reports import heartbeat
from carbonation_core.rules.hosts import are_named, hosts_of
from carbonation_core.text import ago, listing


@dataclass(frozen=True, slots=True)
class QueueWorker:
    """The worker of a host; `age` is that of its last word.

    It has so many `slots` for runs, of which `busy` have one; it `drains` when it takes
    no other, and ends, or begins anew, after these. `configuration` is the digest of what
    it has, `clock_ahead` by how much its host's time is ahead of the database's.
    """

    host: str
    process: str
    is_silent: bool
    slots: int
    busy: int
    queues: tuple[str, ...]
    release: str
    configuration: str
    clock_ahead: timedelta
    started_at: datetime
    last_heartbeat: datetime
    age: timedelta
    drains: bool = False

    @property
    def takes_runs(self) -> bool:
        """Whether it is heard, and takes runs, as many as it has slots for."""
        return not self.is_silent and not self.drains

    @property
    def pid(self) -> int | None:
        """Its pid, if its process is one that can be seen from here and lives."""
        return None if is_dead(self.process) else pid_of(self.process)


def begin(project: Project, slots: int, queues: Iterable[str]) -> None:
    """Say that this process takes runs from those queues.

    Raises `NameTakenError`, as `beat` does, where another one says so under the name of this host.
    """
    heartbeat.begin(project, WORKER, _details(project, slots, 0, queues))


def beat(project: Project, slots: int, busy: int, queues: Iterable[str], *, drains: bool = False) -> None:
    """Say that it still does, or, where it `drains`, that it takes no more."""
    heartbeat.beat(project, WORKER, _details(project, slots, busy, queues) | {"drains": drains})


def end(project: Project) -> None:
    """Leave the list of workers: this one has ended in good order."""
    heartbeat.forget(project, WORKER)


@repeatable
def forget(project: Project, host: str) -> None:
    """List the worker of that host no more: the host is gone for good. Raises `QueryError`."""
    found = known(project)
    one = next((worker for worker in found if worker.host == host), None)
    if one is None:
        hosts = listing(worker.host for worker in found) or "none"
        raise QueryError(f"no worker is known of a host {host}; known are those of: {hosts}")
    if not one.is_silent:
        raise QueryError(f"the worker on host {host} was heard {ago(one.age)} ago; SIGTERM ends it")
    with writing(project.engine) as connection:
        service.forget(connection, WORKER, project.config.service.site_name, host)


def of_site(parts: Iterable[PartState], site: str, now: datetime) -> list[QueueWorker]:
    """The workers of a site that have not ended in good order."""
    return [_worker(part, now) for part in parts if part.part == WORKER and part.site == site]


def known(project: Project) -> list[QueueWorker]:
    """Those of this project's site."""
    site = project.config.service.site_name
    with reading(project.engine) as connection:
        return of_site(service.parts(connection, site), site, project.clock())


def here(project: Project) -> QueueWorker | None:
    """The one of this host."""
    return next((one for one in known(project) if one.host == host_name()), None)


def another_here(project: Project) -> QueueWorker | None:
    """One that is not this process, goes by the name of this host, and may live."""
    one = here(project)
    return None if one is None or one.is_silent or one.process == this_process(WORKER) else one


def slots(project: Project) -> int:
    """How many runs there may be at a time: as configured, else as many as workers that take runs have slots.

    Without such workers, as many as there are cores here.
    """
    settings = project.config.service
    return settings.slots if settings.runs_at_once is not None else slots_with(project, known(project))


def slots_with(project: Project, found: Iterable[QueueWorker]) -> int:
    """The same, with these workers."""
    settings = project.config.service
    if settings.runs_at_once is not None:
        return settings.runs_at_once
    return sum(one.slots for one in found if one.takes_runs) or settings.slots


def hosts_by_watch(project: Project) -> dict[str, frozenset[str]]:
    """Those of the watches whose runs go to some hosts alone, and which hosts."""
    config = project.config
    if not are_named(config):
        return {}
    with reading(project.engine) as connection:
        rules = rules_accepted(project, connection)
    chosen = ((watch.name, hosts_of(watch, rules, config)) for watch in config.watch)
    return {name: hosts for name, hosts in chosen if hosts}


def slots_apart(project: Project) -> dict[frozenset[str], int]:
    """How many runs there may be at a time of watches whose runs go to some hosts alone.

    Of each such choice of hosts: the watches whose runs go to these or fewer, and the
    slots that the workers there have. At least one: where there is none, a run that
    waits says so.
    """
    chosen = hosts_by_watch(project)
    taking = [one for one in known(project) if one.takes_runs] if chosen else []
    return {
        frozenset(name for name, fewer in chosen.items() if fewer <= hosts): max(
            1, sum(one.slots for one in taking if one.host in hosts)
        )
        for hosts in set(chosen.values())
    }


def _details(project: Project, slots: int, busy: int, queues: Iterable[str]) -> dict[str, object]:
    clock = project.clock
    ahead = clock.of_host if isinstance(clock, SharedClock) else timedelta(0)
    return {
        "slots": slots,
        "busy": busy,
        "queues": list(queues),
        "configuration": project.config.digest,
        "clock_ahead": round(ahead.total_seconds(), 3),
    }


def _worker(part: PartState, now: datetime) -> QueueWorker:
    said = part.details
    process = str(said.get("process", ""))
    return QueueWorker(
        host=part.host,
        process=process,
        is_silent=part.is_silent(now) or is_dead(process),
        slots=int(said.get("slots", 0)),
        busy=int(said.get("busy", 0)),
        queues=tuple(said.get("queues", ())),
        release=str(said.get("release", "")),
        configuration=str(said.get("configuration", "")),
        clock_ahead=timedelta(seconds=float(said.get("clock_ahead", 0))),
        started_at=part.started_at,
        last_heartbeat=part.last_heartbeat,
        age=now - part.last_heartbeat,
        drains=bool(said.get("drains")),
    )
