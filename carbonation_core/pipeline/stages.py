"""The stages before archiving: each takes open groups and says what becomes of them.

A stage decides; `pipeline` records. Nothing here writes to disk or database.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from carbonation_core.config.templates import fill
from carbonation_core.db.columns import as_json
from carbonation_core.db.components import Change, Component
from carbonation_core.delivery.grouping import member_of
from carbonation_core.disk import source
from carbonation_core.disk.scan import unreadable
from carbonation_core.errors import AttemptFailed, ConfigError, SourceChanged, Unroutable
from carbonation_core.lifecycle import Event, FileStatus, Outcome
from carbonation_core.logs.records import about
from carbonation_core.names import to_path, to_text
from carbonation_core.pipeline.context import (
    Closing,
    OpenGroup,
    StageContext,
    StageResult,
    closing,
    source_of,
)
from carbonation_core.pipeline.integrity import Contents, Fault
from carbonation_core.plugin import checked_metadata
from carbonation_core.rules import decide
from carbonation_core.rules.near_misses import wants
from carbonation_core.text import written


def integrity(
    context: StageContext, groups: Sequence[OpenGroup], manifests: Sequence[Component], now: datetime
) -> StageResult:
    """All checks again, on the files as they are now; `manifests` are the watch's that have settled."""
    result = StageResult()
    contents = Contents(context.watch, context.rules, context.plugin, manifests, now)
    found: list[tuple[OpenGroup, list[Fault]]] = []
    for group in groups:
        if ended := _overtaken(context, group):
            result.closed.append(ended)
            continue
        try:
            with about(group_key=group.row.group_key):
                found.append((group, _faults(group, context, contents)))
        except SourceChanged as error:
            result.closed.append(Closing(group, Outcome.WAITING, str(error)))
        except AttemptFailed as error:
            result.closed.append(closing(group, error))
    for group, faults in found:
        _sort_out(result, context, contents, group, faults)
    return result


def _faults(group: OpenGroup, context: StageContext, contents: Contents) -> list[Fault]:
    by_stat = [
        Fault(file, reason)
        for file in group.asking
        if (reason := decide.stat_fault(file.filename, file.stamp.size, context.rules))
        or (reason := unreadable(to_path(file.source_path)))
    ]
    return by_stat or contents.faults(group.files, group.row.reopened_at or group.row.created_at)


def _sort_out(
    result: StageResult, context: StageContext, contents: Contents, group: OpenGroup, faults: Sequence[Fault]
) -> None:
    """What becomes of a group by the faults of its files."""
    # Who corrects something while others are read must not find it failed by
    # what was there before: nothing would have it judged again.
    ended = _overtaken(context, group) if faults else None
    if ended is None and faults and not contents.are_current():
        ended = Closing(group, Outcome.WAITING, "the checksums it is judged by have changed")
    broken = {fault.file.id: fault for fault in reversed(faults) if fault.until is None}
    waits = [fault.until for fault in faults if fault.until is not None]
    if ended is None and waits and not broken:
        reason = "; ".join(f"{fault.file.filename}: {fault.reason}" for fault in faults)
        ended = Closing(group, Outcome.RETRY_PENDING, reason, counts=False, at=min(waits))
    if ended is not None:
        result.closed.append(ended)
        return
    result.changes += [Change(fault.file, Event.CHECK_FAILED, fault.reason) for fault in broken.values()]
    result.judged[group.row.id] = judged(file for file in group.asking if file.id not in broken)
    result.passed.append(group)


def _overtaken(context: StageContext, group: OpenGroup) -> Closing | None:
    changed = [file for file in group.asking if not source.is_unchanged(source_of(context.watch, file))]
    if not changed:
        return None
    return Closing(group, Outcome.WAITING, f"{changed[0].filename} has changed or left since it was judged")


def judged(files: Iterable[Component]) -> str:
    """What names these files in this state: a SHA-256, in hexadecimal."""
    states = sorted(
        f"{f.id} {f.stamp.size} {f.stamp.mtime_ns} {f.stamp.ctime_ns} {f.stamp.inode}" for f in files
    )
    return hashlib.sha256("\n".join(states).encode()).hexdigest()


def as_judged(groups: Sequence[OpenGroup]) -> StageResult:
    """Are they the very files that passed the integrity stage?."""
    result = StageResult()
    for group in groups:
        if judged(group.asking) == group.member.judged:
            result.passed.append(group)
        else:
            reason = "its files are no longer those that passed the checks"
            result.closed.append(Closing(group, Outcome.WAITING, reason))
    return result


