"""What a look at a watch leads to, file by file. Pure: whoever gathers the facts reads, nobody here does.

diff(facts, key_of).changes  # what happens to files that were known before
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from carbonation_core.config.sections import ServiceSection, Watch
from carbonation_core.db.components import Arrival, Change, Component, stamp_values
from carbonation_core.delivery.grouping import Lists, NoKey, key_by_name
from carbonation_core.disk.scan import Look, Seen
from carbonation_core.lifecycle import TAKEN, Event, FileStatus, may
from carbonation_core.names import to_text
from carbonation_core.rules import decide
from carbonation_core.rules.rule_sets import RuleSet

KeyOf = Callable[[str], str | NoKey]  # of a file, by its absolute path spelled as text
ListsOf = Callable[[Component], Lists]  # see `grouping.lists_of`


@dataclass(frozen=True)
class Facts:
    """All that a diff follows from.

    `known` are the files of the watch as they were before the look, and those that
    it found again, by absolute path. `whole`: all of the tree was looked at;
    `other_rules`: others than at the last look, or another path of the watch;
    `moving`: the archives that take a source away; `owned`: the groups that
    somebody works on; `unreadable` says why files that have settled cannot be
    read; `quiet`: for how long no file event has told of a file. `jitter` is from
    0 to 1.
    """

    watch: Watch
    rules: RuleSet
    service: ServiceSection
    now: datetime
    seen: Look
    known: Mapping[str, Component]
    whole: bool = True
    other_rules: bool = False
    moving: frozenset[str] = frozenset()
    owned: frozenset[int] = frozenset()
    unreadable: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    quiet: Mapping[str, timedelta] = field(default_factory=lambda: MappingProxyType({}))
    jitter: float = 0.5

    @property
    def settle(self) -> timedelta:
        """How long a file has to be unchanged."""
        return timedelta(seconds=self.watch.settle_seconds)

    def without(self, paths: Collection[str]) -> "Facts":
        """The same, but for these files, by absolute path."""
        if not paths:
            return self
        files = tuple(entry for entry in self.seen.files if self.watch.root + entry.path not in paths)
        known = {path: component for path, component in self.known.items() if path not in paths}
        return replace(self, seen=replace(self.seen, files=files), known=known)

    def found(self) -> dict[str, Seen]:
        """What was seen, by absolute path."""
        return {self.watch.root + entry.path: entry for entry in self.seen.files}


class Kind(StrEnum):
    """What somebody did to a file since the last look."""

    NEW = "new"
    RETURNED = "returned"
    CHANGED = "changed"
    GROWS = "grows"  # changed while it had not settled
    GONE = "gone"


NEWS = (Kind.NEW, Kind.RETURNED, Kind.CHANGED)
CHANGES = (Kind.CHANGED, Kind.GROWS)
DELIVERIES = (*NEWS, Kind.GROWS)


@dataclass(frozen=True)
class Effect:
    """What follows for one file, by its absolute path.

    `key` is that of the group it joins; `settles_in` is None for what has settled.
    """

    path: str
    kind: Kind | None = None
    arrival: Arrival | None = None
    change: Change | None = None
    key: str | None = None
    settles_in: timedelta | None = None
    is_manifest: bool = False


@dataclass(frozen=True)
class Diff:
    """What follows from a look, for each file for which anything does.

    Where names alone give keys, `touched_keys` are those of groups to which files
    belong that came or changed, `unsettled_keys` of those that wait for a file to
    settle. Nothing follows for files that the database `refused`: why, by path.
    """

    effects: tuple[Effect, ...]
    touched_keys: frozenset[str]
    unsettled_keys: frozenset[str]
    refused: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def number(self, *kinds: Kind) -> int:
        """How many files somebody did this to."""
        return sum(effect.kind in kinds for effect in self.effects)

    def without(self, refused: Mapping[str, str]) -> "Diff":
        """What follows when the database refuses these files."""
        left = tuple(effect for effect in self.effects if effect.path not in refused)
        return replace(self, effects=left, refused=refused)

    @property
    def arrivals(self) -> list[Arrival]:
        """Files that were never seen before."""
        return [effect.arrival for effect in self.effects if effect.arrival is not None]

    @property
    def changes(self) -> list[Change]:
        """What happens to files that were known before, at most one thing to each."""
        return [effect.change for effect in self.effects if effect.change is not None]

    @property
    def keys(self) -> dict[int, str]:
        """The keys of the groups that components join, by the components' ids."""
        return {e.change.component.id: e.key for e in self.effects if e.change and e.key is not None}

    @property
    def manifests(self) -> list[Component]:
        """Lists of checksums that have settled."""
        return [e.change.component for e in self.effects if e.change and e.is_manifest]

    @property
    def touched(self) -> set[int]:
        """The groups of which a file changes."""
        ids = {change.component.group_id for change in self.changes}
        return {id_ for id_ in ids if id_ is not None}

    @property
    def unsettled(self) -> list[timedelta]:
        """In what time each file could settle that has not."""
        return [effect.settles_in for effect in self.effects if effect.settles_in is not None]

    @property
    def news(self) -> list[str]:
        """The files that were delivered, be it again, by their absolute paths."""
        return [effect.path for effect in self.effects if effect.kind in NEWS]

    @property
    def is_empty(self) -> bool:
        """Whether all is as it was."""
        return not (self.arrivals or self.changes)


