"""Who works on which groups: offers, open batches, and giving back."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from carbonation_core.config.sections import ServiceSection
from carbonation_core.db import batches, components, groups, meters, rule_versions
from carbonation_core.db.batches import BatchRow
from carbonation_core.db.components import Change
from carbonation_core.db.engine import Connection, database_now, reading, repeatable, writing
from carbonation_core.db.groups import GroupRow
from carbonation_core.db.locks import lock, lock_watch
from carbonation_core.delivery.grouping import refresh
from carbonation_core.delivery.ownership import of_others
from carbonation_core.errors import Superseded
from carbonation_core.lifecycle import Event, FileStatus, GivenBack, Outcome
from carbonation_core.logs.records import about
from carbonation_core.pipeline.in_force import superseded
from carbonation_core.pipeline.rollback import silent_disks, take_back
from carbonation_core.process import host_name, is_dead
from carbonation_core.project import Project, rules_accepted, rules_in_force
from carbonation_core.rules import decide
from carbonation_core.rules.rule_sets import RuleSet
from carbonation_core.text import counted, listing

log = logging.getLogger(__name__)

FIRST = 50  # groups in the first batch of a burst
# From a run's giving back what was made otherwise to its next offer. As long as hosts
# differ they would else pass it to and fro, a run each second.
APART = timedelta(seconds=5)


@dataclass(frozen=True)
class Offer:
    """A batch that a run may take. `group_key` is given when it is of one group."""

    batch_id: str
    watch_name: str
    size: int
    group_key: str | None
    attempt: int
    rules_digest: str
    created_at: datetime


@dataclass(frozen=True)
class OpenBatch:
    """A batch that has not ended, and whether its lease holds nothing any more."""

    offer: Offer
    instance: str
    site: str | None  # that made it
    status: str
    run_id: str | None
    lease_is_dead: bool


@repeatable
def claim(
    project: Project,
    watch_name: str,
    instance: str,
    slots: int | None = None,
    tried: Collection[str] = (),
    apart: Mapping[frozenset[str], int] = MappingProxyType({}),
) -> list[Offer]:
    """Put the groups that are due into batches, offered to the Dagster instance of that name.

    While the watch is idle and few are ready each gets a batch of its own;
    else they are packed, so that a burst costs few runs. `slots`: how many
    batches of all watches that instance may have open, `apart`: how many of some
    watches together; without `slots` this makes one more, whatever is open. Whoever
    claims more than once says which batches it `tried`: a group that was in one of
    them is left to others, so that what comes back at once cannot hold it for ever.
    Raises `Superseded` while the service of the site has another configuration.
    """
    service = project.config.service
    now = project.clock()
    with reading(project.engine) as connection:
        if not groups.count_due(connection, watch_name, now):
            return []
        # What the look went by that found them due; a file that changed since is for the next look.
        accepted = rule_versions.accepted(connection, service.site_name)
    digest = (accepted or rules_in_force(project)).digest
    wanted = project.wanted
    with writing(project.engine) as connection:
        lock_watch(connection, watch_name)
        if why := superseded(project, connection, watch_name):
            raise Superseded(
                f"watch {watch_name}: nothing is begun: {why}; copy config.toml, "
                "or have the service read its own again: SIGHUP"
            )
        free = 1 if slots is None else _free(project, connection, watch_name, instance, slots, apart)
        if free <= 0:
            return []
        ready = groups.due(connection, watch_name, now, service.groups_per_run * free, tried)
        idle = not batches.not_ended(connection, watch_name)
        offers = []
        for part in _parts(ready, idle, slots, free, service):
            ids = [group.id for group in part]
            batch = batches.make(
                connection, watch_name, instance, digest, ids, now, service.site_name, wanted
            )
            if batch is not None:
                _wake(connection, ids, now)
                offers.append(_offer(batch, part))
    return offers


def _free(
    project: Project,
    connection: Connection,
    watch_name: str,
    instance: str,
    slots: int,
    apart: Mapping[frozenset[str], int],
) -> int:
    """How many more batches of the watch that instance may have.

    No other tick counts until this one has claimed.
    """
    lock(connection, f"slots:{instance}")
    bounds = {frozenset(watch.name for watch in project.config.watch): slots}
    bounds |= {names: most for names, most in apart.items() if watch_name in names}
    return min(most - batches.count_open(connection, names, instance) for names, most in bounds.items())


def _parts(
    ready: Sequence[GroupRow], idle: bool, slots: int | None, free: int, service: ServiceSection
) -> list[Sequence[GroupRow]]:
    """The groups of each batch."""
    if idle and len(ready) <= service.single_group_runs:
        singles = [[group] for group in ready]
        return list(singles if slots is None else singles[:free])
    # A batch publishes at its end: of a burst that takes several, something is to be seen soon.
    most = service.groups_per_run
    first = min(FIRST, most) if idle and len(ready) > most else most
    parts = [ready[:first]]
    rest = ready[first:]
    while rest and len(parts) < free:
        parts.append(rest[:most])
        rest = rest[most:]
    return parts


def open_batches(project: Project, watch_name: str) -> list[OpenBatch]:
    """The watch's batches that have not ended, the oldest first."""
    with reading(project.engine) as connection:
        now = database_now(connection)
        found = []
        for batch in batches.not_ended(connection, watch_name):
            ids = [member.group_id for member in batches.members(connection, batch.id)]
            part = list(groups.by_id(connection, ids).values())
            dead = batch.status == batches.RUNNING and (
                batches.is_expired(batch, now) or (batch.holder is not None and is_dead(batch.holder))
            )
            offer = _offer(batch, part)
            found.append(OpenBatch(offer, batch.instance, batch.site, batch.status, batch.run_id, dead))
    return found


