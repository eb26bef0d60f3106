"""Somebody asks for another attempt, or to have judged again what the rules decided."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from carbonation_core.config.sections import Watch
from carbonation_core.db import components, groups, rule_versions
from carbonation_core.db.components import Change, Component
from carbonation_core.db.engine import Connection, reading, repeatable, writing
from carbonation_core.db.filters import spelled
from carbonation_core.db.locks import lock_watch
from carbonation_core.delivery.grouping import strays_of
from carbonation_core.delivery.ownership import of_others
from carbonation_core.errors import ConfigError, NotOurs, QueryError
from carbonation_core.lifecycle import BY_RULES, RETRIABLE, Event, FileStatus
from carbonation_core.project import Project, rules_accepted, rules_in_force, rules_on_disk
from carbonation_core.rules.rule_sets import Rules


@dataclass(frozen=True)
class Rechecked:
    """What a look at rules.toml came to, and how many files are judged again, by their status before.

    `refused` says why the file as it is now is not in force.
    """

    digest_before: str | None
    digest: str
    refused: str | None
    judged_again: Mapping[FileStatus, int]


def retry(
    project: Project,
    watch_name: str | None = None,
    group_key: str | None = None,
    status: FileStatus = FileStatus.FAILED,
) -> int:
    """Have every matching component judged anew at the next look; returns how many.

    Only what still lies in delivery can be tried again. A key that is not UTF-8
    may be given as the operating system does. Of all watches those of another site
    are left alone. Raises `QueryError` for a group that is not there, `ConfigError` for a
    watch that is not, and `NotOurs` for what is another site's.
    """
    if status not in RETRIABLE:
        raise QueryError(f'status "{status}" cannot be retried; those that can: {", ".join(RETRIABLE)}')
    group_key = None if group_key is None else spelled(group_key)
    watches, refused = _ours(project, watch_name)
    with reading(project.engine) as connection:
        rules = rules_accepted(project, connection)
    retried = [_retried(project, watch, rules, group_key, status) for watch in watches]
    if group_key is not None and all(number is None for number in retried):
        if refused:
            raise NotOurs(refused[0])
        raise QueryError(f'there is no group "{group_key}"')
    return sum(filter(None, retried))


def _ours(project: Project, watch_name: str | None) -> tuple[list[Watch], list[str]]:
    """That watch, or all, but for those of another site, of each of which a sentence says whose it is.

    Raises `NotOurs` if none is left.
    """
    names = [watch_name] if watch_name else [watch.name for watch in project.config.watch]
    watches = [project.config.watch_named(name) for name in names]
    refused = of_others(project, names)
    if refused and len(refused) == len(watches):
        raise NotOurs(next(iter(refused.values())))
    return [watch for watch in watches if watch.name not in refused], list(refused.values())


@repeatable
def _retried(
    project: Project, watch: Watch, rules: Rules | None, group_key: str | None, status: FileStatus
) -> int | None:
    """How many files of the watch are tried again; None if it has no such group."""
    with writing(project.engine) as connection:
        lock_watch(connection, watch.name)
        if group_key is None:
            found = components.in_status(connection, watch.name, [status])
        else:
            members = _members(connection, watch, rules, group_key)
            if members is None:
                return None
            found = [file for file in members if file.status is status]
        found = [file for file in found if file.in_delivery]
        return _open_again(connection, found, Event.RETRIED, "asked for by hand", project.clock())


def _members(
    connection: Connection, watch: Watch, rules: Rules | None, group_key: str
) -> list[Component] | None:
    """The files of a group, with those that failed before they could join it; None if there are none."""
    group = groups.by_key(connection, watch.name, [group_key]).get(group_key)
    files = components.of_groups(connection, [group.id])[group.id] if group is not None else []
    if rules is not None and watch.rules in rules.sets:
        files += strays_of(connection, watch, rules.sets[watch.rules], [group_key])[group_key]
    return files if files or group is not None else None


def recheck_rules(project: Project, watch_name: str | None = None) -> Rechecked:
    """Look at rules.toml now, and have judged again what the rules in force decided against.

    A changed file is accepted or refused as at any look. What a function of the
    plugin decided is judged again, too, though no digest shows that it changed. Of all
    watches those of another site are left alone. Raises `ConfigError` when no rules were
    ever accepted, or for a watch that is not there, `NotOurs` for one of another site.
    """
    watches, _ = _ours(project, watch_name)
    with reading(project.engine) as connection:
        before = rule_versions.accepted(connection, project.config.service.site_name)
    rules = rules_in_force(project)
    judged: Counter[FileStatus] = Counter()
    for watch in watches:
        judged.update(_judged_again(project, watch))
    return Rechecked(before.digest if before else None, rules.digest, _refused(project), judged)


@repeatable
def _judged_again(project: Project, watch: Watch) -> Counter[FileStatus]:
    """How many files of the watch are judged again, by the status that the rules gave them."""
    with writing(project.engine) as connection:
        lock_watch(connection, watch.name)
        found = components.in_status(connection, watch.name, BY_RULES)
        found = [file for file in found if file.in_delivery]
        _open_again(connection, found, Event.RULES_CHANGED, "the rules are checked again", project.clock())
        return Counter(file.status for file in found)


def _refused(project: Project) -> str | None:
    try:
        rules_on_disk(project)
    except ConfigError as error:
        return str(error)
    return None


def _open_again(
    connection: Connection, found: Sequence[Component], event: Event, reason: str, now: datetime
) -> int:
    """Begin anew with these files and their groups, at the next look; how many files."""
    changed = components.apply(connection, [Change(file, event, reason) for file in found], now)
    ids = {file.group_id for file in found if file.group_id is not None}
    rows = [
        {"id": id_, "attempts": 0, "due_at": None, "timed_out_at": None, "reopened_at": now} for id_ in ids
    ]
    groups.store(connection, rows, now)
    return len(changed)