def _nothing(_: Component) -> None:
    return None


def diff(facts: Facts, key_of: KeyOf, lists_of: ListsOf = _nothing) -> Diff:
    """What follows from the facts, for each file; the functions are asked of each that has settled."""
    effects = tuple(_effects(facts, key_of, lists_of))
    keys = _keys_by_name(effects, facts)
    touched = (keys.get(e.path) for e in effects if e.arrival or e.change)
    unsettled = (keys.get(e.path) for e in effects if e.settles_in is not None)
    return Diff(
        effects,
        touched_keys=frozenset(key for key in touched if key is not None),
        unsettled_keys=frozenset(key for key in unsettled if key is not None),
    )


def groups_in_question(facts: Facts) -> set[int]:
    """The groups of which a diff asks whether they are `owned`."""
    ids = {
        component.group_id
        for component in facts.known.values()
        if _may_be_left_behind(component, facts) or _may_be_judged_again(component, facts)
    }
    return {id_ for id_ in ids if id_ is not None}


def settled(facts: Facts) -> list[str]:
    """The files that have settled by now, of which a diff asks whether they are `unreadable`."""
    return [
        path
        for path, entry in facts.found().items()
        if (component := facts.known.get(path)) is not None
        and component.in_delivery
        and component.stamp == entry.stamp
        and component.status is FileStatus.DETECTED
        and _settles_in(component, facts) <= timedelta(0)
    ]


def _keys_by_name(effects: Iterable[Effect], facts: Facts) -> dict[str, str | None]:
    """The keys of files by their paths, each found once; none where a plugin gives them."""
    if facts.rules.waits.group_by == "plugin":
        return {}
    return {e.path: e.key or key_by_name(e.path, facts.watch, facts.rules) for e in effects}


def _effects(facts: Facts, key_of: KeyOf, lists_of: ListsOf) -> Iterator[Effect]:
    found = facts.found()
    for path, entry in found.items():
        if path not in facts.known:
            quiet = _quiet(path, entry, facts)
            arrival = Arrival(path, entry.stamp, quiet)
            yield Effect(path, Kind.NEW, arrival=arrival, settles_in=facts.settle - quiet)
    for path, component in facts.known.items():
        if path in found:
            effect = _of_found(component, found[path], facts, key_of, lists_of)
        else:
            effect = _of_absent(component, facts)
        if effect is None and _is_judged_again(component, facts):
            effect = _judged_anew(
                component, facts, Event.RULES_CHANGED, "the rules, or the watch's path, changed"
            )
        if effect is not None:
            yield effect


def _of_found(
    component: Component, entry: Seen, facts: Facts, key_of: KeyOf, lists_of: ListsOf
) -> Effect | None:
    if not component.in_delivery:
        return _of_returned(component, entry, facts)
    if component.stamp != entry.stamp:
        return _of_changed(component, entry, facts)
    if component.status is FileStatus.DETECTED:
        wait = _settles_in(component, facts)
        if wait > facts.settle:  # the clock went back; only what we see from now on counts
            quiet = Change(component, values={"quiet_since": facts.now})
            return Effect(component.source_path, change=quiet, settles_in=facts.settle)
        if wait > timedelta(0):
            return Effect(component.source_path, settles_in=wait)
        return _of_settled(component, entry, facts, key_of, lists_of)
    if _is_left_behind(component, facts):
        reason = "its source was not removed when it was moved"
        return _of_changed(component, entry, facts, reason)
    if _is_due_alone(component, facts.now):
        return _judged_anew(component, facts, Event.RECHECKED)
    return None


def _of_returned(component: Component, entry: Seen, facts: Facts) -> Effect:
    if component.status is FileStatus.ARCHIVED and component.stamp == entry.stamp:
        # The very file that we archived, as after its mount was away.
        return _effect(component, values={"in_delivery": True})
    if component.status is FileStatus.CLEARED:
        event = Event.RETURNED
    elif component.status in TAKEN:
        event = Event.REDELIVERED
    else:
        event = Event.CHANGED
    effect = _effect(component, event, "is back in delivery", stamp_values(entry.stamp))
    return replace(effect, kind=Kind.RETURNED, settles_in=facts.settle)


def _of_changed(component: Component, entry: Seen, facts: Facts, reason: str | None = None) -> Effect:
    stamp = stamp_values(entry.stamp)
    if component.status is FileStatus.DETECTED:
        quiet = _quiet(component.source_path, entry, facts)
        effect = _effect(component, values={**stamp, "quiet_since": facts.now - quiet})
        return replace(effect, kind=Kind.GROWS, settles_in=facts.settle - quiet)
    if component.status in TAKEN:
        effect = _effect(component, Event.REDELIVERED, reason or "was delivered again", stamp)
    else:
        effect = _effect(component, Event.CHANGED, reason or "has changed", stamp)
    return replace(effect, kind=Kind.CHANGED, settles_in=facts.settle)


