"""What a pass would do to each group, without doing any of it."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from carbonation_core import rules as decide
from carbonation_core import stages
from carbonation_core.config import Watch
from carbonation_core.db import components, groups, migrate
from carbonation_core.db.batches import Member
from carbonation_core.db.components import Component
from carbonation_core.db.engine import reading
from carbonation_core.db.groups import GroupRow
from carbonation_core.errors import ScanError
from carbonation_core.lifecycle import FileStatus
from carbonation_core.names import to_path, to_text
from carbonation_core.project import Project, rules_on_disk
from carbonation_core.scan import Seen, look, unreadable
from carbonation_core.stages import Bench, Closing, OpenGroup, StageResult

ARCHIVE, DONE = "archive", "archived already"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # of times that nothing here looks at


@dataclass(frozen=True)
class Preview:
    """What would become of a group, or of a file that gets no group, and why."""

    watch_name: str
    group_key: str
    verdict: str
    reason: str
    destination: str | None = None


def preview(project: Project) -> list[Preview]:
    """What a pass would do now, with everything taken as settled; nothing is written.

    rules.toml is read as it is, accepted or not. Raises `ConfigError`.
    """
    rules = rules_on_disk(project)
    return [
        verdict
        for watch in project.config.watch
        for verdict in _of_watch(Bench(project, watch, rules.sets[watch.rules]))
    ]


def _of_watch(bench: Bench) -> Iterator[Preview]:
    watch, rule_set = bench.watch, bench.rules
    try:
        seen = look(watch.path, watch.recursive, watch.symlinks, lambda name: decide.wanted(name, watch))
    except ScanError as error:
        yield Preview(watch.name, "", "cannot be looked at", str(error))
        return
    known, rows = _known(bench, [entry.path for entry in seen.files])
    by_key: dict[str, list[Component]] = defaultdict(list)
    for number, entry in enumerate(seen.files, 1):
        component = _as_component(watch, entry, -number, known.get(entry.path))
        if component.status is FileStatus.ARCHIVED:
            by_key[_known_key(component, rows) or entry.path].append(component)
            continue
        path = Path(to_path(component.source_path))
        fault = entry.fault or decide.stat_fault(entry.stamp.size, rule_set) or unreadable(str(path))
        if fault is not None:
            yield Preview(watch.name, entry.path, FileStatus.INTEGRITY_FAILED, fault)
            continue
        key, reason = _key(bench, entry.path, path)
        if key is None:
            yield Preview(watch.name, entry.path, FileStatus.NOT_SELECTED, reason)
        else:
            by_key[key].append(component)
    opened = [
        OpenGroup(_row(watch, key, -number), Member(-number, None, None, None, None, None, 0, 0), files)
        for number, (key, files) in enumerate(sorted(by_key.items()), 1)
    ]
    yield from _of_groups(bench, opened)


def _of_groups(bench: Bench, opened: list[OpenGroup]) -> Iterator[Preview]:
    name = bench.watch.name
    for group in opened:
        if not group.asking:
            yield Preview(name, group.row.group_key, DONE, "its files are in the archive")
    result = StageResult(passed=[group for group in opened if group.asking])
    closed: list[Closing] = []
    metadata: dict[int, dict[str, object]] = defaultdict(dict)
    for stage in (stages.integrity, stages.completeness, stages.extract):
        result = stage(bench, result.passed)
        closed += result.closed
    metadata |= {id_: dict(values) for id_, (_, values) in result.metadata.items()}
    for decision in (stages.select, stages.route):
        result = decision(bench, result.passed, metadata)
        closed += result.closed
    for ended in closed:
        yield Preview(name, ended.group.row.group_key, ended.outcome, ended.reason)
    for group in result.passed:
        archive, directory = result.routes[group.row.id]
        files = ", ".join(sorted(file.filename for file in group.asking))
        yield Preview(name, group.row.group_key, ARCHIVE, f"{files} to {archive}", directory)


def _known(bench: Bench, paths: list[str]) -> tuple[dict[str, Component], dict[int, GroupRow]]:
    """What the database knows of these files, by their relative path; nothing if there is none."""
    engine = bench.project.engine
    name = engine.url.database
    if engine.dialect.name == "sqlite" and not (name and os.path.exists(name)):
        return {}, {}
    if not migrate.status(engine, bench.project.plugin.migrations_path).is_current:
        return {}, {}
    root = to_text(str(bench.watch.path)) + "/"
    with reading(engine) as connection:
        found = components.by_path(connection, bench.watch.name, [root + path for path in paths])
        rows = groups.by_id(connection, {file.group_id for file in found if file.group_id is not None})
    return {file.source_path.removeprefix(root): file for file in found}, rows


def _as_component(watch: Watch, entry: Seen, number: int, known: Component | None) -> Component:
    """The file as a pass would find it: archived as it is, or waiting for its run."""
    if known is not None and known.stamp == entry.stamp and known.status is FileStatus.ARCHIVED:
        return known
    fresh = Component(
        id=number,
        watch_name=watch.name,
        filename=os.path.basename(entry.path),
        source_path=to_text(str(watch.path)) + "/" + entry.path,
        stamp=entry.stamp,
        quiet_since=_EPOCH,
        status=FileStatus.WAITING,
        in_delivery=True,
        in_archive=False,
        group_id=None,
        digest=None,
        archive_name=None,
        archive_path=None,
        error_message=None,
        retry_count=0,
        retry_at=None,
        detected_at=_EPOCH,
    )
    if known is None:
        return fresh
    return replace(known, stamp=entry.stamp, status=FileStatus.WAITING, in_delivery=True)


def _known_key(component: Component, rows: dict[int, GroupRow]) -> str | None:
    row = rows.get(component.group_id) if component.group_id is not None else None
    return row.group_key if row else None


def _key(bench: Bench, relative: str, path: Path) -> tuple[str | None, str]:
    completeness = bench.rules.completeness
    if completeness is None or completeness.group_function is None:
        return decide.group_key(relative, completeness), ""
    name = completeness.group_function
    try:
        key = bench.plugin.group_functions[name](file_path=path)
    except Exception as error:
        return None, f'group function "{name}" raised {type(error).__name__}: {error}'
    return key, f'group function "{name}" gives it no group'


def _row(watch: Watch, key: str, number: int) -> GroupRow:
    return GroupRow(number, watch.name, key, False, None, None, _EPOCH, None, None, 0, None, None, None, None)