def completeness(context: StageContext, groups: Sequence[OpenGroup]) -> StageResult:
    """Still whole?."""
    result = StageResult()
    for group in groups:
        state = decide.readiness(
            [member_of(file) for file in group.files],
            context.rules,
            unsettled=False,
            timed_out=group.row.timed_out_at is not None,
        )
        if state.ready and _holds_something(context, group):
            result.passed.append(group)
            continue
        if state.ready:
            reason = "there is nothing but what is only read, and not archived"
            result.closed.append(Closing(group, Outcome.NOT_SELECTED, reason))
            continue
        broken = [f for f in group.files if f.status is FileStatus.INTEGRITY_FAILED]
        if broken:
            reason = "; ".join(f"{file.filename} {file.error_message}" for file in broken)
            result.closed.append(Closing(group, Outcome.INTEGRITY_FAILED, reason))
        else:
            names = [file.filename for file in group.files]
            lacking = wants(state.missing, names, context.rules) or "a file that has not settled"
            result.closed.append(Closing(group, Outcome.WAITING, f"waits for {lacking}"))
    return result


def extract(context: StageContext, groups: Sequence[OpenGroup]) -> StageResult:
    """Ask the plugin what the files are."""
    result = StageResult()
    if context.rules.metadata is None:
        return StageResult(passed=list(groups))
    name = context.rules.metadata.extract
    for group in groups:
        if not group.is_late:
            try:
                with about(group_key=group.row.group_key):
                    result.metadata[group.row.id] = _extracted(context, group, name)
            except AttemptFailed as error:
                result.closed.append(closing(group, error))
                continue
        result.passed.append(group)
    return result


def select(
    context: StageContext, groups: Sequence[OpenGroup], metadata: Mapping[int, Mapping[str, Any]]
) -> StageResult:
    """Is it wanted?."""
    result = StageResult()
    for group in groups:
        if group.is_late:
            result.passed.append(group)
            continue
        try:
            with about(group_key=group.row.group_key):
                verdict = decide.selected(metadata[group.row.id], context.rules, context.plugin.asked)
        except AttemptFailed as error:
            result.closed.append(closing(group, error))
            continue
        if verdict.holds:
            result.passed.append(group)
            if context.rules.selection:
                result.reasons[group.row.id] = verdict.reason
        else:
            result.closed.append(Closing(group, Outcome.NOT_SELECTED, verdict.reason))
    return result


def route(
    context: StageContext, groups: Sequence[OpenGroup], metadata: Mapping[int, Mapping[str, Any]]
) -> StageResult:
    """Which archive, and which directory there."""
    result = StageResult()
    for group in groups:
        if group.is_late and group.row.archive_name and group.row.archive_directory:
            result.routes[group.row.id] = (group.row.archive_name, group.row.archive_directory)
            result.reasons[group.row.id] = "beside what is archived of the group"
            result.passed.append(group)
            continue
        try:
            with about(group_key=group.row.group_key):
                archive, directory, reason = _routed(context, group, metadata[group.row.id])
            result.routes[group.row.id] = (archive, directory)
            result.reasons[group.row.id] = "; ".join(filter(None, (group.member.reason, reason)))
        except AttemptFailed as error:
            result.closed.append(closing(group, error))
        else:
            result.passed.append(group)
    return result


def _holds_something(context: StageContext, group: OpenGroup) -> bool:
    return any(not decide.is_set_aside(f.filename, context.rules) for f in group.asking) or any(
        f.status is FileStatus.ARCHIVED for f in group.files
    )


def _extracted(
    context: StageContext, group: OpenGroup, name: str
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    files = [
        file
        for file in group.files
        if file.in_archive
        or (file.status is FileStatus.WAITING and not decide.is_set_aside(file.filename, context.rules))
    ]
    files.sort(key=lambda file: decide.in_order(file.filename, context.rules))
    returned = context.plugin.asked("extractor", name, [Path(file.readable_path) for file in files])
    values = checked_metadata(context.plugin, returned, context.project.engine.dialect)
    return as_json(values), values


def _routed(context: StageContext, group: OpenGroup, metadata: Mapping[str, Any]) -> tuple[str, str, str]:
    name, reason = decide.route(
        group.row.group_key, metadata, context.rules, context.watch, context.plugin.asked
    )
    try:
        archive = context.project.config.archive_named(name)
    except ConfigError as error:
        raise Unroutable(f"the routing function chose an archive that is not there: {error}") from None
    facts = {
        "watch_name": context.watch.name,
        "file_type": context.watch.type,
        "group_key": group.row.group_key,
        **{key: written(value) for key, value in metadata.items()},
    }
    return name, to_text(str(fill(archive.destination, facts, archive.base))), reason
