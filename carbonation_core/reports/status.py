"""How the service does: what its parts last said, what waits, and what is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from carbonation_core.config.sections import Watch
from carbonation_core.db import components, consumers, counts, rule_versions, service, tallies
from carbonation_core.db.consumers import Lag
from carbonation_core.db.counts import OldestGroup, RetryQueue, Totals
from carbonation_core.db.engine import database_now, reading
from carbonation_core.db.rule_versions import Version
from carbonation_core.db.service import PartState, WatchState, part_of_watch
from carbonation_core.disk.probe import Probe, probe
from carbonation_core.lifecycle import FileStatus
from carbonation_core.names import to_text
from carbonation_core.project import Project, require_database
from carbonation_core.reports import health, heartbeat, notify
from carbonation_core.reports.health import ArchiveHealth, Facts, WatchHealth
from carbonation_core.reports.heartbeat import Worker
from carbonation_core.reports.waiting import Overlong, overlong

WINDOWS: Mapping[str, timedelta] = MappingProxyType(
    {
        "1h": timedelta(hours=1),
        "4h": timedelta(hours=4),
        "1d": timedelta(days=1),
        "7d": timedelta(days=7),
        "30d": timedelta(days=30),
    }
)
ALL = "all"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the service, or a watch; `age` is the time since its last heartbeat."""

    name: str
    state: str  # in a word or two
    started_at: datetime
    last_heartbeat: datetime
    age: timedelta


@dataclass(frozen=True)
class Status:
    """Everything that `carbonation status` tells.

    `problems` has a sentence for each thing that is wrong, `warnings` for each
    that somebody should see to though the service does its work. `service` and
    `last_pass` are None before the first of either.
    """

    at: datetime
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    service: Worker | None
    last_pass: Worker | None
    parts: tuple[Part, ...]
    watches: tuple[WatchHealth, ...]
    archives: tuple[ArchiveHealth, ...]
    components: Mapping[FileStatus, Mapping[str, int]]  # by the windows' names, and ALL
    totals: Totals
    queue_depth: int
    workers_active: int
    retry_queue: RetryQueue
    oldest_group: OldestGroup | None
    oldest_is_stale: bool
    overlong: Overlong
    consumers: tuple[Lag, ...]
    rules: Version | None
    refused_rules: Version | None

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def status(project: Project) -> Status:
    """How the service does now; raises `DatabaseError` when the database cannot tell.

    Also asks the directories of watches and archives, for a few seconds at most.
    """
    require_database(project)
    now = project.clock()
    config = project.config
    names = [watch.name for watch in config.watch]
    with reading(project.engine) as connection:
        parts = service.parts(connection)
        reached = counts.reached_since(connection, now, tuple(WINDOWS.values()))
        sums = tallies.read(connection)
        current = counts.by_status(sums)
        queue_depth = counts.due_groups(connection, names, now)
        workers = counts.running_batches(connection, names, database_now(connection))
        retries = counts.retry_queue(connection, names)
        oldest = counts.oldest_open_group(connection, names)
        lags = tuple(consumers.lag(connection, row) for row in consumers.known(connection))
        rules, last = rule_versions.accepted(connection), rule_versions.latest(connection)
        filled = {
            archive.name
            for archive in config.archive
            if components.has_live_copies(connection, archive.name, to_text(str(archive.base)))
        }
    probes = probe([*(watch.path for watch in config.watch), *(archive.base for archive in config.archive)])
    at_work = heartbeat.worker(parts.get(heartbeat.SERVICE))
    if at_work and at_work.is_running:
        # What it saw last is the truth, whatever we may look at.
        probes |= {watch.path: replace(probes[watch.path], fault=None) for watch in config.watch}
    watches = tuple(
        watch_health(project, watch, parts.get(part_of_watch(watch.name)), probes[watch.path])
        for watch in config.watch
    )
    archives = tuple(
        health.archive_health(archive.name, probes[archive.base], archive.name in filled)
        for archive in config.archive
    )
    refused = last if last is not None and not last.accepted else None
    facts = Facts(
        now=now,
        allowed_silence=allowed_silence(project),
        service=at_work,
        reports=heartbeat.reports_of(parts),
        last_pass=heartbeat.worker(parts.get(heartbeat.PASS)),
        watches=watches,
        archives=archives,
        overlong=overlong(project, names),
        stale_threshold=config.service.stale_threshold,
        consumers=lags,
        refused=refused,
        components=current,
        unreached=notify.unreached(project),
    )
    # A watch that is configured no more says nothing more, and need not.
    known = {part_of_watch(name) for name in names}
    silent = (part_of_watch(""), notify.PART)
    heard = [p for p in parts.values() if p.part in known or not p.part.startswith(silent)]
    return Status(
        at=now,
        problems=tuple(health.problems(facts)),
        warnings=tuple(health.warnings(facts)),
        service=facts.service,
        last_pass=facts.last_pass,
        parts=tuple(
            Part(
                part.part,
                _state(part, at_work),
                part.started_at,
                part.last_heartbeat,
                now - part.last_heartbeat,
            )
            for part in sorted(heard, key=lambda part: part.part)
        ),
        watches=watches,
        archives=archives,
        components={
            status: {**dict(zip(WINDOWS, reached[status], strict=True)), ALL: current[status]}
            for status in FileStatus
        },
        totals=counts.totals(sums),
        queue_depth=queue_depth,
        workers_active=workers,
        retry_queue=retries,
        oldest_group=oldest,
        oldest_is_stale=oldest is not None and now - oldest.since > config.service.stale_threshold,
        overlong=facts.overlong,
        consumers=lags,
        rules=rules,
        refused_rules=refused,
    )


