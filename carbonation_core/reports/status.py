"""How the service does: what its parts last said, what waits, and what is wrong."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from carbonation_core.config.sections import Watch
from carbonation_core.db import consumers, copies, counts, rule_versions, service, tallies, watches
from carbonation_core.db.consumers import Lag
from carbonation_core.db.counts import OldestGroup, RetryQueue, Totals
from carbonation_core.db.engine import Connection, database_now, reading
from carbonation_core.db.rule_versions import Version
from carbonation_core.db.service import PartState, WatchState, part_of_watch
from carbonation_core.delivery.ownership import refusals
from carbonation_core.disk.probe import Probe, probe
from carbonation_core.lifecycle import FileStatus
from carbonation_core.names import to_text
from carbonation_core.process import host_name
from carbonation_core.project import Project, require_database
from carbonation_core.reports import health, heartbeat, notify, workers
from carbonation_core.reports.health import ArchiveHealth, AtWork, Facts, WatchHealth
from carbonation_core.reports.heartbeat import Worker
from carbonation_core.reports.needs import Need, needs
from carbonation_core.reports.waiting import Overlong, overlong
from carbonation_core.reports.workers import QueueWorker, hosts_by_watch
from carbonation_core.rules.hosts import is_seen_from

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
    sites: tuple[AtWork, ...]  # this one, and those that share its database
    workers: tuple[QueueWorker, ...]  # that take runs from a queue
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
    needs: tuple[Need, ...]
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
    now, config = project.clock(), project.config
    with reading(project.engine) as connection:
        stored = _stored(project, connection, now)
    at_work = heartbeat.worker(stored.parts.get(heartbeat.SERVICE))
    facts = _facts(project, stored, at_work, now)
    return Status(
        at=now,
        problems=tuple(health.problems(facts)),
        warnings=tuple(health.warnings(facts)),
        service=at_work,
        last_pass=facts.last_pass,
        parts=tuple(_parts(project, stored.parts, at_work, now)),
        sites=stored.sites,
        workers=stored.queue_workers,
        watches=facts.watches,
        archives=facts.archives,
        components={
            status: {
                **dict(zip(WINDOWS, stored.reached[status], strict=True)),
                ALL: facts.components[status],
            }
            for status in FileStatus
        },
        totals=counts.totals(stored.sums),
        queue_depth=stored.queue_depth,
        workers_active=stored.workers,
        retry_queue=stored.retries,
        oldest_group=stored.oldest,
        oldest_is_stale=stored.oldest is not None
        and now - stored.oldest.since > config.service.stale_threshold,
        overlong=facts.overlong,
        needs=needs(project, facts.overlong),
        consumers=stored.lags,
        rules=stored.rules,
        refused_rules=facts.refused,
    )


@dataclass(frozen=True)
class _Stored:
    """What the database says, all as of one moment."""

    parts: Mapping[str, PartState]
    sites: tuple[AtWork, ...]
    queue_workers: tuple[QueueWorker, ...]
    reached: Mapping[FileStatus, Sequence[int]]
    sums: Counter[str]
    queue_depth: int
    workers: int
    retries: RetryQueue
    oldest: OldestGroup | None
    lags: tuple[Lag, ...]
    rules: Version | None
    latest_rules: Version | None
    filled: frozenset[str]  # archives that have copies where they are configured to be


def _stored(project: Project, connection: Connection, now: datetime) -> _Stored:
    names, said = [watch.name for watch in project.config.watch], service.parts(connection)
    site = project.config.service.site_name
    return _Stored(
        parts=heartbeat.of_site(said, site),
        sites=tuple(sites(said, watches.by_site(connection), now)),
        queue_workers=tuple(workers.of_site(said, site, now)),
        reached=counts.reached_since(connection, now, tuple(WINDOWS.values())),
        sums=tallies.read(connection),
        queue_depth=counts.due_groups(connection, names, now),
        workers=counts.running_batches(connection, names, database_now(connection)),
        retries=counts.retry_queue(connection, names),
        oldest=counts.oldest_open_group(connection, names),
        lags=tuple(consumers.lag(connection, row) for row in consumers.known(connection)),
        rules=rule_versions.accepted(connection, site),
        latest_rules=rule_versions.latest(connection, site),
        filled=frozenset(
            archive.name
            for archive in project.config.archive
            if copies.are_below(connection, archive.name, to_text(str(archive.base)))
        ),
    )


def _facts(project: Project, stored: _Stored, at_work: Worker | None, now: datetime) -> Facts:
    """What is judged: the database's word, and the directories as they are."""
    config, here = project.config, host_name()
    seen = [archive.base for archive in config.archive if is_seen_from(archive, here)]
    probes = probe([*(watch.path for watch in config.watch), *seen])
    silent = [path for path, one in probes.items() if one.is_silent]
    if at_work and at_work.is_running:
        # What it saw last is the truth, whatever we may look at.
        probes |= {watch.path: replace(probes[watch.path], fault=None) for watch in config.watch}
    last, site = stored.latest_rules, config.service.site_name
    return Facts(
        now=now,
        allowed_silence=config.service.allowed_silence,
        allowed_between_looks=config.service.allowed_between_looks,
        service=at_work,
        reports=heartbeat.reports_of(stored.parts),
        last_pass=heartbeat.worker(stored.parts.get(heartbeat.PASS)),
        watches=tuple(
            watch_health(project, watch, stored.parts.get(part_of_watch(watch.name)), probes[watch.path])
            for watch in config.watch
        ),
        archives=tuple(
            health.archive_health(archive.name, probes[archive.base], archive.name in stored.filled)
            if is_seen_from(archive, here)
            else ArchiveHealth(archive.name, str(archive.base), None, None, None, archive.hosts)
            for archive in config.archive
        ),
        overlong=overlong(project, [watch.name for watch in config.watch]),
        stale_threshold=config.service.stale_threshold,
        consumers=stored.lags,
        refused=last if last is not None and not last.accepted else None,
        components=counts.by_status(stored.sums),
        unreached=notify.unreached(project),
        not_ours=refusals(project, silent),
        others=[one for one in stored.sites if one.site != site],
        workers=stored.queue_workers,
        standbys=[one for one in stored.sites if (one.site, one.part) == (site, service.STANDBY)],
        hosts=hosts_by_watch(project),
        configuration=config.digest,
    )


