"""A look at a watch: what is new, changed, settled or gone, and which groups that makes ready."""

import logging
import os
import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from carbonation_core import rules as decide
from carbonation_core.config import Watch
from carbonation_core.db import components, groups, service
from carbonation_core.db.components import Arrival, Change, Component
from carbonation_core.db.engine import reading, writing
from carbonation_core.db.service import PartState
from carbonation_core.errors import ScanError
from carbonation_core.grouping import expire, refresh
from carbonation_core.lifecycle import Event, FileStatus, may
from carbonation_core.names import to_path, to_text
from carbonation_core.project import Project, rules_in_force
from carbonation_core.ruleset import RuleSet
from carbonation_core.scan import Hints, Look, Seen, look, unreadable

log = logging.getLogger(__name__)

LAST_NEW = "last_new"  # in a watch's details: when something was last delivered, in ISO 8601
_JUDGED_AGAIN = (
    FileStatus.NOT_SELECTED,
    FileStatus.WAITING,
    FileStatus.INTEGRITY_FAILED,
    FileStatus.TIMED_OUT,
    FileStatus.FAILED,
)


@dataclass(frozen=True)
class Observation:
    """What one look at a watch found.

    `files` is how many lie there by the last look at the whole tree, `settles_in`
    when the next file could have settled.
    """

    watch_name: str
    files: int
    new: int
    returned: int
    changed: int
    gone: int
    unsettled: int
    ready: int
    rules_digest: str
    settles_in: timedelta | None


def observe(project: Project, watch_name: str, hints: Hints | None = None) -> Observation:
    """Look at a watch once and record what follows.

    With hints only those places are looked at, and the files that have not
    settled; without, or when the rules changed, the whole tree. Raises
    `ScanError` when its directory cannot be looked at; then nothing is concluded.
    Raises `ConfigError` when there are no usable rules.
    """
    watch = project.config.watch_named(watch_name)
    rules = rules_in_force(project)
    rule_set = rules.sets[watch.rules]
    # What is known is read before the look: a file that the pipeline moves
    # away in between is then a change overtaken, not a file that came back.
    with reading(project.engine) as connection:
        last = service.get(connection, part_name(watch_name))
        if last is None or last.details.get("rules_digest") != rules.digest or _was_mounted(watch, last):
            hints = None
        if hints is None:
            known = components.in_delivery(connection, watch_name)
        else:
            known = _hinted(connection, watch, hints)
            hints = replace(hints, files=hints.files | _relative(watch, known))
    try:
        seen = _look(watch, known, last, hints)
    except ScanError as error:
        _say_unwell(project, watch_name, last, str(error))
        raise
    for directory, reason in seen.unreadable:
        log.warning("watch %s: directory %s cannot be looked at: %s", watch_name, directory, reason)
    now = project.clock()
    judging = _Judging(project, watch, rule_set, now)
    with reading(project.engine) as connection:
        judging.compare(connection, known, seen, whole=hints is None)
        if last is not None and last.details.get("rules_digest") != rules.digest:
            judging.judge_again(connection, known)
    details: dict[str, Any] = {
        "rules_digest": rules.digest,
        "files": len(seen.files) if hints is None else judging.count(last),
        "device": watch.path.stat().st_dev,
        "error": None,
        LAST_NEW: now.isoformat() if judging.has_news else last and last.details.get(LAST_NEW),
    }
    with reading(project.engine) as connection:
        idle = (
            judging.is_empty
            and last is not None
            and last.details == details
            and timedelta(0) <= now - last.last_heartbeat < project.config.service.heartbeat_interval
            and not groups.overdue(connection, watch_name, now)
        )
        ready = groups.count_due(connection, watch_name, now)
    if not idle:
        with writing(project.engine) as connection:
            components.lock(connection, part_name(watch_name))
            if last is not None and now < last.last_heartbeat:  # the clock went back
                judging.touched |= groups.postponed(connection, watch_name, now)
            _record(connection, judging)
            expire(connection, watch_name, rule_set, now)
            service.say(connection, part_name(watch_name), now, details, started=last is None)
            ready = groups.count_due(connection, watch_name, now)
    return Observation(
        watch_name,
        files=details["files"],
        new=len(judging.arrivals),
        returned=judging.tally["returned"],
        changed=judging.tally["changed"],
        gone=judging.tally["gone"],
        unsettled=len(judging.unsettled),
        ready=ready,
        rules_digest=rules.digest,
        settles_in=min(judging.unsettled.values(), default=None),
    )


def _was_mounted(watch: Watch, last: PartState) -> bool:
    """Whether another file system lies there than when it was looked at last."""
    return watch.path.exists() and last.details.get("device") != watch.path.stat().st_dev


