"""Other rules tried on deliveries as they really came: what they archive when, where and without what."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from carbonation_core.config.sections import Watch
from carbonation_core.db import components, groups, history, metadata
from carbonation_core.db.components import Component
from carbonation_core.db.engine import reading
from carbonation_core.delivery.grouping import key_by_name, member_of
from carbonation_core.lifecycle import FileStatus
from carbonation_core.pipeline import stages
from carbonation_core.pipeline.context import OpenGroup, StageContext
from carbonation_core.project import Project
from carbonation_core.reports.replay import rules_before
from carbonation_core.rules.course import Course, course
from carbonation_core.rules.rule_sets import Rules, RuleSet
from carbonation_core.text import ago


class Change(StrEnum):
    """What other rules would have made of a group."""

    NOT_AT_ALL = "not archived"  # and would be by the rules in force
    ARCHIVED = "newly archived"  # and would not be by the rules in force
    ELSEWHERE = "elsewhere"
    EARLIER = "earlier"
    LATER = "later"
    OTHERWISE = "without others"  # at the same time, with other files, or lacking other ones
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Fate:
    """What rules make of a group: when and where it is archived, without what; or why it is not."""

    at: datetime | None
    route: tuple[str, str] | None  # archive, directory
    without: str | None
    reason: str
    files: int

    @property
    def is_archived(self) -> bool:
        """Whether it would be."""
        return self.at is not None and self.route is not None


@dataclass(frozen=True, slots=True)
class Compared:
    """A group by the rules in force and by others; None where a group of that key would not be."""

    watch_name: str
    group_key: str
    change: Change
    reason: str
    before: Fate | None
    after: Fate | None


Arrivals = Sequence[tuple[datetime, Component]]


def hindsight(project: Project, candidate: Rules, since: datetime) -> Iterator[Compared]:
    """What would have become of each group of which files came since then, by both rules.

    The times at which files were settled and joined a group are those of the history; groups are
    judged by the metadata that they have. Keys of a group function stay. Nothing is written.
    """
    in_force = rules_before(project)
    for watch in project.config.watch:
        before, after = in_force.sets[watch.rules], candidate.sets[watch.rules]
        came = _arrivals(project, watch, since)
        keys = _keys(project, came) if "plugin" in (before.waits.group_by, after.waits.group_by) else {}
        fates = [
            dict(_fates(StageContext(project, watch, rules), _by_key(came, watch, rules, keys)))
            for rules in (before, after)
        ]
        for key in sorted({*fates[0], *fates[1]}):
            yield _compared(watch.name, key, fates[0].get(key), fates[1].get(key))


def _arrivals(project: Project, watch: Watch, since: datetime) -> list[tuple[datetime, Component]]:
    found: list[tuple[datetime, Component]] = []
    last = 0
    while True:
        with reading(project.engine) as connection:
            page = history.joined(connection, watch.name, since, last)
            files = components.by_id(connection, page)
        if not page:
            return sorted(found, key=lambda one: (one[0], one[1].id))
        last = max(page)
        found += [(page[file.id], _as_it_came(file)) for file in files]


def _as_it_came(file: Component) -> Component:
    return file._replace(status=FileStatus.WAITING, in_delivery=True, in_archive=False, error_message=None)


def _keys(project: Project, came: Arrivals) -> dict[int | None, str]:
    """The keys of the groups that these files are in."""
    ids = {file.group_id for _, file in came if file.group_id is not None}
    with reading(project.engine) as connection:
        return {id_: row.group_key for id_, row in groups.by_id(connection, ids).items()}


def _by_key(
    came: Arrivals, watch: Watch, rules: RuleSet, keys: Mapping[int | None, str]
) -> dict[str, list[tuple[datetime, Component]]]:
    found: dict[str, list[tuple[datetime, Component]]] = defaultdict(list)
    for at, file in came:
        key = key_by_name(file.source_path, watch, rules)
        if key is None and rules.waits.group_by == "plugin":
            key = keys.get(file.group_id)  # as the function grouped them; it is not asked again
        if key is not None:
            found[key].append((at, file))
    return found


def _fates(context: StageContext, groups: Mapping[str, Arrivals]) -> Iterator[tuple[str, Fate]]:
    root, now = context.watch.root, context.project.clock()
    for key, came in groups.items():
        members = [(at, member_of(file, root)) for at, file in came]
        yield key, _fate(context, key, came, course(members, context.rules, now))


def _fate(context: StageContext, key: str, came: Arrivals, found: Course) -> Fate:
    if found.at is None:
        reason = "would have timed out" if found.given_up else "would still wait"
        return Fate(None, None, found.without, f"{reason}: {found.without or 'a file'}", found.files)
    files = [file for _, file in came[: found.files]]
    group = OpenGroup(-1, key, came[0][0], timed_out=True, files=files)
    known = {group.id: _described(context, files)}
    selected = stages.select(context, [group], known)
    routed = stages.route(context, selected.passed, known)
    for ended in (*selected.closed, *routed.closed):
        return Fate(found.at, None, found.without, ended.reason, found.files)
    (one,) = routed.passed
    assert one.route is not None
    route = (one.route.archive, one.route.directory)
    return Fate(found.at, route, found.without, one.reason or "", found.files)


def _described(context: StageContext, files: Sequence[Component]) -> dict[str, Any]:
    """The metadata of the group that these files are in, if it is one."""
    ids = {file.group_id for file in files}
    (id_,) = ids if len(ids) == 1 else (None,)
    if id_ is None or context.rules.metadata is None:
        return {}
    with reading(context.project.engine) as connection:
        return metadata.of_groups(connection, context.plugin.file_model, [id_])[id_]


def _compared(watch_name: str, key: str, before: Fate | None, after: Fate | None) -> Compared:
    change, reason = _change(before, after)
    return Compared(watch_name, key, change, reason, before, after)


def _change(before: Fate | None, after: Fate | None) -> tuple[Change, str]:
    was = before is not None and before.is_archived
    if after is None:
        return (Change.NOT_AT_ALL if was else Change.UNCHANGED), "its files would belong to other groups"
    if not after.is_archived:
        return (Change.NOT_AT_ALL if was else Change.UNCHANGED), after.reason
    without = f"without: {after.without}" if after.without else "with all that it should have"
    if before is None or not was:
        return Change.ARCHIVED, without
    assert before.at is not None
    assert after.at is not None
    if before.route != after.route:
        return Change.ELSEWHERE, after.reason
    if after.at != before.at:
        change = Change.EARLIER if after.at < before.at else Change.LATER
        return change, f"{ago(abs(after.at - before.at))} {change}, {without}"
    same = (before.without, before.files) == (after.without, after.files)
    return (Change.UNCHANGED if same else Change.OTHERWISE), without
