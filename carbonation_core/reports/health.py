"""What is wrong with the service, and what somebody should see to. Pure: from what its parts said."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from carbonation_core.db.clock import MOST
from carbonation_core.db.consumers import Lag
from carbonation_core.db.rule_versions import Version
from carbonation_core.db.service import SERVICE
from carbonation_core.disk.probe import Probe
from carbonation_core.lifecycle import FileStatus
from carbonation_core.reports.heartbeat import PartReport, Worker
from carbonation_core.reports.notify import Unreached
from carbonation_core.reports.waiting import Overlong
from carbonation_core.reports.workers import QueueWorker
from carbonation_core.text import ago, counted, format_duration, shown

NEARLY_FULL, FULL = 0.05, 0.01  # shares of a file system that are left
START = "start it: carbonation run, or carbonation run --once by hand or by cron"
START_WORKERS = "start one on each host that is to do the work: carbonation worker"


@dataclass(frozen=True, slots=True)
class WatchHealth:
    """A watch. `last_look` is None before the first, `last_new` before anything was delivered.

    `error` says why it cannot be looked at, `is_late` that it is silent for longer
    than `expect_every`. `listens`: whether file events tell of it, None before
    anybody listened; `trouble` says why not if they should. Deliveries are counted
    by what told of them first: an event, or only a look. `unrecorded` says which
    files the database refuses. `free` and `total` are bytes of its file system, None
    when nobody can tell.
    """

    name: str
    path: str
    last_look: datetime | None
    files: int | None
    error: str | None
    expect_every: timedelta | None
    last_new: datetime | None
    is_late: bool
    listens: bool | None = None
    trouble: str | None = None
    unrecorded: str | None = None
    found_by_event: int = 0
    found_by_scan: int = 0
    free: int | None = None
    total: int | None = None

    @property
    def share_free(self) -> float:
        """The share of its file system that is left."""
        return _share(self.free, self.total)


@dataclass(frozen=True, slots=True)
class ArchiveHealth:
    """An archive. `free` and `total` are bytes of its file system, None when nobody can tell.

    `seen_from`: hosts that can, where this one does not have the archive before it.
    """

    name: str
    path: str
    free: int | None
    total: int | None
    error: str | None
    seen_from: tuple[str, ...] = ()

    @property
    def share_free(self) -> float:
        """The share of its file system that is left."""
        return _share(self.free, self.total)


@dataclass(frozen=True, slots=True)
class AtWork:
    """A service, or a pass, of one of the sites that share the database; `age` is that of its last word.

    `is_silent`: it says no more that its site is at work. A service that has ended in good order is not.
    `watches` are those of its site.
    """

    site: str
    host: str
    part: str
    state: str  # in a word or two
    is_silent: bool
    last_heartbeat: datetime
    age: timedelta
    watches: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """All that the health of the service follows from.

    `allowed_silence` is how long a heartbeat may take, `allowed_between_looks` how
    long a look that is noted.
    """

    now: datetime
    allowed_silence: timedelta
    allowed_between_looks: timedelta
    service: Worker | None
    reports: Sequence[PartReport]
    last_pass: Worker | None
    watches: tuple[WatchHealth, ...]
    archives: tuple[ArchiveHealth, ...]
    overlong: Overlong
    stale_threshold: timedelta
    consumers: Sequence[Lag]
    refused: Version | None
    components: Mapping[FileStatus, int]
    unreached: Sequence[Unreached] = ()
    not_ours: Sequence[str] = ()  # a sentence for each watch that is another site's
    others: Sequence[AtWork] = ()  # of other sites
    workers: Sequence[QueueWorker] = ()
    standbys: Sequence[AtWork] = ()  # of this site
    hosts: Mapping[str, frozenset[str]] = field(default_factory=dict)  # of watches that not all see
    configuration: str = ""  # the digest of it


def is_at_work(facts: Facts) -> bool:
    """Whether a service claims to run, so that heartbeats are to be expected."""
    return facts.service is not None and facts.service.is_running


def problems(facts: Facts) -> list[str]:
    """A sentence for each real fault: something does not work, or a feed that should bring files does not."""
    found: list[str] = []
    looked = any(watch.last_look for watch in facts.watches)
    if facts.service is None and facts.last_pass is None and not looked:
        found.append(f"the service has never run; {START}")
    found += _of_service(facts)
    if not is_at_work(facts) and facts.last_pass is not None:
        of_watches = {watch.error for watch in facts.watches}
        found += [f"the last pass: {one}" for one in facts.last_pass.errors if one not in of_watches]
    found += facts.not_ours
    found += _of_others(facts.others)
    found += _of_queue(facts)
    for watch in facts.watches:
        found += _of_watch(watch, facts)
    for archive in facts.archives:
        if archive.error:
            found.append(f"archive {archive.name}: {archive.error}")
        elif archive.share_free < FULL:
            found.append(f"archive {archive.name}: {_full(archive)}")
    if facts.refused is not None:
        found.append(f"rules.toml was refused, earlier rules stay in force: {facts.refused.reason}")
    for one in facts.unreached:
        found.append(
            f"notify: no message gets through to the {one.target}: {one.error}; "
            f"the next attempt is at {shown(one.again_at)}"
        )
    return found


def warnings(facts: Facts) -> list[str]:
    """A sentence for each thing that somebody should see to, though the service does its work."""
    found: list[str] = []
    looks = [watch.last_look for watch in facts.watches if watch.last_look]
    if not is_at_work(facts) and not _is_looked_at_by_others(facts, looks):
        if facts.service is not None:
            found.append(f"no service is running since {shown(facts.service.last_heartbeat)}; {START}")
        elif looks:
            found.append(f"no service is running; {START}")
    if facts.last_pass is not None and facts.last_pass.is_dead:
        found.append(
            f"the pass of {shown(facts.last_pass.started_at)} ended without a word; "
            "the next one takes up what it held"
        )
    for worker in facts.workers:
        found += _of_worker(worker, facts)
    for standby in facts.standbys:
        if standby.is_silent:
            found.append(
                f"the standby on host {standby.host}: no heartbeat for {ago(standby.age)}; "
                "start it again: carbonation run"
            )
    for status, says in _LEFT.items():
        if number := facts.components.get(status, 0):
            found.append(f"{_files(number)} {says}")
    if facts.overlong.waiters:
        first, number = facts.overlong.waiters[0], facts.overlong.number
        who = "1 group waits too long" if number == 1 else f"{number} groups wait too long"
        longest = f"{first.name} of watch {first.watch_name} since {shown(first.since)}"
        found.append(f"{who}, {longest}: it {first.waits_for}")
    for consumer in facts.consumers:
        if consumer.since is not None and facts.now - consumer.since > facts.stale_threshold:
            found.append(
                f"consumer {consumer.consumer} is behind the feed by {consumer.behind} "
                f"since {shown(consumer.since)}"
            )
    places: list[tuple[str, WatchHealth | ArchiveHealth]] = [
        *((f"watch {watch.name}", watch) for watch in facts.watches),
        *((f"archive {archive.name}", archive) for archive in facts.archives),
    ]
    for what, place in places:
        if FULL <= place.share_free < NEARLY_FULL:
            found.append(
                f"{what}: its file system is nearly full, "
                f"{place.share_free:.1%} or {counted(place.free or 0, 'byte')} are left"
            )
    for watch in facts.watches:
        if watch.trouble:
            found.append(f"watch {watch.name}: no file events, so it is polled: {watch.trouble}")
        if watch.unrecorded:
            found.append(f"watch {watch.name}: {watch.unrecorded}")
    return found


_LEFT = {
    FileStatus.FAILED: "failed; carbonation explain says why, carbonation retry tries again",
    FileStatus.MISSING: "missing from the archive",
}


def is_late(
    expect_every: timedelta | None,
    last_new: datetime | None,
    first_look: datetime | None,
    last_look: datetime | None,
    now: datetime,
    allowed_between_looks: timedelta,
) -> bool:
    """Whether a feed has been silent for longer than it may.

    While nobody looks, the silence is ours; then it is judged as of the last look.
    """
    if expect_every is None or first_look is None or last_look is None:
        return False
    as_of = now if now - last_look <= allowed_between_looks else last_look
    return as_of - (last_new or first_look) > expect_every


def archive_health(name: str, probe: Probe, holds_files: bool) -> ArchiveHealth:
    """An archive's health, by what its directory says now; `holds_files`: by the database it should."""
    error = None
    if holds_files and (probe.fault or probe.is_empty):
        how = probe.fault or "is empty"
        error = f'"{probe.path}" held files, and {how}; is it mounted?'
    elif probe.fault and probe.total is None:
        error = f'"{probe.path}" {probe.fault}'
    return ArchiveHealth(name, str(probe.path), probe.free, probe.total, error)


