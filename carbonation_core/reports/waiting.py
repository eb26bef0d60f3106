"""What waits, for what and until when; which groups have waited too long."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from carbonation_core.config.sections import Watch
from carbonation_core.db import batches, components, counts, groups
from carbonation_core.db.batches import OFFERED, BatchRow
from carbonation_core.db.components import Component
from carbonation_core.db.engine import Connection, reading
from carbonation_core.db.groups import GroupRow
from carbonation_core.delivery.grouping import standing, strays_of
from carbonation_core.lifecycle import OPEN, FileStatus
from carbonation_core.project import Project, rules_accepted
from carbonation_core.rules.near_misses import causes_of
from carbonation_core.rules.readiness import Shortfall
from carbonation_core.rules.rule_sets import RuleSet
from carbonation_core.text import shown

_AFTERWARDS = {  # by on_timeout
    "warn": "then goes on waiting, with a warning",
    "skip": "then has timed out",
    "archive_partial": "then is archived as it is",
}
LONGEST_LIST = 100  # groups that are named; all are counted
NOTICED = timedelta(minutes=1)  # shorter waits are the usual way of a group
MOST_SUMMED = 1000  # groups of which a summary is made
NEXT_ATTEMPT, NO_WATCH = "for another attempt", "for a watch that is configured no more"


@dataclass(frozen=True, slots=True)
class Wait:
    """What something waits for, as a sentence without its subject, and until when if that is known."""

    says: str
    until: datetime | None = None
    what: str = "for the next look"  # in a few words, which hold for many alike


@dataclass(frozen=True, slots=True)
class Waiter:
    """A group that has waited long, or a file that has no group yet (`group_key` is None)."""

    watch_name: str
    group_key: str | None
    name: str  # the key, or the file's path
    since: datetime
    waits_for: str
    until: datetime | None
    is_overdue: bool  # its timeout has passed
    is_stale: bool  # it waits longer than `stale_threshold`


@dataclass(frozen=True, slots=True)
class Overlong:
    """Who has waited long: the longest first, at most `LONGEST_LIST` of them, and how many there are."""

    waiters: tuple[Waiter, ...]
    number: int


def group_waits(
    group: GroupRow,
    files: Sequence[Component],
    rules: RuleSet | None,
    watch: Watch | None,
    now: datetime,
    batch: BatchRow | None = None,
    strays: Sequence[Component] = (),
    like: str | None = None,
) -> Wait | None:
    """What a group waits for; None when nothing of it waits.

    `batch` is the one that holds it, `strays` are files that have not joined it
    yet, see `strays_of`; `like` says that another group has a key that is read as
    this one, see `like_keys`. Without rules or watch, as of a watch that is
    configured no more, it cannot say what is missing.
    """
    if group.batch_id is not None and batch is not None:
        return _held(batch)
    detected = [file for file in (*files, *strays) if _is_unsettled(file)]
    asking = [file for file in files if file.status in OPEN]
    if not asking and not detected:
        return None
    if watch is None:
        return Wait(
            f"waits for watch {group.watch_name}, which is configured no more",
            what=NO_WATCH,
        )
    if detected:
        return _settling(detected, watch, now)
    state = standing(group, files, watch.root, rules) if rules else None
    if group.due_at is not None and group.due_at > now:
        if state is not None and state.not_before is not None and state.not_before > now:
            says = f"waits {state.lacks.waits} until {shown(group.due_at)}, then is archived as it is"
            return Wait(says, group.due_at, state.lacks.waits)
        return Wait(f"waits for its next attempt, at {shown(group.due_at)}", group.due_at, NEXT_ATTEMPT)
    if group.due_at is not None:
        return Wait(f"is whole, and waits for a run since {shown(group.due_at)}", what="for a run")
    if rules is None or state is None or not state.lacks.is_required:
        return Wait("waits for the next look at its watch")
    return _missing(group, (*files, *strays), state.lacks, rules, like)


def file_waits(file: Component, watch: Watch | None, now: datetime) -> Wait | None:
    """What a file without a group waits for; None when it does not wait."""
    if file.status not in OPEN:
        return None
    if watch is None:
        return Wait(
            f"waits for watch {file.watch_name}, which is configured no more",
            what=NO_WATCH,
        )
    if file.status is FileStatus.RETRY_PENDING and file.retry_at is not None and file.retry_at > now:
        return Wait(f"waits for its next attempt, at {shown(file.retry_at)}", file.retry_at, NEXT_ATTEMPT)
    return (
        _settling([file], watch, now) if _is_unsettled(file) else Wait("waits for the next look at its watch")
    )


def overlong(project: Project, watch_names: Collection[str]) -> Overlong:
    """The groups, and files without one, of these watches that wait longer than they should.

    That is longer than `stale_threshold`, or than their rule set's timeout.
    """
    return _since(project, watch_names, project.config.service.stale_threshold)


def waiting(project: Project, watch_names: Collection[str]) -> Overlong:
    """Who waits for longer than `NOTICED`, whether or not that is too long."""
    return _since(project, watch_names, min(NOTICED, project.config.service.stale_threshold))


def _since(project: Project, watch_names: Collection[str], least: timedelta) -> Overlong:
    now = project.clock()
    stale = now - project.config.service.stale_threshold
    with reading(project.engine) as connection:
        found, number = counts.overlong_groups(connection, watch_names, now - least, LONGEST_LIST)
        alone = counts.overlong_files(connection, watch_names, now - least)
        gathered = _of_groups(project, connection, found)
    watches = {watch.name: watch for watch in project.config.watch}
    waiters = [_file_waiter(file, at, watches.get(file.watch_name), now, stale) for file, at in alone]
    waiters += [_group_waiter(row, files, wait, stale) for row, files, wait in gathered]
    waiters.sort(key=lambda waiter: waiter.since)
    return Overlong(tuple(waiters[:LONGEST_LIST]), number + len(alone))


def summary(project: Project, watch_names: Collection[str]) -> list[str]:
    """What waits for what, a phrase for each: `"2 groups wait for .dat"`; the most frequent first."""
    with reading(project.engine) as connection:
        found, number = counts.overlong_groups(connection, watch_names, None, MOST_SUMMED)
        waits = [wait for _, _, wait in _of_groups(project, connection, found) if wait is not None]
    phrases = []
    for what, how_many in Counter(wait.what for wait in waits).most_common():
        until = min((wait.until for wait in waits if wait.what == what and wait.until), default=None)
        till = f" {'at' if what == NEXT_ATTEMPT else 'until'} {shown(until)}" if until else ""
        if how_many == 1:
            phrases.append(f"1 group waits {what}{till}")
        else:
            phrases.append(f"{how_many} groups wait {what}" + (f", the first{till}" if till else ""))
    if number > len(found):
        phrases.append(f"and {number - len(found)} more wait")
    return phrases


def waits_of_components(project: Project, connection: Connection, ids: Collection[int]) -> dict[int, Wait]:
    """What each of these components waits for, by id; those that do not wait are not in it."""
    now, watches = project.clock(), {watch.name: watch for watch in project.config.watch}
    found = {file.id: file for file in components.by_id(connection, ids) if file.status in OPEN}
    # A file that has not settled waits for that, whatever its group waits for.
    in_groups = {f.group_id for f in found.values() if f.group_id and f.status is not FileStatus.DETECTED}
    by_group = {row.id: wait for row, _, wait in _of_groups(project, connection, in_groups)}
    waits = {
        id_: by_group[file.group_id]
        if file.group_id in by_group and file.status is not FileStatus.DETECTED
        else file_waits(file, watches.get(file.watch_name), now)
        for id_, file in found.items()
    }
    return {id_: wait for id_, wait in waits.items() if wait is not None}


def _of_groups(
    project: Project, connection: Connection, ids: Collection[int]
) -> list[tuple[GroupRow, list[Component], Wait | None]]:
    """These groups with their files, and what each waits for."""
    now, rules = project.clock(), rules_accepted(project, connection)
    watches = {watch.name: watch for watch in project.config.watch}
    rows = groups.by_id(connection, ids)
    files = components.of_groups(connection, ids)
    held = batches.by_id(connection, {row.batch_id for row in rows.values() if row.batch_id})
    strays: dict[int, list[Component]] = {}
    for watch in project.config.watch:
        keys = {row.group_key: row.id for row in rows.values() if row.watch_name == watch.name}
        if keys and rules and watch.rules in rules.sets:
            by_key = strays_of(connection, watch, rules.sets[watch.rules], keys)
            strays |= {keys[key]: others for key, others in by_key.items()}
    found = []
    for row in rows.values():
        of_row = watches.get(row.watch_name)
        rule_set = rules.sets.get(of_row.rules) if rules and of_row else None
        batch = held.get(row.batch_id or "")
        wait = group_waits(row, files[row.id], rule_set, of_row, now, batch, strays.get(row.id, ()))
        found.append((row, files[row.id], wait))
    return found


def _group_waiter(
    group: GroupRow, files: Sequence[Component], wait: Wait | None, stale_before: datetime
) -> Waiter:
    since = group.reopened_at or group.created_at
    return Waiter(
        group.watch_name,
        group.group_key,
        group.group_key,
        since,
        wait.says if wait else _given_up(files),
        wait.until if wait else None,
        is_overdue=group.timed_out_at is not None,
        is_stale=wait is not None and since <= stale_before,
    )


def _file_waiter(
    file: Component, since: datetime, watch: Watch | None, now: datetime, stale_before: datetime
) -> Waiter:
    wait = file_waits(file, watch, now)
    says, until = (wait.says, wait.until) if wait else ("", None)
    return Waiter(
        file.watch_name, None, file.source_path, since, says, until, False, is_stale=since <= stale_before
    )


def _given_up(files: Sequence[Component]) -> str:
    reasons = {file.error_message for file in files if file.status is FileStatus.TIMED_OUT}
    return "timed out: " + ("; ".join(sorted(filter(None, reasons))) or "it waited too long")


def _held(batch: BatchRow) -> Wait:
    if batch.status == OFFERED:
        return Wait(
            f"waits for its run to start; it was offered as batch {batch.id} at {shown(batch.created_at)}",
            what="for a run",
        )
    return Wait(f"is worked on by run {batch.run_id} in batch {batch.id}", what="for a run that is at work")


def _is_unsettled(file: Component) -> bool:
    return file.status is FileStatus.DETECTED and file.in_delivery


def _settling(files: Sequence[Component], watch: Watch, now: datetime) -> Wait:
    last = max(files, key=lambda file: file.quiet_since)
    until = last.quiet_since + timedelta(seconds=watch.settle_seconds)
    if until <= now:
        return Wait(f"waits for the next look at its watch, as {last.filename} has settled")
    return Wait(
        f"waits for {last.filename} to settle: unchanged for {watch.settle_seconds:g} s, "
        f"at {shown(until)} at the earliest",
        until,
        "for a file to settle",
    )


def _missing(
    group: GroupRow,
    files: Sequence[Component],
    lacks: Shortfall,
    rules: RuleSet,
    like: str | None,
) -> Wait:
    there = [file for file in files if file.in_delivery]
    broken = [
        f"{file.filename} failed a check: it {file.error_message}"
        for file in there
        if file.status is FileStatus.INTEGRITY_FAILED
    ]
    causes = [*broken, *causes_of(lacks, [file.filename for file in there], rules)]
    causes += [like] if like else []
    also = "".join(f"; {cause}" for cause in causes)
    what = lacks.waits
    says = f"waits {what}"
    if group.deadline_at is None:
        late = (
            f"; its timeout passed at {shown(group.timed_out_at)}"
            if group.timed_out_at
            else ", without a timeout"
        )
        return Wait(f"{says}{late}{also}", what=what)
    then = _AFTERWARDS[rules.completeness.on_timeout if rules.completeness else "warn"]
    return Wait(f"{says} until {shown(group.deadline_at)}, {then}{also}", group.deadline_at, what)