@repeatable
def give_back(
    project: Project,
    batch_id: str,
    reason: str,
    why: GivenBack = GivenBack.STOPPED,
    holder: str | None = None,
) -> int:
    """End a batch that nobody works on any more; returns how many groups were still open.

    Where it `DIED`, its process ended without a word: a batch of several is halved,
    and a group that was alone has used an attempt, so that what kills its
    process cannot take its neighbours with it for ever. `holder`: only if it is
    still theirs. Doing it twice is harmless, and what another site has made of a watch that
    is not ours is left alone. Its groups come again as the rules in force
    have it; nothing that it was made with need be in config.toml any more.
    Nothing is done while a disk does not answer that it may have left something on: who
    waits for that in a transaction holds up all others.
    """
    with reading(project.engine) as connection:
        batch = batches.get(connection, batch_id)
        if batch is None or batch.status == batches.ENDED or (holder and batch.holder != holder):
            return 0
        root, rule_set = _looked_at_by(project, connection, batch.watch_name)
        members = batches.members(connection, batch_id)
    if holder is None and _is_of_another(project, batch):
        return 0
    if silent := silent_disks(project.config, batch.watch_name, members):
        log.warning("batch %s is given back when this answers again: %s", batch_id, listing(silent))
        return 0
    now, died = project.clock(), why is GivenBack.DIED
    with writing(project.engine) as connection:
        lock_watch(connection, batch.watch_name)
        if not batches.end(connection, batch_id, now, reason, holder):
            return 0
        # Of what it has let go nothing lies under a temporary name any more.
        owned = groups.owned_by(connection, batch_id)
        members = [m for m in batches.members(connection, batch_id) if m.group_id in owned] if owned else []
        still_open = [m.group_id for m in members if m.outcome is None]
        if batch.host is not None:
            meters.run_ended(connection, batch.watch_name, batch.host, why if still_open else None)
        if not owned:
            return 0
        components.apply(connection, take_back(connection, batch_id, members), now)
        batches.set_members(
            connection,
            batch_id,
            [{"group_id": id_, "outcome": Outcome.GIVEN_BACK, "reason": reason} for id_ in still_open],
        )
        meters.given_back(connection, batch.watch_name, why, len(still_open))
        batches.release(connection, batch_id, owned)
        if died and len(still_open) == 1:
            _used_an_attempt(project, connection, owned[still_open[0]], reason, now, batch.run_id)
        refresh(connection, root, rule_set, owned, (), now)
        if why is GivenBack.MADE_OTHERWISE and holder:
            due = [id_ for id_, group in groups.by_id(connection, still_open).items() if group.due_at]
            groups.store(connection, [{"id": id_, "due_at": now + APART} for id_ in due], now)
        if died and len(still_open) > 1:
            _halve(connection, batch, still_open, now)
    if still_open:
        with about(watch=batch.watch_name, run_id=batch.run_id):
            log.warning("batch %s: %s; %s given back", batch_id, reason, counted(len(still_open), "group"))
    return len(still_open)


def _halve(connection: Connection, batch: BatchRow, group_ids: Sequence[int], now: datetime) -> None:
    """Offer these groups again as two batches, as that one was."""
    half = len(group_ids) // 2
    for part in (group_ids[:half], group_ids[half:]):
        batches.make(
            connection,
            batch.watch_name,
            batch.instance,
            batch.rules_digest,
            part,
            now,
            batch.site,
            batch.fingerprint,
        )