def _of_service(facts: Facts) -> Iterator[str]:
    service = facts.service
    if service is not None and not service.is_running and service.errors:
        yield f"the service ended at {shown(service.last_heartbeat)}: {'; '.join(service.errors)}"
    if service is None or not service.is_running:
        return
    who = f"the service (pid {service.pid} on {service.host})"
    silent = facts.now - service.last_heartbeat
    if service.is_dead:
        yield f"{who} has ended without a word; {START}"
    elif silent > facts.allowed_silence:
        yield f"{who}: no heartbeat for {ago(silent)}"
    else:
        for part in facts.reports:
            if not part.is_well and part.answered_at is not None:
                yield f"the {part.name} does not answer since {shown(part.answered_at)}; it is started again"
            elif part.trouble is not None:
                yield f"the {part.name} cannot work: {part.trouble}"


def _is_looked_at_by_others(facts: Facts, looks: Sequence[datetime]) -> bool:
    """Whether sensors of a Dagster project that is not ours look at the watches now."""
    words = [worker.last_heartbeat for worker in (facts.service, facts.last_pass) if worker is not None]
    return bool(looks) and max(looks) > max([*words, facts.now - facts.allowed_between_looks])


def _of_others(others: Sequence[AtWork]) -> Iterator[str]:
    """A sentence for each site that nobody speaks for any more, though it has watches."""
    heard = {one.site for one in others if not one.is_silent}
    for one in others:
        if one.part == SERVICE and one.site not in heard and one.watches:
            which = f"watch{'es' if len(one.watches) > 1 else ''} {', '.join(one.watches)}"
            yield f"site {one.site} (host {one.host}): no heartbeat for {ago(one.age)}; it has {which}"


