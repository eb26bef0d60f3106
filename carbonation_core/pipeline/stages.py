"""The stages before archiving: each takes open groups and says what becomes of them.

A stage decides; `work` records. Nothing here writes to disk or database.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from carbonation_core.config.templates import fill
from carbonation_core.db.columns import as_json
from carbonation_core.db.components import Change, Component
from carbonation_core.delivery.grouping import member_of
from carbonation_core.disk import source
from carbonation_core.disk.scan import unreadable
from carbonation_core.errors import AttemptFailed, ConfigError, EnvironmentFault, Unroutable
from carbonation_core.lifecycle import Event, FileStatus, Outcome
from carbonation_core.logs.records import about
from carbonation_core.names import to_path, to_text
from carbonation_core.pipeline.context import (
    Closing,
    Described,
    OpenGroup,
    Route,
    StageContext,
    StageResult,
    closing,
    source_of,
)
from carbonation_core.pipeline.integrity import Contents, Fault
from carbonation_core.plugin import checked_metadata
from carbonation_core.rules import decide
from carbonation_core.rules.near_misses import waits
from carbonation_core.rules.readiness import readiness
from carbonation_core.text import shown, written


def _each(groups: Iterable[OpenGroup], decide_of: Callable[[OpenGroup], OpenGroup | Closing]) -> StageResult:
    """What is decided of each group by itself; an attempt that fails ends the way of that group alone."""
    decided: list[OpenGroup | Closing] = []
    for group in groups:
        try:
            with about(group_key=group.key):
                decided.append(decide_of(group))
        except AttemptFailed as error:
            decided.append(closing(group, error))
    return StageResult(
        tuple(one for one in decided if isinstance(one, OpenGroup)),
        tuple(one for one in decided if isinstance(one, Closing)),
    )


def integrity(context: StageContext, groups: Iterable[OpenGroup], contents: Contents) -> StageResult:
    """All checks again, on the files as they are now."""
    faults: dict[int, list[Fault]] = {}

    def looked_at(group: OpenGroup) -> OpenGroup | Closing:
        if ended := _overtaken(context, group):
            return ended
        faults[group.id] = _faults(group, context, contents)
        return group

    looked = _each(groups, looked_at)
    # After all were read: what one of them is judged by may have changed by then.
    judged = _each(looked.passed, lambda group: _judged(context, contents, group, faults[group.id]))
    changes = tuple(
        Change(file, Event.CHECK_FAILED, reason)
        for group in judged.passed
        for file, reason in _broken(faults[group.id])
    )
    return StageResult(judged.passed, (*looked.closed, *judged.closed), changes)


def _faults(group: OpenGroup, context: StageContext, contents: Contents) -> list[Fault]:
    by_stat = [
        Fault(file, reason)
        for file in group.asking
        if (reason := decide.stat_fault(file.filename, file.stamp.size, context.rules))
        or (reason := unreadable(to_path(file.source_path)))
    ]
    return by_stat or contents.faults(group.files, group.opened_at)


def _broken(faults: Sequence[Fault]) -> list[tuple[Component, str]]:
    """The files that fail a check for good, each with the first reason."""
    broken = {fault.file.id: fault for fault in reversed(faults) if fault.until is None}
    return [(fault.file, fault.reason) for fault in broken.values()]


def _judged(
    context: StageContext, contents: Contents, group: OpenGroup, faults: Sequence[Fault]
) -> OpenGroup | Closing:
    """What becomes of a group by the faults of its files."""
    # Who corrects something while others are read must not find it failed by
    # what was there before: nothing would have it judged again.
    if faults and (ended := _overtaken(context, group)):
        return ended
    if faults and not contents.are_current():
        return Closing(group, Outcome.WAITING, "the checksums it is judged by have changed")
    broken = {file.id: reason for file, reason in _broken(faults)}
    waits = [fault.until for fault in faults if fault.until is not None]
    if waits and not broken:
        reason = "; ".join(f"{fault.file.filename}: {fault.reason}" for fault in faults)
        return Closing(group, Outcome.RETRY_PENDING, reason, counts=False, at=min(waits))
    files = [
        file._replace(status=FileStatus.INTEGRITY_FAILED, error_message=broken[file.id])
        if file.id in broken
        else file
        for file in group.files
    ]
    asking = [file for file in files if file.status is FileStatus.WAITING]
    return replace(group, files=files, judged=state_of(asking))


def _overtaken(context: StageContext, group: OpenGroup) -> Closing | None:
    changed = [file for file in group.asking if not source.is_unchanged(source_of(context.watch, file))]
    if not changed:
        return None
    return Closing(group, Outcome.WAITING, f"{changed[0].filename} has changed or left since it was judged")


def state_of(files: Iterable[Component]) -> str:
    """What names these files in this state: a SHA-256, in hexadecimal."""
    states = sorted(
        f"{f.id} {f.stamp.size} {f.stamp.mtime_ns} {f.stamp.ctime_ns} {f.stamp.inode}" for f in files
    )
    return hashlib.sha256("\n".join(states).encode()).hexdigest()


def as_judged(groups: Sequence[OpenGroup]) -> StageResult:
    """Are they the very files that passed the integrity stage?."""

    def same(group: OpenGroup) -> OpenGroup | Closing:
        if state_of(group.asking) == group.judged:
            return group
        return Closing(group, Outcome.WAITING, "its files are no longer those that passed the checks")

    return _each(groups, same)


def completeness(context: StageContext, groups: Iterable[OpenGroup]) -> StageResult:
    """Still whole?."""
    return _each(groups, lambda group: _whole(context, group))


def _whole(context: StageContext, group: OpenGroup) -> OpenGroup | Closing:
    members = [member_of(file, context.watch.root) for file in group.files]
    state = readiness(members, context.rules, False, group.timed_out, group.opened_at)
    waits_for_wanted = state.not_before is not None and state.not_before > context.project.clock()
    if state.ready and not waits_for_wanted and _holds_something(context, group):
        return group
    if state.ready and not waits_for_wanted:
        reason = "there is nothing but what is only read, and not archived"
        return Closing(group, Outcome.NOT_SELECTED, reason)
    broken = [f for f in group.files if f.status is FileStatus.INTEGRITY_FAILED]
    if broken:
        reason = "; ".join(f"{file.filename} {file.error_message}" for file in broken)
        return Closing(group, Outcome.INTEGRITY_FAILED, reason)
    names = [file.filename for file in group.files]
    lacking = waits(state.lacks, names, context.rules) or "for a file that has not settled"
    until = f" until {shown(state.not_before)}" if state.not_before else ""
    return Closing(group, Outcome.WAITING, f"waits {lacking}{until}")


def extract(context: StageContext, groups: Iterable[OpenGroup]) -> StageResult:
    """Ask the plugin what the files are."""
    if context.rules.metadata is None:
        return StageResult(tuple(groups))
    name = context.rules.metadata.extract
    takes_fields = context.plugin.takes_fields(name)
    found: dict[int, Described] = {}

    def described(group: OpenGroup) -> OpenGroup:
        if not group.is_late:
            keywords = {"fields": _fields(context, group)} if takes_fields else {}
            found[group.id] = _extracted(context, group, name, keywords)
        return group

    return replace(_each(groups, described), metadata=found)


def select(
    context: StageContext, groups: Iterable[OpenGroup], metadata: Mapping[int, Mapping[str, Any]]
) -> StageResult:
    """Is it wanted?."""

    def wanted(group: OpenGroup) -> OpenGroup | Closing:
        if group.is_late:
            return group
        verdict = decide.selected(
            _known(context, group, metadata[group.id]), context.rules, context.plugin.asked
        )
        if not verdict.holds:
            return Closing(group, Outcome.NOT_SELECTED, verdict.reason)
        return replace(group, reason=verdict.reason) if context.rules.selection else group

    return _each(groups, wanted)


def route(
    context: StageContext, groups: Iterable[OpenGroup], metadata: Mapping[int, Mapping[str, Any]]
) -> StageResult:
    """Which archive, and which directory there."""

    def routed(group: OpenGroup) -> OpenGroup:
        if group.is_late:
            return replace(
                group, route=_beside(context, group), reason="beside what is archived of the group"
            )
        found, why = _routed(context, group, _known(context, group, metadata[group.id]))
        return replace(group, route=found, reason="; ".join(filter(None, (group.reason, why))))

    return _each(groups, routed)


def _beside(context: StageContext, group: OpenGroup) -> Route:
    """Where the group lies; raises `EnvironmentFault` if that is a place of before, and gone."""
    assert group.lies_in is not None
    name, directory = group.lies_in.archive, group.lies_in.directory
    base = next((one.base for one in context.project.config.archive if one.name == name), None)
    if base is None:
        raise EnvironmentFault(f'the group lies in archive "{name}", which is configured no more')
    where = Path(to_path(directory))
    # To make it anew would fill a place that nobody looks at, as the one below a mount that has gone.
    if not where.is_relative_to(base) and not where.is_dir():
        raise EnvironmentFault(
            f'the group lies in "{directory}", which is gone; archive "{name}" is at "{to_text(str(base))}" '
            "now; if its files were moved there, run: carbonation reconcile archive --adopt"
        )
    return group.lies_in


def _holds_something(context: StageContext, group: OpenGroup) -> bool:
    return any(not decide.is_set_aside(f.filename, context.rules) for f in group.asking) or any(
        f.status is FileStatus.ARCHIVED for f in group.files
    )


def _extracted(
    context: StageContext, group: OpenGroup, name: str, keywords: Mapping[str, object]
) -> Described:
    files = [
        file
        for file in group.files
        if file.in_archive
        or (file.status is FileStatus.WAITING and not decide.is_set_aside(file.filename, context.rules))
    ]
    files.sort(key=lambda file: decide.in_order(file.filename, context.rules))
    paths = [Path(file.readable_path) for file in files]
    returned = context.plugin.asked("extractor", name, paths, **keywords)
    values = checked_metadata(context.plugin, returned, context.project.engine.dialect)
    return as_json(values), values


def _fields(context: StageContext, group: OpenGroup) -> dict[str, object]:
    """The fields of a group's key, as its files have them."""
    completeness = context.rules.completeness
    for file in group.files if completeness is not None else ():
        found = decide.group_fields(file.source_path.removeprefix(context.watch.root), context.rules)
        if completeness is not None and found is not None:
            return completeness.offered(found)
    return {}


def _known(context: StageContext, group: OpenGroup, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What a group is selected and routed by: its metadata, else the fields of its key."""
    fields = _fields(context, group)
    said = {name: value for name, value in metadata.items() if value is not None or name not in fields}
    return {**fields, **said}


def _routed(context: StageContext, group: OpenGroup, metadata: Mapping[str, Any]) -> tuple[Route, str]:
    name, reason = decide.route(group.key, metadata, context.rules, context.watch, context.plugin.asked)
    try:
        archive = context.project.config.archive_named(name)
    except ConfigError as error:
        raise Unroutable(f"the routing function chose an archive that is not there: {error}") from None
    facts = {
        "watch_name": context.watch.name,
        "file_type": context.watch.type,
        "group_key": group.key,
        **{key: written(value) for key, value in metadata.items()},
    }
    return Route(name, to_text(str(fill(archive.destination, facts, archive.base)))), reason
