"""What a monitoring system is told: each metric, and its samples as of one moment.

For example `carbonation_groups_total{watch="incoming",outcome="archived"} 412`. All of it is
read from the database, so that whoever is asked tells of all sites and hosts, and what has
been counted goes on after a restart.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import accumulate
from pathlib import Path

from carbonation_core.db import arrivals, consumers, counts, feed, meters, rule_versions, service, tallies
from carbonation_core.db.clock import utc_now
from carbonation_core.db.engine import Connection, database_now, reading
from carbonation_core.db.meters import BUCKETS, Done
from carbonation_core.db.service import PartState, WatchState, part_of_watch
from carbonation_core.db.watches import by_site
from carbonation_core.disk.probe import Probe
from carbonation_core.lifecycle import OPEN, FileStatus
from carbonation_core.process import host_name
from carbonation_core.project import Project
from carbonation_core.reports import heartbeat, workers
from carbonation_core.reports.arrivals import SHOWN
from carbonation_core.reports.status import sites, watch_health
from carbonation_core.rules.hosts import is_seen_from


class Kind(StrEnum):
    """How a metric moves: a counter only grows."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric, by the name that it is asked for; `meaning` is a sentence without its full stop."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str


@dataclass(frozen=True, slots=True)
class Spread:
    """How many there were up to each bound, and the sum of all."""

    buckets: tuple[tuple[str, int], ...]
    sum: float


@dataclass(frozen=True, slots=True)
class Sample:
    """What a metric says of whom its labels name."""

    metric: Metric
    labels: tuple[str, ...]
    value: float | Spread


def _of(name: str, labels: str, meaning: str, kind: Kind = Kind.GAUGE) -> Metric:
    return Metric(f"carbonation_{name}", kind, tuple(labels.split()), meaning)


_COUNTER = Kind.COUNTER
UP = _of("up", "", "1: the database has answered; 0: it has not, and only free bytes are told")
BUILD = _of("build_info", "version", "1, of the release that tells all this")
GROUPS = _of(
    "groups_total", "watch outcome", "groups whose way through a batch ended so, each time", _COUNTER
)
GIVEN_BACK = _of("groups_given_back_total", "watch reason", "groups that a batch gave back", _COUNTER)
FILES_TAKEN = _of("archived_files_total", "watch", "files that were archived", _COUNTER)
BYTES_TAKEN = _of("archived_bytes_total", "watch", "bytes that were archived", _COUNTER)
TOOK = _of(
    "delivery_to_archive_seconds",
    "watch",
    "from a group's last file, first seen as it is, to the archive; it had to settle in this time",
    Kind.HISTOGRAM,
)
FOUND = _of(
    "files_found_total",
    "watch by",
    "deliveries, by what told of them first: a file `event`, or only a `scan`",
    _COUNTER,
)
FILES = _of("files", "watch status", "files that stand in this status")
IN_DELIVERY = _of("delivered_files", "watch", "files that lie in delivery")
IN_ARCHIVE = _of("stored_files", "watch", "files that lie in an archive")
BYTES = _of("stored_bytes", "watch", "bytes that lie in an archive")
OPEN_GROUPS = _of(
    "open_groups",
    "watch waits_for",
    "groups that have not come to an end: they wait for `members`, also when these have yet to settle, "
    "for another `attempt`, for a `run`, or for the `end` of the batch that has them",
)
OLDEST = _of("oldest_open_group_seconds", "watch", "for how long the oldest of them has been open")
BATCHES = _of("batches", "watch state host", "batches that are `offered`, or `running` on that host")
RUNS = _of(
    "runs_total",
    "watch host end",
    "runs that have ended with their batch: `done`, or why they gave a part of it back, as its `reason`",
    _COUNTER,
)
WAITED = _of(
    "lock_wait_seconds_total",
    "watch lock",
    "waits of 0.1 s and more for the lock of a `watch`, of the `feed`, of the free `slots`, or of SQLite's "
    "whole `database`",
    _COUNTER,
)
SLOTS = _of("slots", "site", "runs that the site asked may have at a time")
LOOKED = _of(
    "look_age_seconds",
    "watch",
    "since the last look that was noted, which is each `heartbeat_interval`; of watches of the site asked",
)
FAULT = _of("watch_fault", "watch", "1: the directory cannot be looked at; of watches of the site asked")
LATE = _of(
    "feed_late", "watch", "1: nothing came for longer than `expect_every`; of watches of the site asked"
)
NEWS = _of("delivery_age_seconds", "watch", "since something was last delivered")
ARRIVALS = _of(
    "arrivals",
    "watch state",
    f"expected arrivals of the last {SHOWN.days} days, and those to come, by their state",
)
OWNER = _of("watch_info", "watch site", "1, of each watch and the site that has it")
FEED = _of("feed_entries_total", "", "entries of the feed", _COUNTER)
BEHIND = _of("consumer_lag_entries", "consumer", "entries of the feed that it has not acknowledged")
BEHIND_FOR = _of("consumer_lag_seconds", "consumer", "since the first of these came; 0 where there is none")
PART_UP = _of("part_up", "site host part", "1: it works, and said so in time; 0 also after a good end")
PART_AGE = _of("part_heartbeat_age_seconds", "site host part", "since it last said that it lives")
SILENT = _of("site_silent", "site", "1: its service says nothing any more, and has not ended")
WORKER_SLOTS = _of("worker_slots", "site host", "runs that the worker of that host may have at a time")
WORKER_BUSY = _of("worker_busy", "site host", "runs that it has")
WORKER_STALE = _of(
    "worker_configuration_stale",
    "site host",
    "1: it has another configuration than the service asked; of workers of the site asked",
)
OFFSET = _of(
    "clock_offset_seconds",
    "host",
    "by how much it is ahead of the database's; of the host asked, and of workers",
)
REFUSED = _of("rules_refused", "", "1: rules.toml was refused, and earlier rules are in force")
WATCH_FREE = _of("delivery_free_bytes", "watch", "what is left on its file system")
WATCH_SIZE = _of("delivery_size_bytes", "watch", "what that holds in all")
ARCHIVE_FREE = _of("archive_free_bytes", "archive", "what is left on its file system")
ARCHIVE_SIZE = _of("archive_size_bytes", "archive", "what that holds in all")
METRICS = (
    *(UP, BUILD, GROUPS, GIVEN_BACK, FILES_TAKEN, BYTES_TAKEN, TOOK, FOUND, FILES, IN_DELIVERY, IN_ARCHIVE),
    *(BYTES, OPEN_GROUPS, OLDEST, BATCHES, RUNS, SLOTS, WAITED, LOOKED, FAULT, LATE, NEWS, ARRIVALS, OWNER),
    *(FEED, BEHIND, BEHIND_FOR, PART_UP, PART_AGE, SILENT, WORKER_SLOTS, WORKER_BUSY, WORKER_STALE, OFFSET),
    *(REFUSED, WATCH_FREE, WATCH_SIZE, ARCHIVE_FREE, ARCHIVE_SIZE),
)

