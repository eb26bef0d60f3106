"""Reads what a diff follows from: what is known of a watch, what lies there, and whose the groups are."""

import random
from dataclasses import dataclass, replace

from carbonation_core.config.sections import Watch
from carbonation_core.db import components, groups, service
from carbonation_core.db.components import Component
from carbonation_core.db.engine import Connection, reading
from carbonation_core.db.service import PartState, WatchState, part_of_watch
from carbonation_core.delivery.diff import Facts, groups_in_question, settled
from carbonation_core.disk.scan import Hints, Look, look, unreadable
from carbonation_core.errors import ScanError
from carbonation_core.names import to_path
from carbonation_core.project import Project
from carbonation_core.rules.rule_sets import Rules


@dataclass(frozen=True)
class Before:
    """What was known before a look, and where it has to go.

    `last` is None before the first look, `state` is what that said; `files` are
    those that may have changed, which is all of them if the hints say everything.
    """

    last: PartState | None
    state: WatchState
    hints: Hints
    files: tuple[Component, ...]


def known_before(project: Project, watch: Watch, rules_digest: str, hints: Hints) -> Before:
    """What is known of the hinted places; of everything, where other rules or another mount ask for it."""
    with reading(project.engine) as connection:
        last = service.get(connection, part_of_watch(watch.name))
        state = WatchState.from_details(last.details) if last is not None else WatchState()
        was_mounted = device_of(watch) not in (None, state.device)
        if last is None or state.rules_digest != rules_digest or was_mounted:
            hints = replace(hints, everything=True)
        if hints.everything:
            files = components.in_delivery(connection, watch.name)
        else:
            files = _hinted(connection, watch, hints)
    return Before(last, state, hints, tuple(files))


def seen_by(watch: Watch, before: Before) -> Look:
    """What lies there now; raises `ScanError` when nobody can tell."""
    root, paths = watch.root, [component.source_path for component in before.files]
    # What has not settled is looked at, too, though nothing told of it.
    known = {path.removeprefix(root) for path in paths if path.startswith(root)}
    hints = replace(before.hints, files=before.hints.files | known)
    seen = look(watch, hints)
    if not seen.files and before.files and before.state.device not in (None, device_of(watch)):
        raise ScanError(f"{watch.path}: is empty, and another file system than before; is it mounted?")
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
        other_rules=before.last is not None and before.state.rules_digest != rules.digest,
        moving=frozenset(archive.name for archive in project.config.archive if archive.action == "move"),
        jitter=random.random(),  # noqa: S311  # spreads load
    )
    with reading(project.engine) as connection:
        unknown = [path for path in facts.found() if path not in known]
        back = components.by_path(connection, watch.name, unknown)
        facts = replace(facts, known=known | {component.source_path: component for component in back})
        rows = groups.by_id(connection, groups_in_question(facts)).values()
    faults = {path: unreadable(to_path(path)) for path in settled(facts)}
    return replace(
        facts,
        owned=frozenset(row.id for row in rows if row.batch_id is not None),
        unreadable={path: fault for path, fault in faults.items() if fault is not None},
    )


def device_of(watch: Watch) -> int | None:
    """The file system that the watch's directory is on; None when it is not there."""
    try:
        return watch.path.stat().st_dev
    except OSError:
        return None


def _hinted(connection: Connection, watch: Watch, hints: Hints) -> list[Component]:
    """What is known of the places that hints point to, and of files that wait for a look."""
    root = watch.root
    found = [
        *components.by_path(connection, watch.name, [root + path for path in hints.files]),
        *components.below(connection, watch.name, [root + path for path in hints.directories]),
        *components.awaiting_a_look(connection, watch.name),
    ]
    return list({component.id: component for component in found}.values())
