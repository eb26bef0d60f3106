"""Keeps the rows of groups true to their files: who is due, who waits until when."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from carbonation_core.config.sections import Watch
from carbonation_core.db import components, feed, groups
from carbonation_core.db.components import Change, Component
from carbonation_core.db.engine import Connection
from carbonation_core.db.groups import GroupRow
from carbonation_core.disk import source
from carbonation_core.disk.source import Source
from carbonation_core.errors import AttemptFailed
from carbonation_core.lifecycle import ASKING, STRAY, Event, FeedEvent, FileStatus
from carbonation_core.names import to_path, to_text
from carbonation_core.plugin import Plugin
from carbonation_core.rules.checksums import LARGEST
from carbonation_core.rules.decide import group_key, lists_members
from carbonation_core.rules.member_lists import members_listed, paths_of
from carbonation_core.rules.near_misses import waits
from carbonation_core.rules.readiness import Member, Readiness, readiness
from carbonation_core.rules.rule_sets import RuleSet

LONGEST_KEY = 10_000  # characters, of the 65,535 bytes that MariaDB's TEXT takes


def refresh(
    connection: Connection,
    root: str,
    rules: RuleSet,
    group_ids: Iterable[int],
    unsettled_keys: Collection[str],
    now: datetime,
) -> int:
    """Say anew of these groups whether they are due; returns how many are or will be.

    They are of a watch with that root. Groups that somebody owns are left to their owner.
    """
    found = groups.by_id(connection, group_ids)
    files = components.of_groups(connection, found)
    rows: list[dict[str, Any]] = []
    waiting: list[Change] = []
    for group in found.values():
        if group.batch_id is not None:
            continue
        state = standing(group, files[group.id], root, rules, group.group_key in unsettled_keys)
        is_waiting = not state.ready and not state.idle
        due_at = None
        if state.ready:
            due_at = max(_due(files[group.id], now), state.not_before or now)
            # Since when it is due, unless the clock went back and that is to come.
            due_at = min(group.due_at or due_at, due_at)
        deadline_at = _deadline(group, rules) if is_waiting else None
        if is_waiting:  # for its siblings, and no longer for the time of an attempt
            pending = [file for file in files[group.id] if file.status is FileStatus.RETRY_PENDING]
            waiting += [Change(file, Event.DUE, "its group is not whole any more") for file in pending]
        if (due_at, deadline_at) != (group.due_at, group.deadline_at):
            rows.append({"id": group.id, "due_at": due_at, "deadline_at": deadline_at})
    components.apply(connection, waiting, now)
    groups.store(connection, rows, now)
    return sum(row["due_at"] is not None for row in rows)


def expire(
    connection: Connection,
    watch: Watch,
    rules: RuleSet,
    now: datetime,
) -> Sequence[GroupRow]:
    """Deal once with the groups that have waited too long; returns them."""
    late = groups.overdue(connection, watch.name, now)
    if not late:
        return ()
    completeness = rules.waits
    groups.store(
        connection,
        [{"id": group.id, "timed_out_at": now, "deadline_at": None} for group in late],
        now,
    )
    files = components.of_groups(connection, [group.id for group in late])
    changes: list[Change] = []
    for group in late:
        waiting = [file for file in files[group.id] if file.status is FileStatus.WAITING]
        lacks = standing(group, files[group.id], watch.root, rules).lacks
        lacking = waits(lacks, [file.filename for file in waiting], rules)
        reason = f"waited {completeness.timeout_minutes:g} minutes {lacking}"
        for file in waiting:
            if completeness.on_timeout == "skip":
                changes.append(Change(file, Event.TIMED_OUT, reason))
            else:
                changes.append(Change(file, values={"error_message": reason}))
    components.apply(connection, changes, now)
    refresh(connection, watch.root, rules, [group.id for group in late], (), now)
    return late


def retract_or_restore(connection: Connection, group_ids: Iterable[int], now: datetime) -> set[int]:
    """Retract the groups whose archived files are gone; complete again those whose files are back.

    The feed tells of both. Returns the ids of those that are complete again.
    """
    found = groups.by_id(connection, group_ids).values()
    with_losses = components.groups_with_losses(connection, [group.id for group in found])
    gone = [group for group in found if group.complete and group.id in with_losses]
    # Only a group that was retracted has been complete once and is not.
    back = [g for g in found if g.completed_at and not g.complete and g.id not in with_losses]
    for retold, event in ((gone, FeedEvent.RETRACTED), (back, FeedEvent.COMPLETED)):
        is_complete = event is FeedEvent.COMPLETED
        groups.store(connection, [{"id": group.id, "complete": is_complete} for group in retold], now)
        feed.announce(connection, [(group, event) for group in retold], now)
    return {group.id for group in back}


def standing(
    group: GroupRow, files: Iterable[Component], root: str, rules: RuleSet, unsettled: bool = False
) -> Readiness:
    """How a group stands that has these files, of a watch with that root.

    `unsettled`: there is a file that belongs to it and has not joined it.
    """
    opened_at = group.reopened_at or group.created_at
    members = [member_of(file, root) for file in files]
    return readiness(members, rules, unsettled, group.timed_out_at is not None, opened_at)


def member_of(component: Component, root: str) -> Member:
    """What a group's completeness depends on, of this component, of a watch with that root."""
    path = component.source_path.removeprefix(root)
    return Member(path, component.status, component.in_delivery, component.in_archive, component.lists)