_WAITS = ("members", "attempt", "run", "end")


def stored(project: Project) -> list[Sample]:
    """What the database tells, all as of one moment; raises `DatabaseError`."""
    now = project.clock()
    with reading(project.engine) as connection:
        ahead = utc_now() - database_now(connection)
        latest = rule_versions.latest(connection, project.config.service.site_name)
        owned, said = by_site(connection), service.parts(connection)
        ours = {watch.name for watch in project.config.watch}
        theirs = (names for site, names in owned.items() if site != project.config.service.site_name)
        return [
            *_of_watches(connection, ours.union(*theirs), now),
            *(Sample(OWNER, (watch, site), 1) for site, names in owned.items() for watch in names),
            *_of_looks(project, said, now),
            *_of_feed(connection, now),
            *_of_sites([part for part in said if part.site], owned, now),
            *_of_workers(project, said, ahead, now),
            Sample(REFUSED, (), latest is not None and not latest.accepted),
            Sample(BUILD, (project.fingerprint.release or "",), 1),
        ]


def room(project: Project, probes: Mapping[Path, Probe]) -> Iterator[Sample]:
    """How full the file systems of watches and archives are, as far as these answered."""
    config = project.config
    places = [(watch.name, watch.path, WATCH_FREE, WATCH_SIZE) for watch in config.watch]
    places += [
        (archive.name, archive.base, ARCHIVE_FREE, ARCHIVE_SIZE)
        for archive in config.archive
        if is_seen_from(archive, host_name())  # else it is the file system of a directory above that answers
    ]
    for name, path, free, size in places:
        found = probes.get(path)
        if found is not None and found.free is not None and found.total is not None:
            yield Sample(free, (name,), found.free)
            yield Sample(size, (name,), found.total)


def _of_watches(connection: Connection, names: Collection[str], now: datetime) -> Iterator[Sample]:
    """What was done in each watch, and what is there."""
    sums = tallies.by_watch(connection)
    asking = [name for name in names if any(sums[name][status] for status in OPEN)]
    waiting = counts.open_groups(connection, asking, now)
    for watch in sorted(names):
        one, found = sums[watch], waiting.get(watch, {})
        yield from _of_work(watch, meters.done(one))
        yield from _of_runs(watch, one)
        yield from (Sample(FILES, (watch, status), one[status]) for status in FileStatus)
        yield Sample(IN_DELIVERY, (watch,), one[tallies.IN_DELIVERY])
        yield Sample(IN_ARCHIVE, (watch,), one[tallies.IN_ARCHIVE])
        yield Sample(BYTES, (watch,), one[tallies.ARCHIVED_BYTES])
        for what in _WAITS:
            yield Sample(OPEN_GROUPS, (watch, what), found[what][0] if what in found else 0)
        since = min((since for _, since in found.values()), default=now)
        yield Sample(OLDEST, (watch,), _age(since, now))
    yield from _of_runs(tallies.NO_WATCH, sums[tallies.NO_WATCH])
    for watch, state, host, number in counts.open_batches(connection, names):
        yield Sample(BATCHES, (watch, state, host or ""), number)
    for watch, state, number in arrivals.by_state(connection, names, now - SHOWN):
        yield Sample(ARRIVALS, (watch, state), number)


