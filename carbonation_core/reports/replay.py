"""Other rules tried on all groups that the database knows, without doing anything."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from carbonation_core.config.sections import Watch
from carbonation_core.config.toml import read_toml
from carbonation_core.db import components, groups, metadata
from carbonation_core.db.components import Component
from carbonation_core.db.engine import reading
from carbonation_core.db.groups import GroupRow
from carbonation_core.delivery.grouping import key_by_name
from carbonation_core.lifecycle import STRAY, FileStatus, Outcome
from carbonation_core.pipeline import stages
from carbonation_core.pipeline.context import OpenGroup, StageContext, open_group
from carbonation_core.project import Project, rules_accepted, rules_on_disk
from carbonation_core.rules import decide
from carbonation_core.rules.rule_sets import IntegrityRule, Rules, RuleSet, load_rules

_BY_STAT = ("min_size", "max_size")
_FAILING = (Outcome.INTEGRITY_FAILED, Outcome.RETRY_PENDING, Outcome.FAILED)


class Difference(StrEnum):
    """What other rules would make of a group."""

    ACCEPTED = "newly accepted"  # would be archived, and is not
    REJECTED = "rejected"  # would not be selected any more
    REROUTED = "rerouted"  # would be archived elsewhere
    FAILING = "failing"  # would fail a check, or lead nowhere
    WAITING = "waiting"  # would not be whole
    REGROUPED = "regrouped"  # its files would belong to other groups
    UNDECIDED = "undecided"  # only a look at its files could tell
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What rules say of a group, why, and where it is archived then."""

    verdict: Outcome | Difference
    reason: str
    route: tuple[str, str] | None = None  # archive, directory

    def is_as(self, other: "Judgement | None") -> bool:
        """Whether another says the same, for whatever reason."""
        return other is not None and (self.verdict, self.route) == (other.verdict, other.route)


@dataclass(frozen=True, slots=True)
class Replayed:
    """A group under other rules: what is different, why, and from where to where it would go."""

    watch_name: str
    group_key: str
    difference: Difference
    reason: str
    before: tuple[str, str] | None  # archive, directory
    after: tuple[str, str] | None


def candidate_rules(project: Project, file: Path) -> Rules:
    """The rules in a file, which are to be tried; raises `ConfigError` that names it."""
    section = project.config.rules.model_copy(update={"file": file.absolute()})
    config = project.config.model_copy(update={"rules": section})
    return load_rules(read_toml(file), config, project.plugin.names)


def replay(project: Project, candidate: Rules) -> Iterator[Replayed]:
    """What becomes of every group under the candidate, compared with what is and with the rules in force.

    Judged are the stored sizes and metadata; neither delivery nor archive is
    looked at, and nothing is written. Groups come a page at a time.
    """
    in_force = rules_before(project)
    for watch in project.config.watch:
        before = StageContext(project, watch, in_force.sets[watch.rules])
        after = StageContext(project, watch, candidate.sets[watch.rules])
        for told in _pages(project, watch, before.rules):
            judged, judged_before = _judged(told, after, before.rules), _judged(told, before, before.rules)
            for group in told:
                yield _compared(group, judged[group.row.id], judged_before[group.row.id])


def left_out(project: Project, candidate: Rules) -> list[str]:
    """What a replay of these rules cannot tell, a sentence each."""
    in_force = rules_before(project)
    found = []
    for watch in project.config.watch:
        old, new = in_force.sets[watch.rules], candidate.sets[watch.rules]
        if old.metadata != new.metadata and new.metadata is not None:
            found.append(
                f'watch "{watch.name}": groups are judged by the metadata they have; '
                f'extractor "{new.metadata.extract}" is not asked'
            )
        if _contents(new) != _contents(old):
            found.append(f'watch "{watch.name}": files are not read, so their contents pass every new check')
        if _by_function(new) not in (None, _by_function(old)):
            found.append(
                f'watch "{watch.name}": groups keep their keys; '
                f'group function "{_by_function(new)}" is not asked'
            )
    return found


def rules_before(project: Project) -> Rules:
    """The rules that were accepted last; before the first, those of rules.toml."""
    with reading(project.engine) as connection:
        return rules_accepted(project, connection) or rules_on_disk(project)


@dataclass(frozen=True, slots=True)
class _Told:
    """A group as the database tells of it; `described` is None if no extractor ever did."""

    row: GroupRow
    files: Sequence[Component]
    described: Mapping[str, Any] | None

    @property
    def archived(self) -> Judgement | None:
        """What became of it, if it lies in an archive."""
        if self.row.archive_name is None or self.row.archive_directory is None:
            return None
        route = (self.row.archive_name, self.row.archive_directory)
        return Judgement(Outcome.ARCHIVED, "it is archived", route)