def _look(watch: Watch, known: Sequence[Component], last: PartState | None, hints: Hints | None) -> Look:
    seen = look(watch.path, watch.recursive, watch.symlinks, lambda name: decide.wanted(name, watch), hints)
    before = last.details.get("device") if last else None
    if not seen.files and known and before not in (None, watch.path.stat().st_dev):
        raise ScanError(f"{watch.path}: is empty, and another file system than before; is it mounted?")
    return seen


def _hinted(connection: Connection, watch: Watch, hints: Hints) -> list[Component]:
    """What is known of the places that hints point to, and of files that wait for a look."""
    root = _root(watch)
    found = [
        *components.by_path(connection, watch.name, [root + path for path in hints.files]),
        *components.below(connection, watch.name, [root + path for path in hints.directories]),
        *components.awaiting_a_look(connection, watch.name),
    ]
    return list({component.id: component for component in found}.values())


def _relative(watch: Watch, known: Sequence[Component]) -> set[str]:
    root = _root(watch)
    return {c.source_path.removeprefix(root) for c in known if c.source_path.startswith(root)}


def _root(watch: Watch) -> str:
    return to_text(str(watch.path)) + "/"


def part_name(watch_name: str) -> str:
    """The watch as a part of the service: its lock and its heartbeat go by this name."""
    return f"watch:{watch_name}"