def _due(files: Iterable[Component], now: datetime) -> datetime:
    """Now, unless every file that asks for work waits for a later attempt."""
    asking = [file for file in files if file.status in ASKING]
    if all(file.status is FileStatus.RETRY_PENDING for file in asking):
        return max((file.retry_at or now for file in asking), default=now)
    return now


def _deadline(group: GroupRow, rules: RuleSet) -> datetime | None:
    if rules.waits.timeout is None or group.timed_out_at is not None:
        return None
    return (group.reopened_at or group.created_at) + rules.waits.timeout


def strays_of(
    connection: Connection, watch: Watch, rules: RuleSet, keys: Collection[str]
) -> dict[str, list[Component]]:
    """Files of the watch that by their name belong to these groups and have not joined them, by group key.

    They have not settled, or failed a check. Where a plugin gives keys, nobody can tell.
    """
    found: dict[str, list[Component]] = {key: [] for key in keys}
    if not keys or rules.waits.group_by == "plugin":
        return found
    for file in components.without_group(connection, watch.name, STRAY):
        key = key_by_name(file.source_path, watch, rules)
        if key in found:
            found[key].append(file)
    return found


@dataclass(frozen=True, slots=True)
class NoKey:
    """Why a file has no group: its function leaves it alone, or `failed` to say."""

    reason: str
    failed: bool = False


def key_of(
    watch: Watch, rules: RuleSet, plugin: Plugin, path: str, lies_at: str | None = None
) -> str | NoKey:
    """The group key of a file by its absolute path, spelled as text, by its name or by the plugin's function.

    The function reads it at `lies_at`, a name of the operating system, if it is not in delivery.
    """
    key = key_by_name(path, watch, rules)
    if key is not None:
        return key
    assert rules.completeness is not None
    if rules.completeness.group_by == "pattern":
        why = rules.completeness.misfit(path.removeprefix(watch.root))
        return NoKey(f'its path fits none of the patterns of rule set "{watch.rules}": {why}')
    name = rules.completeness.group_function
    assert name is not None
    function = f'group function "{name}"'
    try:
        given = plugin.asked("group function", name, file_path=Path(lies_at or to_path(path)))
    except AttemptFailed as error:
        return NoKey(str(error), failed=True)
    if given is None:
        return NoKey(f"{function} gives it no group")
    key = to_text(given)
    if len(key) > LONGEST_KEY:
        length = f"{len(key):,} characters, more than {LONGEST_KEY:,}"
        return NoKey(f"{function} gives a key of {length}", failed=True)
    return key


Lists = tuple[str, ...] | int | NoKey | str | None


def lists_of(watch: Watch, rules: RuleSet, plugin: Plugin, file: Component) -> Lists:
    """What a manifest lists, paths below the watch, or how many; None of a file that is none.

    A text says why it cannot be understood, `NoKey` that the attempt to read it failed.
    """
    manifest = rules.waits.manifest
    if manifest is None or not lists_members(file.filename, rules):
        return None
    path = file.source_path.removeprefix(watch.root)
    try:
        if manifest.function is not None:
            where = Path(to_path(file.source_path))
            said = plugin.asked("member function", manifest.function, file_path=where)
            return said if isinstance(said, int) else paths_of(map(to_text, said), path)
        follow = watch.symlinks == "follow_inside"
        taken = Source(str(watch.path), to_path(file.source_path), file.stamp, follow)
        with source.opened(taken) as (descriptor, _):
            content = source.content(descriptor, LARGEST)
        if content is None:
            return f"has more than {LARGEST >> 20} MiB, too much for a list of files"
        return members_listed(content, manifest, path)
    except (AttemptFailed, OSError) as error:
        return NoKey(str(error), failed=True)
    except ValueError as error:
        return str(error)


def key_by_name(path: str, watch: Watch, rules: RuleSet) -> str | None:
    """The group key of a file by its absolute path; None if a plugin decides, or no pattern fits."""
    if rules.completeness is not None and rules.completeness.group_by == "plugin":
        return None
    return group_key(path.removeprefix(watch.root), rules)