def _of_queue(facts: Facts) -> Iterator[str]:
    """What is wrong when runs wait in a queue that nobody takes them from."""
    service = facts.service
    waits = service is not None and service.uses_queue and service.is_running and not service.is_dead
    heard = {worker.host for worker in facts.workers if not worker.is_silent}
    if waits and not heard:
        yield f"no worker takes runs from the queue; {START_WORKERS}"
    elif waits:
        for name, hosts in sorted(facts.hosts.items()):
            if heard.isdisjoint(hosts):
                where = f"host{'s' if len(hosts) > 1 else ''} {', '.join(sorted(hosts))}"
                yield f"watch {name}: no worker takes its runs; start one on {where}: carbonation worker"


def _of_worker(worker: QueueWorker, facts: Facts) -> Iterator[str]:
    who = f"the worker on host {worker.host}"
    if worker.is_silent:
        yield (
            f"{who}: no heartbeat for {ago(worker.age)}; start it again: carbonation worker; "
            f"if its host is gone for good: carbonation worker --forget {worker.host}"
        )
        return
    if worker.configuration != facts.configuration:
        yield f"{who} has another configuration than this host; copy config.toml there"
    if abs(worker.clock_ahead) > MOST:
        seconds = worker.clock_ahead.total_seconds()
        where = "ahead of" if seconds > 0 else "behind"
        yield f"{who}: its clock is {abs(seconds):.1f} s {where} the database's; is its time kept?"


def _of_watch(watch: WatchHealth, facts: Facts) -> Iterator[str]:
    service = facts.service
    if watch.error:
        yield f"watch {watch.name}: {watch.error}"
    elif service is not None and service.is_running and not service.is_dead:
        since = max(filter(None, (watch.last_look, service.started_at)))
        if facts.now - since > facts.allowed_between_looks:
            looked = f"was not looked at for {ago(facts.now - watch.last_look)}" if watch.last_look else ""
            yield f"watch {watch.name}: {looked or 'was never looked at'}; is its sensor on?"
    if watch.share_free < FULL:
        yield f"watch {watch.name}: {_full(watch)}"
    if watch.is_late and watch.expect_every is not None:
        last = f"nothing new since {shown(watch.last_new)}" if watch.last_new else "nothing ever came"
        yield f"watch {watch.name} is late: {last}, expected every {format_duration(watch.expect_every)}"


def _full(place: WatchHealth | ArchiveHealth) -> str:
    return f"its file system is full, {counted(place.free or 0, 'byte')} are left"


def _share(free: int | None, total: int | None) -> float:
    return 1.0 if not total or free is None else free / total


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number} files"