def _of_runs(watch: str, sums: Mapping[str, int]) -> Iterator[Sample]:
    """How runs ended, and how long they and others waited for each other."""
    for (host, end), number in meters.runs_ended(sums).items():
        yield Sample(RUNS, (watch, host, end), number)
    for lock, seconds in meters.seconds_waited(sums).items():
        yield Sample(WAITED, (watch, lock), seconds)


def _of_work(watch: str, done: Done) -> Iterator[Sample]:
    yield from (Sample(GROUPS, (watch, outcome), number) for outcome, number in done.outcomes.items())
    yield from (Sample(GIVEN_BACK, (watch, why), number) for why, number in done.given_back.items())
    yield Sample(FILES_TAKEN, (watch,), done.files)
    yield Sample(BYTES_TAKEN, (watch,), done.bytes)
    bounds = [*map(str, BUCKETS), "+Inf"]
    yield Sample(TOOK, (watch,), Spread(tuple(zip(bounds, accumulate(done.took), strict=True)), done.seconds))


def _of_looks(project: Project, said: Iterable[PartState], now: datetime) -> Iterator[Sample]:
    """What the looks at each watch said. What another site configures, and whether it does, is not known."""
    ours = {watch.name: watch for watch in project.config.watch}
    for part in said:
        if not part.part.startswith(part_of_watch("")):
            continue
        name, state = part.part.removeprefix(part_of_watch("")), WatchState.from_details(part.details)
        yield Sample(FOUND, (name, "event"), state.found_by_event)
        yield Sample(FOUND, (name, "scan"), state.found_by_scan)
        if state.last_new is not None:
            yield Sample(NEWS, (name,), _age(state.last_new, now))
        if name in ours:
            yield Sample(LOOKED, (name,), _age(part.last_heartbeat, now))
            yield Sample(FAULT, (name,), state.error is not None)
            if ours[name].expect_every is not None:
                yield Sample(LATE, (name,), watch_health(project, ours[name], part, None).is_late)


def _of_feed(connection: Connection, now: datetime) -> Iterator[Sample]:
    yield Sample(FEED, (), feed.feed_end(connection))
    for row in consumers.known(connection):
        lag = consumers.lag(connection, row)
        yield Sample(BEHIND, (lag.consumer,), lag.behind)
        yield Sample(BEHIND_FOR, (lag.consumer,), _age(lag.since or now, now))


def _of_sites(
    said: Sequence[PartState], owned: Mapping[str, Sequence[str]], now: datetime
) -> Iterator[Sample]:
    """Who works where, and who says nothing any more."""
    at_work = list(sites(said, owned, now))
    heads = {(one.site, one.host): one.state == "runs" for one in at_work if one.part == heartbeat.SERVICE}
    for part in said:
        labels = (part.site, part.host, part.part)
        yield Sample(PART_UP, labels, _is_up(part, heads, now))
        yield Sample(PART_AGE, labels, _age(part.last_heartbeat, now))
    for site in sorted({one.site for one in at_work}):
        theirs = [one for one in at_work if one.site == site]
        had_service = any(one.part == heartbeat.SERVICE for one in theirs)
        yield Sample(SILENT, (site,), had_service and all(one.is_silent for one in theirs))


def _of_workers(
    project: Project, said: Sequence[PartState], ahead: timedelta, now: datetime
) -> Iterator[Sample]:
    """What those say that take runs from a queue; `ahead`: this host's time of the database's."""
    site, aheads = project.config.service.site_name, {}
    for name in sorted({part.site for part in said}):
        for one in workers.of_site(said, name, now):
            aheads[one.host] = one.clock_ahead
            yield Sample(WORKER_SLOTS, (name, one.host), one.slots)
            yield Sample(WORKER_BUSY, (name, one.host), one.busy)
            if name == site:
                yield Sample(WORKER_STALE, (name, one.host), one.configuration != project.config.digest)
    for host, its in (aheads | {host_name(): ahead}).items():
        yield Sample(OFFSET, (host,), its.total_seconds())
    yield Sample(SLOTS, (site,), workers.slots_with(project, workers.of_site(said, site, now)))


def _is_up(part: PartState, heads: Mapping[tuple[str, str], bool], now: datetime) -> bool:
    """Whether a part works; one that the service speaks for works only while that does."""
    head = heads.get((part.site, part.host), False)
    if part.part == heartbeat.SERVICE:
        return head
    if "well" in part.details:
        report = heartbeat.report(part)
        return head and report.is_well and report.trouble is None
    return bool(part.details.get("running")) and not part.is_silent(now)


def _age(since: datetime, now: datetime) -> float:
    return max(timedelta(0), now - since).total_seconds()
