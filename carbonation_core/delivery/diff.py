"""What a look at a watch leads to, file by file, decided before anything is written."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from carbonation_core.config.sections import Watch
from carbonation_core.db import components, groups
from carbonation_core.db.components import Arrival, Change, Component
from carbonation_core.db.engine import Connection
from carbonation_core.db.service import PartState
from carbonation_core.delivery.grouping import NoKey, key_of
from carbonation_core.disk.scan import Look, Seen, unreadable
from carbonation_core.lifecycle import Event, FileStatus, may
from carbonation_core.names import to_path, to_text
from carbonation_core.project import Project
from carbonation_core.rules import decide
from carbonation_core.rules.rule_sets import RuleSet

_JUDGED_AGAIN = (
    FileStatus.NOT_SELECTED,
    FileStatus.WAITING,
    FileStatus.INTEGRITY_FAILED,
    FileStatus.TIMED_OUT,
    FileStatus.FAILED,
)


def root_of(watch: Watch) -> str:
    """What the absolute path of every file of the watch begins with, spelled as text."""
    return to_text(str(watch.path)) + "/"


@dataclass
class Judging:
    """What a look leads to, and what it is decided by."""

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
    news: set[str] = field(default_factory=set)  # relative paths of what was delivered, be it again

    @property
    def is_empty(self) -> bool:
        """Whether all is as it was."""
        return not (self.arrivals or self.changes)

    @property
    def has_news(self) -> bool:
        """Whether somebody delivered something, be it a file that was there before."""
        return bool(self.arrivals or self.tally["returned"] or self.tally["changed"])

    @cached_property
    def root(self) -> str:
        """What every absolute path of the watch begins with."""
        return root_of(self.watch)

    @property
    def settle(self) -> timedelta:
        """How long a file has to be unchanged."""
        return timedelta(seconds=self.watch.settle_seconds)

    def count(self, last: PartState | None) -> int:
        """How many files lie there, by the last count and what changed since."""
        before = last.details.get("files", 0) if last else 0
        come = len(self.arrivals) + self.tally["returned"]
        return max(0, int(before) + come - self.tally["gone"])

    def unsettled_keys(self) -> set[str]:
        """The groups that wait for a file to settle, where names alone give keys."""
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
                self.news.add(entry.path)
                self.unsettled[entry.path] = self.settle
                self._touch_key(path)
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
        self._touch_key(component.source_path)

    def _touch_key(self, path: str) -> None:
        key = self.key_by_name(path.removeprefix(self.root))
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
        self.news.add(entry.path)
        self.unsettled[entry.path] = self.settle
        self._change(component, event, "is back in delivery", components.stamp_values(entry.stamp))

    def _changed(self, component: Component, entry: Seen, reason: str | None) -> None:
        self.tally["changed"] += 1
        self.unsettled[entry.path] = self.settle
        stamp = components.stamp_values(entry.stamp)
        if component.status is FileStatus.DETECTED:
            self._change(component, None, values={**stamp, "quiet_since": self.now})
            return
        self.news.add(entry.path)
        if component.status in (FileStatus.ARCHIVED, FileStatus.MISSING):
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
        key = key_of(self.watch, self.rules, self.project.plugin, component.source_path)
        if not isinstance(key, NoKey):
            self.keys[component.id] = key
            self._change(component, Event.GROUPED)
        elif key.failed:
            self._failed_to_group(component, key.reason)
        else:
            self._left_alone(component, key.reason)

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