def _state(part: PartState, at_work: Worker | None) -> str:
    if part.part in (heartbeat.SERVICE, heartbeat.PASS):
        worker = heartbeat.worker(part)
        assert worker is not None
        return "ended without a word" if worker.is_dead else "runs" if worker.is_running else "ended"
    if part.part.startswith(part_of_watch("")):
        return "cannot be looked at" if WatchState.from_details(part.details).error else "well"
    if at_work is None or not at_work.is_running or at_work.is_dead:
        return "ended"
    report = heartbeat.report(part)
    if not report.is_well:
        return "does not answer"
    return "cannot work" if report.trouble else "well"


def service_state(project: Project) -> dict[str, object] | None:
    """What programs ask of the service, of the state that its parts keep; None before the first start."""
    now = project.clock()
    names = [watch.name for watch in project.config.watch]
    with reading(project.engine) as connection:
        parts = service.parts(connection)
        if not parts:
            return None
        queue_depth = counts.due_groups(connection, names, now)
        workers = counts.running_batches(connection, names, database_now(connection))
    begun = [parts[name] for name in (heartbeat.SERVICE, heartbeat.PASS) if name in parts]
    at_work = heartbeat.worker(parts.get(heartbeat.SERVICE))
    running = at_work is not None and at_work.is_running and not at_work.is_dead
    heard = begun[:1] if running else list(parts.values())
    return {
        "running": running,
        "started_at": begun[0].started_at if begun else None,
        "last_heartbeat": max(part.last_heartbeat for part in heard),
        "queue_depth": queue_depth,
        "workers_active": workers,
        "parts": {
            part.part: {"started_at": part.started_at, "last_heartbeat": part.last_heartbeat, **part.details}
            for part in parts.values()
        },
    }


def feed_health(project: Project, watch_name: str) -> WatchHealth:
    """How one watch stands, by what its looks said."""
    watch = project.config.watch_named(watch_name)
    with reading(project.engine) as connection:
        part = service.get(connection, part_of_watch(watch_name))
    return watch_health(project, watch, part, None)


def allowed_silence(project: Project) -> timedelta:
    """How long a heartbeat may take to come."""
    settings = project.config.service
    beats = health.MISSED_BEATS * max(settings.heartbeat_interval, settings.poll_interval)
    return max(beats, health.LEAST_ALLOWED_SILENCE)


def watch_health(project: Project, watch: Watch, part: PartState | None, probe: Probe | None) -> WatchHealth:
    """How a watch stands, by what its looks said and, if given, by what its directory says now."""
    state = WatchState.from_details(part.details) if part else WatchState()
    fault = f'"{watch.path}" {probe.fault}' if probe and probe.fault else None
    return WatchHealth(
        name=watch.name,
        path=str(watch.path),
        last_look=part.last_heartbeat if part else None,
        files=state.files,
        error=state.error or fault,
        expect_every=watch.expect_every,
        last_new=state.last_new,
        is_late=health.is_late(
            watch.expect_every,
            state.last_new,
            part.started_at if part else None,
            part.last_heartbeat if part else None,
            project.clock(),
            allowed_silence(project),
        ),
        listens=state.listens,
        trouble=state.trouble,
        unrecorded=state.unrecorded,
        found_by_event=state.found_by_event,
        found_by_scan=state.found_by_scan,
        free=probe.free if probe else None,
        total=probe.total if probe else None,
    )