@dataclass
class _Judging:
    """What a look leads to, decided before anything is written."""

    project: Project
    watch: Watch
    rules: RuleSet
    now: datetime
    arrivals: list[Arrival] = field(default_factory=list)
    changes: dict[int, Change] = field(default_factory=dict)  # by component
    keys: dict[int, str] = field(default_factory=dict)  # of components that get a group
    manifests: list[Component] = field(default_factory=list)  # lists of checksums that have settled
    touched: set[int] = field(default_factory=set)  # groups whose files changed
    touched_keys: set[str] = field(default_factory=set)  # likewise, by key
    unsettled: dict[str, timedelta] = field(default_factory=dict)  # path → settles in
    tally: Counter[str] = field(default_factory=Counter)

    @property
    def is_empty(self) -> bool:
        return not (self.arrivals or self.changes)

    @property
    def has_news(self) -> bool:
        """Whether somebody delivered something, be it a file that was there before."""
        return bool(self.arrivals or self.tally["returned"] or self.tally["changed"])

    @cached_property
    def root(self) -> str:
        return _root(self.watch)

    @property
    def settle(self) -> timedelta:
        return timedelta(seconds=self.watch.settle_seconds)

    def count(self, last: PartState | None) -> int:
        """How many files lie there, by the last count and what changed since."""
        before = last.details.get("files", 0) if last else 0
        come = len(self.arrivals) + self.tally["returned"]
        return max(0, int(before) + come - self.tally["gone"])

    def unsettled_keys(self) -> set[str]:
        return {key for key in map(self.key_by_name, self.unsettled) if key is not None}

    def key_by_name(self, path: str) -> str | None:
        """The key of a file whose name alone decides; None if a plugin would."""
        if self.rules.completeness is not None and self.rules.completeness.group_by == "plugin":
            return None
        return decide.group_key(path, self.rules)

    def compare(self, connection: Connection, known: Sequence[Component], seen: Look, whole: bool) -> None:
        """What every file seen and every file gone leads to; `whole`: all of the tree was looked at."""
        by_path = {component.source_path: component for component in known}
        files = {self.root + entry.path: entry for entry in seen.files}
        unknown = [path for path in files if path not in by_path]
        returning = components.by_path(connection, self.watch.name, unknown)
        by_path |= {component.source_path: component for component in returning}
        moved = self._left_behind(connection, known) if whole else set()
        for path, entry in files.items():
            component = by_path.get(path)
            if component is None:
                self.arrivals.append(Arrival(path, entry.stamp))
                self.unsettled[entry.path] = self.settle
            elif not component.in_delivery:
                self._came_back(component, entry)
            elif component.stamp != entry.stamp:
                self._changed(component, entry, None)
            elif component.status is FileStatus.DETECTED:
                self._perhaps_settled(component, entry)
            elif component.id in moved:
                self._changed(component, entry, "its source was not removed when it was moved")
            elif self._is_due_alone(component):
                self._change(component, Event.RECHECKED)
        for one in known:
            path = one.source_path
            if path in files or not one.in_delivery or not path.startswith(self.root):
                continue
            if seen.could_see(path.removeprefix(self.root)):
                self._gone(one)

    def _is_due_alone(self, component: Component) -> bool:
        """Whether a file that could not be given a group is to be tried again."""
        alone = component.status is FileStatus.RETRY_PENDING and component.group_id is None
        return alone and (component.retry_at is None or component.retry_at <= self.now)

    def judge_again(self, connection: Connection, known: Sequence[Component]) -> None:
        """Other rules are in force: what the old ones decided is decided anew."""
        candidates = [c for c in known if c.status in _JUDGED_AGAIN and c.id not in self.changes]
        owned = _owned(connection, candidates)
        for component in candidates:
            if component.group_id not in owned:
                self._change(component, Event.RULES_CHANGED, "the rules changed")

    def _change(
        self,
        component: Component,
        event: Event | None,
        reason: str | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> None:
        self.changes[component.id] = Change(component, event, reason, values or {})
        if component.group_id is not None:
            self.touched.add(component.group_id)
        key = self.key_by_name(component.source_path.removeprefix(self.root))
        if key is not None:
            self.touched_keys.add(key)

    def _came_back(self, component: Component, entry: Seen) -> None:
        if component.status is FileStatus.ARCHIVED and component.stamp == entry.stamp:
            # The very file that we archived, as after its mount was away.
            self._change(component, None, values={"in_delivery": True})
            return
        if component.status is FileStatus.CLEARED:
            event = Event.RETURNED
        elif component.status in (FileStatus.ARCHIVED, FileStatus.MISSING):
            event = Event.REDELIVERED
        else:
            event = Event.CHANGED
        self.tally["returned"] += 1
        self.unsettled[entry.path] = self.settle
        self._change(component, event, "is back in delivery", components.stamp_values(entry.stamp))

    def _changed(self, component: Component, entry: Seen, reason: str | None) -> None:
        self.tally["changed"] += 1
        self.unsettled[entry.path] = self.settle
        stamp = components.stamp_values(entry.stamp)
        if component.status is FileStatus.DETECTED:
            self._change(component, None, values={**stamp, "quiet_since": self.now})
        elif component.status in (FileStatus.ARCHIVED, FileStatus.MISSING):
            self._change(component, Event.REDELIVERED, reason or "was delivered again", stamp)
        else:
            self._change(component, Event.CHANGED, reason or "has changed", stamp)

    def _perhaps_settled(self, component: Component, entry: Seen) -> None:
        wait = decide.settles_in(component.quiet_since, self.now, self.watch.settle_seconds)
        if wait > self.settle:  # the clock went back; only what we see from now on counts
            self._change(component, None, values={"quiet_since": self.now})
            wait = self.settle
        if wait > timedelta(0):
            self.unsettled[entry.path] = wait
            return
        path = to_path(component.source_path)
        fault = (
            entry.fault
            or decide.stat_fault(component.filename, entry.stamp.size, self.rules)
            or unreadable(path)
        )
        if fault is not None:
            self._change(component, Event.CHECK_FAILED, fault)
            return
        if decide.is_manifest(component.filename, self.rules):
            self.manifests.append(component)
            self._left_alone(component, "is a manifest of checksums")
            return
        key = self.key_by_name(entry.path)
        if key is None:
            self._ask_for_key(component, Path(path))
        else:
            self.keys[component.id] = key
            self._change(component, Event.GROUPED)

    def _ask_for_key(self, component: Component, path: Path) -> None:
        assert self.rules.completeness is not None
        name = self.rules.completeness.group_function
        assert name is not None
        try:
            key: object = self.project.plugin.group_functions[name](file_path=path)
            if key is not None and (not isinstance(key, str) or not key):
                raise TypeError(f"a key should be text or None, not {key!r}")
        except Exception as error:  # noqa: BLE001  # a plugin may raise anything
            self._failed_to_group(
                component, f'group function "{name}" raised {type(error).__name__}: {error}'
            )
            return
        if key is None:
            self._left_alone(component, f'group function "{name}" gives it no group')
        else:
            self.keys[component.id] = to_text(str(key))
            self._change(component, Event.GROUPED)

    def _left_alone(self, component: Component, reason: str) -> None:
        # A group that it once belonged to must not take it along later.
        self._change(component, Event.LEFT_ALONE, reason, {"group_id": None})

    def _failed_to_group(self, component: Component, reason: str) -> None:
        decision = decide.after_failure(
            component.retry_count + 1,
            self.project.config.service,
            self.now,
            reason,
            random.random(),  # noqa: S311  # spreads load
        )
        event = Event.GAVE_UP if decision.at is None else Event.ATTEMPT_FAILED
        values = {"retry_count": decision.attempts, "retry_at": decision.at}
        self._change(component, event, decision.reason, values)

    def _gone(self, component: Component) -> None:
        self.tally["gone"] += 1
        shut_out = not decide.wanted(component.filename, self.watch)
        reason = "the watch's patterns no longer take it" if shut_out else "left delivery"
        if component.in_archive and may(component.status, Event.WITHDRAWN):
            self._change(component, Event.WITHDRAWN, reason)
        elif may(component.status, Event.LEFT):
            self._change(component, Event.LEFT, reason)
        else:
            self._change(component, None, values={"in_delivery": False})

    def _left_behind(self, connection: Connection, known: Sequence[Component]) -> set[int]:
        """Archived components whose source a `move` should have removed, and nobody will."""
        moving = {archive.name for archive in self.project.config.archive if archive.action == "move"}
        candidates = [
            c
            for c in known
            # One with a message stays there for the reason that it gives.
            if c.status is FileStatus.ARCHIVED and c.archive_name in moving and not c.error_message
        ]
        owned = _owned(connection, candidates)
        return {component.id for component in candidates if component.group_id not in owned}


def _owned(connection: Connection, found: Sequence[Component]) -> set[int | None]:
    ids = {component.group_id for component in found if component.group_id is not None}
    rows = groups.by_id(connection, ids).values()
    return {row.id for row in rows if row.batch_id is not None}


def _record(connection: Connection, judging: _Judging) -> None:
    watch, now = judging.watch, judging.now
    components.record_arrivals(connection, watch.name, judging.arrivals, now)
    rows = groups.ensure(connection, watch.name, watch.type, judging.keys.values(), now)
    changes = [
        replace(change, values={**change.values, "group_id": rows[judging.keys[id_]].id})
        if id_ in judging.keys
        else change
        for id_, change in judging.changes.items()
    ]
    made = components.apply(connection, changes, now)
    joined = {rows[judging.keys[c.component.id]].id for c in made if c.component.id in judging.keys}
    joined |= _judge_by_new_sums(connection, judging, joined, {change.component.id for change in made})
    _reopen(connection, joined, now)
    by_name = groups.by_key(connection, watch.name, judging.touched_keys)
    touched = judging.touched | joined | {row.id for row in by_name.values()}
    refresh(connection, judging.rules, touched, judging.unsettled_keys(), now)


def _judge_by_new_sums(
    connection: Connection, judging: _Judging, joined: Collection[int], made: Collection[int]
) -> set[int]:
    """Have judged again what failed, or waits, by checksums that came or changed; the groups of it.

    An attempt that was counted is not repeated before its time.
    """
    rules = judging.rules
    if not rules.checksums:
        return set()
    found = [
        file
        for members in components.of_groups(connection, joined if rules.sidecars else ()).values()
        for file in members
        if file.status is FileStatus.INTEGRITY_FAILED
    ]
    directories = {os.path.dirname(m.source_path) for m in judging.manifests if m.id in made}
    if directories:
        stuck = (FileStatus.INTEGRITY_FAILED, FileStatus.RETRY_PENDING)
        found += [
            file
            for file in components.in_status(connection, judging.watch.name, stuck)
            if os.path.dirname(file.source_path) in directories and not file.retry_count
        ]
    again = {
        file.id: Change(file, Event.SUMS_CHANGED, "its checksums arrived or changed")
        for file in found
        if file.in_delivery
        and file.group_id is not None
        and decide.may_fail_by_sums(file.filename, rules)
        and decide.stat_fault(file.filename, file.stamp.size, rules) is None
    }
    components.apply(connection, list(again.values()), judging.now)
    woken = {change.component.group_id for change in again.values()} - {None}
    groups.store(connection, [{"id": id_, "due_at": None} for id_ in woken], judging.now)
    return {id_ for id_ in woken if id_ is not None}


def _reopen(connection: Connection, group_ids: Collection[int], now: datetime) -> None:
    """Begin anew with groups that got a file after they had come to an end or failed."""
    files = components.of_groups(connection, group_ids)
    rows = groups.by_id(connection, group_ids)
    judged_anew = [
        Change(component, Event.SIBLING_ARRIVED, "its group got another file")
        for members in files.values()
        for component in members
        if component.in_delivery and may(component.status, Event.SIBLING_ARRIVED)
    ]
    components.apply(connection, judged_anew, now)
    revived = {change.component.group_id for change in judged_anew}
    groups.store(
        connection,
        [
            {"id": row.id, "reopened_at": now, "timed_out_at": None, "attempts": 0}
            for row in rows.values()
            if row.id in revived or row.complete or row.attempts or row.timed_out_at
        ],
        now,
    )


def _say_unwell(project: Project, watch_name: str, last: PartState | None, error: str) -> None:
    if last is not None and last.details.get("error") == error:
        return
    now = project.clock()
    details = {**(last.details if last else {}), "error": error}
    with writing(project.engine) as connection:
        service.say(connection, part_name(watch_name), now, details, started=last is None)