def _parts(
    project: Project, parts: Mapping[str, PartState], at_work: Worker | None, now: datetime
) -> Iterator[Part]:
    """The parts of the service. A watch that is configured no more says nothing more, and need not."""
    known = {part_of_watch(watch.name) for watch in project.config.watch}
    silent = (part_of_watch(""), notify.PART)
    for name, part in sorted(parts.items()):
        if name in known or not name.startswith(silent):
            age = now - part.last_heartbeat
            yield Part(name, _state(part, at_work), part.started_at, part.last_heartbeat, age)


def _state(part: PartState, at_work: Worker | None) -> str:
    if part.part in (heartbeat.SERVICE, heartbeat.PASS):
        return _standing(heartbeat.worker(part))
    if part.part.startswith(part_of_watch("")):
        return "cannot be looked at" if WatchState.from_details(part.details).error else "well"
    if at_work is None or not at_work.is_running or at_work.is_dead:
        return "ended"
    report = heartbeat.report(part)
    if not report.is_well:
        return "does not answer"
    return "cannot work" if report.trouble else "well"


def _standing(worker: Worker | None) -> str:
    assert worker is not None
    return "ended without a word" if worker.is_dead else "runs" if worker.is_running else "ended"


def sites(said: Iterable[PartState], owned: Mapping[str, Sequence[str]], now: datetime) -> Iterator[AtWork]:
    """Who works, or stands by, on which host of which site."""
    for part in said:
        if not part.site or part.part not in (heartbeat.SERVICE, heartbeat.PASS, service.STANDBY):
            continue
        state, age = _standing(heartbeat.worker(part)), now - part.last_heartbeat
        is_service = part.part == heartbeat.SERVICE
        # A pass that has ended does not speak for its site.
        is_silent = (state != "ended" or not is_service) and part.is_silent(now)
        if is_silent and is_service and state == "runs":
            state = "silent"
        elif part.part == service.STANDBY and state == "runs":
            state = "silent" if part.is_silent(now) else "waits"
        which = tuple(owned.get(part.site, ()))
        yield AtWork(part.site, part.host, part.part, state, is_silent, part.last_heartbeat, age, which)


def service_state(project: Project) -> dict[str, object] | None:
    """What programs ask of the service, of the state that its parts keep; None before the first start."""
    now = project.clock()
    names = [watch.name for watch in project.config.watch]
    with reading(project.engine) as connection:
        parts = heartbeat.of_site(service.parts(connection), project.config.service.site_name)
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
            project.config.service.allowed_between_looks,
        ),
        listens=state.listens,
        trouble=state.trouble,
        unrecorded=state.unrecorded,
        found_by_event=state.found_by_event,
        found_by_scan=state.found_by_scan,
        free=probe.free if probe else None,
        total=probe.total if probe else None,
    )