def _of_settled(component: Component, entry: Seen, facts: Facts, key_of: KeyOf, lists_of: ListsOf) -> Effect:
    fault = (
        entry.fault
        or decide.stat_fault(component.filename, entry.stamp.size, facts.rules)
        or facts.unreadable.get(component.source_path)
    )
    if fault is not None:
        return _effect(component, Event.CHECK_FAILED, fault)
    if decide.is_manifest(component.filename, facts.rules):
        return replace(_left_alone(component, "is a manifest of checksums"), is_manifest=True)
    key = key_of(component.source_path)
    if isinstance(key, str):
        return _joins(component, key, lists_of(component), facts)
    return (
        _failed_to_group(component, key.reason, facts) if key.failed else _left_alone(component, key.reason)
    )


def _joins(component: Component, key: str, lists: Lists, facts: Facts) -> Effect:
    if isinstance(lists, str):
        return _effect(component, Event.CHECK_FAILED, f"{lists}, and so is no manifest")
    if isinstance(lists, NoKey):
        return _failed_to_group(component, lists.reason, facts)
    values = {"lists": lists} if lists != component.lists else {}
    return replace(_effect(component, Event.GROUPED, values=values), key=key)


def _left_alone(component: Component, reason: str) -> Effect:
    # A group that it once belonged to must not take it along later.
    return _effect(component, Event.LEFT_ALONE, reason, {"group_id": None})


def _failed_to_group(component: Component, reason: str, facts: Facts) -> Effect:
    attempts = component.retry_count + 1
    decision = decide.after_failure(attempts, facts.service, facts.now, reason, facts.jitter)
    event = Event.GAVE_UP if decision.at is None else Event.ATTEMPT_FAILED
    values = {"retry_count": decision.attempts, "retry_at": decision.at}
    return _effect(component, event, decision.reason, values)


def _of_absent(component: Component, facts: Facts) -> Effect | None:
    root, path = facts.watch.root, component.source_path
    if not component.in_delivery or not facts.seen.could_see(path.removeprefix(root)):
        return None
    if not path.startswith(root):
        # Nobody looks there any more, and its group would wait for it for ever.
        reason = f"the watch looks at {to_text(str(facts.watch.path))} now"
    elif not facts.watch.takes(path.removeprefix(root)):
        reason = "the watch's patterns no longer take it"
    else:
        reason = "left delivery"
    if component.in_archive and may(component.status, Event.WITHDRAWN):
        effect = _effect(component, Event.WITHDRAWN, reason)
    elif may(component.status, Event.LEFT):
        effect = _effect(component, Event.LEFT, reason)
    else:
        effect = _effect(component, values={"in_delivery": False})
    return replace(effect, kind=Kind.GONE)


def _effect(
    component: Component,
    event: Event | None = None,
    reason: str | None = None,
    values: Mapping[str, Any] = MappingProxyType({}),
) -> Effect:
    return Effect(component.source_path, change=Change(component, event, reason, values))


def _judged_anew(component: Component, facts: Facts, event: Event, reason: str | None = None) -> Effect:
    """The next look judges it, which need not be waited for."""
    wait = max(timedelta(0), _settles_in(component, facts))
    return replace(_effect(component, event, reason), settles_in=wait)


def _quiet(path: str, entry: Seen, facts: Facts) -> timedelta:
    """How long a file has surely been as it is seen for the first time now.

    An event may still be on its way, or have come after the hints were taken. Then
    the file's own ctime is younger than the event that is known, and counts.
    """
    changed = timedelta(seconds=facts.now.timestamp() - entry.stamp.ctime_ns / 1e9)
    return max(timedelta(0), min(facts.quiet.get(path, timedelta(0)), changed))


def _settles_in(component: Component, facts: Facts) -> timedelta:
    return decide.settles_in(component.quiet_since, facts.now, facts.watch.settle_seconds)


def _is_due_alone(component: Component, now: datetime) -> bool:
    """Whether a file that could not be given a group is to be tried again."""
    alone = component.status is FileStatus.RETRY_PENDING and component.group_id is None
    return alone and (component.retry_at is None or component.retry_at <= now)


def _may_be_left_behind(component: Component, facts: Facts) -> bool:
    """Whether a `move` should have removed the source of an archived file."""
    return (
        facts.whole
        and component.status is FileStatus.ARCHIVED
        and component.archive_name in facts.moving
        # One with a message stays there for the reason that it gives.
        and not component.error_message
    )


def _is_left_behind(component: Component, facts: Facts) -> bool:
    """Whether it should have, and nobody will."""
    return _may_be_left_behind(component, facts) and component.group_id not in facts.owned


def _may_be_judged_again(component: Component, facts: Facts) -> bool:
    return facts.other_rules and may(component.status, Event.RULES_CHANGED)


def _is_judged_again(component: Component, facts: Facts) -> bool:
    """Whether what the earlier rules decided is decided anew."""
    return _may_be_judged_again(component, facts) and component.group_id not in facts.owned