def _pages(project: Project, watch: Watch, in_force: RuleSet) -> Iterator[list[_Told]]:
    with reading(project.engine) as connection:
        strays: dict[str | None, list[Component]] = defaultdict(list)
        for file in components.without_group(connection, watch.name, STRAY):
            strays[key_by_name(file.source_path, watch, in_force)].append(file)
    last = 0
    while True:
        with reading(project.engine) as connection:
            page = groups.of_watch(connection, watch.name, last)
            rows = groups.by_id(connection, page)
            files = components.of_groups(connection, page)
            described = metadata.of_groups(connection, project.plugin.file_model, page)
        if not page:
            return
        last = max(page)
        yield [
            _Told(
                rows[id_],
                [*files[id_], *strays.get(rows[id_].group_key, ())],
                described[id_] if is_described else None,
            )
            for id_, is_described in page.items()
            if id_ in rows
        ]


def _judged(told: Sequence[_Told], context: StageContext, in_force: RuleSet) -> dict[int, Judgement]:
    """What the rules of the context say of each group, by its id."""
    found: dict[int, Judgement] = {}
    opened: list[OpenGroup] = []
    for group in told:
        fault = _regrouped(group, context, in_force) or _undecided(group, context.rules, in_force)
        if fault is None:
            opened.append(_as_delivered(group, context.rules, in_force))
        else:
            found[group.row.id] = fault
    whole = stages.completeness(context, opened)
    known = {group.row.id: group.described for group in told}
    passed = []
    for one in whole.passed:
        if context.rules.metadata is not None and known[one.id] is None:
            reason = "it has no metadata yet, by which it is selected and routed"
            found[one.id] = Judgement(Difference.UNDECIDED, reason)
        else:
            passed.append(one)
    described = {id_: values or {} for id_, values in known.items()}
    selected = stages.select(context, passed, described)
    routed = stages.route(context, selected.passed, described)
    for ended in (*whole.closed, *selected.closed, *routed.closed):
        found[ended.group.id] = Judgement(ended.outcome, ended.reason)
    for one in routed.passed:
        assert one.route is not None
        found[one.id] = Judgement(
            Outcome.ARCHIVED, one.reason or "", (one.route.archive, one.route.directory)
        )
    return found


def _compared(group: _Told, after: Judgement, before: Judgement) -> Replayed:
    archived = group.archived
    was = (archived or before).route
    key = (group.row.watch_name, group.row.group_key)
    if after.is_as(before) or after.is_as(archived):
        return Replayed(*key, Difference.UNCHANGED, after.reason, was, after.route)
    if after.verdict is Outcome.ARCHIVED:
        difference = Difference.ACCEPTED if was is None else Difference.REROUTED
    elif after.verdict in _FAILING:
        # What failed before and fails for another reason is no news.
        fails = archived is None and before.verdict in _FAILING
        difference = Difference.UNCHANGED if fails else Difference.FAILING
    elif isinstance(after.verdict, Difference):
        difference = after.verdict
    else:
        is_waiting = after.verdict is Outcome.WAITING
        difference = Difference.WAITING if is_waiting else Difference.REJECTED
    return Replayed(*key, difference, after.reason, was, after.route)


def _as_delivered(group: _Told, rules: RuleSet, in_force: RuleSet) -> OpenGroup:
    """The group as if it had just come, with what fails a check for having failed it."""
    files = []
    for file in group.files:
        if file.status is FileStatus.CLEARED:
            continue
        fault = decide.stat_fault(file.filename, file.stamp.size, rules)
        if fault is None and _failed_by_contents(file, in_force):
            fault = file.error_message
        status = FileStatus.WAITING if fault is None else FileStatus.INTEGRITY_FAILED
        files.append(file._replace(status=status, error_message=fault, in_delivery=True, in_archive=False))
    # What was archived in part had waited long enough.
    waited = bool(group.row.timed_out_at or group.row.completed_at)
    return replace(open_group(group.row, files), timed_out=waited, lies_in=None)


def _undecided(group: _Told, rules: RuleSet, in_force: RuleSet) -> Judgement | None:
    """What only the bytes of a file could tell: whether it passes other checks than those it failed."""
    if _contents(rules) == _contents(in_force):
        return None
    for file in group.files:
        if _failed_by_contents(file, in_force):
            reason = f"{file.filename} {file.error_message}; other checks would read it anew"
            return Judgement(Difference.UNDECIDED, reason)
    return None


def _failed_by_contents(file: Component, in_force: RuleSet) -> bool:
    is_small = decide.stat_fault(file.filename, file.stamp.size, in_force) is not None
    return file.status is FileStatus.INTEGRITY_FAILED and not is_small


def _regrouped(group: _Told, context: StageContext, in_force: RuleSet) -> Judgement | None:
    """That a file of the group would have another key than under the rules in force."""
    if context.rules is in_force or _by_function(context.rules) or _by_function(in_force):
        return None
    for file in group.files:
        path = file.source_path.removeprefix(context.watch.root)
        key = decide.group_key(path, context.rules)
        if key is None:
            return Judgement(Difference.REGROUPED, f"{path} would fit none of the patterns")
        if key != decide.group_key(path, in_force):
            return Judgement(Difference.REGROUPED, f'{path} would belong to group "{key}"')
    return None


def _by_function(rules: RuleSet) -> str | None:
    return rules.completeness.group_function if rules.completeness else None


def _contents(rules: RuleSet) -> tuple[IntegrityRule, ...]:
    return tuple(rule for rule in rules.integrity if rule.type not in _BY_STAT)