def _is_of_another(project: Project, batch: BatchRow) -> bool:
    """Whether another site made the batch, of a watch that this one neither has nor may take over."""
    if batch.site in (None, project.config.service.site_name):
        return False
    ours = [watch.name for watch in project.config.watch if watch.name == batch.watch_name]
    return not ours or bool(of_others(project, ours))


def _looked_at_by(project: Project, connection: Connection, watch_name: str) -> tuple[str, RuleSet]:
    """Where the watch lies, and the rules in force for it.

    Where it is configured no more, or no rules go with config.toml as it is, those by which
    every group is ready: the next look and the next run judge again.
    """
    watch = next((one for one in project.config.watch if one.name == watch_name), None)
    if watch is None:
        return "", RuleSet()
    rules = rules_accepted(project, connection)
    return watch.root, rules.sets[watch.rules] if rules else RuleSet()


def difference(project: Project, batch: BatchRow) -> str | None:
    """Why this process should not work on the batch: what it was made with is not what is here."""
    theirs, ours = batch.fingerprint, project.fingerprint
    if theirs.release not in (None, ours.release):
        return f"it was made by release {theirs.release}, and host {host_name()} has {ours.release}"
    if theirs.config_digest not in (None, ours.config_digest):
        return f"it was made with another configuration than a run on host {host_name()} has"
    if theirs.plugin_digest not in (None, ours.plugin_digest):
        return f"it was made with other files of the plugin than a run on host {host_name()} has loaded"
    return None


def is_made_otherwise(project: Project, batch_id: str) -> bool:
    """Whether there is such a batch, and what it was made with, or is to begin with, is not what is here."""
    with reading(project.engine) as connection:
        batch = batches.get(connection, batch_id)
        if batch is None:
            return False
        if difference(project, batch) is not None:
            return True
        begun = batch.status == batches.RUNNING
        return not begun and superseded(project, connection, batch.watch_name) is not None


@repeatable
def recall(project: Project) -> int:
    """Take back the offers made with another configuration; how many batches of such a one are at work."""
    names = {watch.name for watch in project.config.watch}
    with reading(project.engine) as connection:
        now = database_now(connection)
        made = [batch for name in sorted(names) for batch in batches.not_ended(connection, name)]
    ours = project.fingerprint.config_digest
    others = [b for b in made if b.fingerprint.config_digest not in (None, ours)]
    others = [b for b in others if not _is_of_another(project, b)]
    for batch in others:
        if batch.status == batches.OFFERED:
            reason = "the configuration is another one now"
            give_back(project, batch.id, reason, GivenBack.MADE_OTHERWISE)
    return sum(batch.status == batches.RUNNING and not batches.is_expired(batch, now) for batch in others)


def _wake(connection: Connection, group_ids: Sequence[int], now: datetime) -> None:
    """Let the components that waited for their next attempt wait for their run."""
    pending = components.pending_of(connection, group_ids)
    changes = [Change(component, Event.DUE, "its next attempt is due") for component in pending]
    components.apply(connection, changes, now)


def _used_an_attempt(
    project: Project,
    connection: Connection,
    group: GroupRow,
    reason: str,
    now: datetime,
    run_id: str | None,
) -> None:
    decision = decide.after_failure(
        group.attempts + 1, project.config.service, now, f"the process died: {reason}", 0.5
    )
    fail(connection, group, components.of_groups(connection, [group.id])[group.id], decision, now, run_id)


def fail(
    connection: Connection,
    group: GroupRow,
    files: Sequence[components.Component],
    decision: decide.RetryDecision,
    now: datetime,
    run_id: str | None,
) -> None:
    """Record a group's failed attempt and what follows from it."""
    event = Event.GAVE_UP if decision.at is None else Event.ATTEMPT_FAILED
    values = {"retry_count": decision.attempts, "retry_at": decision.at}
    waiting = [file for file in files if file.status is FileStatus.WAITING]
    components.apply(
        connection, [Change(file, event, decision.reason, values) for file in waiting], now, run_id
    )
    groups.store(
        connection,
        [{"id": group.id, "attempts": decision.attempts, "due_at": decision.at, "deadline_at": None}],
        now,
    )


def _offer(batch: BatchRow, part: Sequence[GroupRow]) -> Offer:
    return Offer(
        batch.id,
        batch.watch_name,
        batch.size,
        part[0].group_key if batch.size == 1 and part else None,
        max((group.attempts for group in part), default=0) + 1,
        batch.rules_digest,
        batch.created_at,
    )
