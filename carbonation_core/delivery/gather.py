"""Reads what a diff follows from: what is known of a watch, what lies there, and whose the groups are."""

import random
from dataclasses import dataclass, replace
from datetime import timedelta

from carbonation_core.config.sections import Watch
from carbonation_core.db import components, delivered, groups, service
from carbonation_core.db.components import Component
from carbonation_core.db.engine import Connection, reading
from carbonation_core.db.service import PartState, WatchState, part_of_watch
from carbonation_core.db.watches import Owner
from carbonation_core.delivery.at_rest import AtRest, rest
from carbonation_core.delivery.diff import Facts, groups_in_question, settled
from carbonation_core.delivery.ownership import marked, require_ours, require_unexchanged
from carbonation_core.disk.mark import Directory
from carbonation_core.disk.scan import Hints, Look, look, unreadable
from carbonation_core.errors import ScanError
from carbonation_core.names import to_path
from carbonation_core.project import Project
from carbonation_core.rules.rule_sets import Rules


@dataclass(frozen=True)
class Before:
    """What was known before a look, and where it has to go.

    `last` is None before the first look, `state` is what that said; `owner` is whose
    the watch was, None also if it is not ours, `directory` what lies there now, or why
    nothing is to be concluded from it; `files` are those that may have changed. If the
    hints say everything, that is all of them but for those `at_rest`.
    """

    last: PartState | None
    state: WatchState
    owner: Owner | None
    directory: Directory | ScanError
    hints: Hints
    other_rules: bool
    at_rest: AtRest
    files: tuple[Component, ...] = ()

    @property
    def is_kept(self) -> bool:
        """Whether the database knows whose the watch is, and its directory as it lies there now."""
        if self.owner is None or isinstance(self.directory, ScanError):
            return False
        return self.directory.is_at(self.owner.directory)


def known_before(project: Project, watch: Watch, rules_digest: str, hints: Hints) -> Before:
    """What is known of the hinted places; of everything, where other rules or another mount ask for it."""
    directory, owner = _directory(project, watch), None
    with reading(project.engine) as connection:
        last = service.get(connection, part_of_watch(watch.name))
        state = WatchState.from_details(last.details) if last is not None else WatchState()
        if isinstance(directory, Directory):
            try:
                owner = require_ours(project, connection, watch, directory)
            except ScanError as error:
                directory = error
        # Keys are of paths below the root, so that another one gives others, as other rules do.
        is_elsewhere = state.root not in (None, watch.root)
        other_rules = last is not None and (state.rules_digest != rules_digest or is_elsewhere)
        before = Before(last, state, owner, directory, hints, other_rules, AtRest(watch.root))
        if last is None or other_rules or not before.is_kept:
            hints = replace(hints, everything=True)
        if not hints.everything:
            return replace(before, files=tuple(_hinted(connection, watch, hints)))
        of_these = rest(project.config, other_rules=other_rules)
        files = delivered.restless(connection, watch.name, of_these)
        at_rest = AtRest(watch.root, delivered.at_rest(connection, watch.name, of_these))
    return replace(before, hints=hints, files=tuple(files), at_rest=at_rest)


def seen_by(watch: Watch, before: Before) -> Look:
    """What lies there now; raises `ScanError` when nobody can tell, or it is not ours to look at."""
    if isinstance(before.directory, ScanError):
        raise before.directory
    root, paths = watch.root, [component.source_path for component in before.files]
    # What has not settled is looked at, too, though nothing told of it.
    known = {path.removeprefix(root) for path in paths if path.startswith(root)}
    hints = replace(before.hints, files=before.hints.files | known)
    seen = look(watch, hints, before.at_rest.takes)
    require_unexchanged(watch, before.directory)
    return seen


def gather(project: Project, watch: Watch, rules: Rules, before: Before, seen: Look) -> Facts:
    """All that the diff of these two follows from."""
    known = {component.source_path: component for component in before.files}
    facts = Facts(
        watch,
        rules.sets[watch.rules],
        project.config.service,
        project.clock(),
        seen,
        known,
        whole=before.hints.everything,
        other_rules=before.other_rules,
        moving=frozenset(archive.name for archive in project.config.archive if archive.action == "move"),
        quiet={watch.root + path: timedelta(seconds=told) for path, told in before.hints.quiet.items()},
        jitter=random.random(),  # noqa: S311  # spreads load
    )
    with reading(project.engine) as connection:
        unknown = {path for path in facts.found() if path not in known}
        found = components.by_path(connection, watch.name, unknown.union(before.at_rest.changed(seen)))
        overtaken = {file.source_path for file in found if before.at_rest.is_overtaken(file)}
        known |= {file.source_path: file for file in found}
        facts = replace(facts, known=known).without(overtaken)
        rows = groups.by_id(connection, groups_in_question(facts)).values()
    faults = {path: unreadable(to_path(path)) for path in settled(facts)}
    return replace(
        facts,
        owned=frozenset(row.id for row in rows if row.batch_id is not None),
        unreadable={path: fault for path, fault in faults.items() if fault is not None},
    )


def _directory(project: Project, watch: Watch) -> Directory | ScanError:
    try:
        return marked(project, watch)
    except ScanError as error:
        return error


def _hinted(connection: Connection, watch: Watch, hints: Hints) -> list[Component]:
    """What is known of the places that hints point to, and of files that wait for a look."""
    root = watch.root
    found = [
        *components.by_path(connection, watch.name, [root + path for path in hints.files]),
        *components.below(connection, watch.name, [root + path for path in hints.directories]),
        *components.awaiting_a_look(connection, watch.name),
    ]
    return list({component.id: component for component in found}.values())
