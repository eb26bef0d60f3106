"""What a pass would do to each group, without doing any of it."""

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from carbonation_core.config.sections import Watch
from carbonation_core.db import components, groups, migrate
from carbonation_core.db.components import Component
from carbonation_core.db.engine import reading
from carbonation_core.db.groups import GroupRow
from carbonation_core.delivery.grouping import NoKey, key_of, lists_of
from carbonation_core.disk.scan import EVERYTHING, Hints, Seen, look, unreadable
from carbonation_core.disk.stamp import NEVER_SEEN
from carbonation_core.errors import ScanError
from carbonation_core.lifecycle import FileStatus, Outcome, Stage
from carbonation_core.names import to_path
from carbonation_core.pipeline import stages
from carbonation_core.pipeline.context import OpenGroup, StageContext, open_group
from carbonation_core.pipeline.integrity import Contents
from carbonation_core.project import Project, rules_on_disk
from carbonation_core.rules import decide
from carbonation_core.rules.near_misses import like_keys, like_pattern

ARCHIVE, LEFT_ALONE = "archive", "left alone"
DONE, TO_COMPARE = "archived already", "archived already, to be compared with the copies"
PASSED = "passed"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # of times that nothing here looks at


@dataclass(frozen=True)
class StageVerdict:
    """That a group "passed" a stage, or how its way ended there; why, and how many seconds that took."""

    stage: Stage
    verdict: str
    reason: str
    seconds: float


@dataclass(frozen=True)
class Preview:
    """What would become of a group, or of a file that gets no group, and why.

    `destination` is a directory, `files` are names, and `metadata` the values of the
    plugin's columns that its extractor returned. `stages` are those that it came to.
    """

    watch_name: str
    group_key: str
    verdict: str
    reason: str
    destination: str | None = None
    files: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[StageVerdict, ...] = ()


def preview(project: Project) -> list[Preview]:
    """What a pass would do now, with everything taken as settled; nothing is written.

    rules.toml is read as it is, accepted or not. Raises `ConfigError`.
    """
    rules = rules_on_disk(project)
    return [
        verdict
        for watch in project.config.watch
        for verdict in of_watch(StageContext(project, watch, rules.sets[watch.rules]))
    ]


def of_watch(context: StageContext, hints: Hints = EVERYTHING, *, fresh: bool = False) -> Iterator[Preview]:
    """What a pass would do with the files of a watch where the hints point.

    `fresh`: as if all of them came for the first time; no database is asked.
    """
    watch, rule_set, now = context.watch, context.rules, context.project.clock()
    try:
        seen = look(watch.model_copy(update={"patterns": ()}), hints)
    except ScanError as error:
        yield Preview(watch.name, "", "cannot be looked at", str(error))
        return
    files = [entry for entry in seen.files if watch.takes(entry.path)]
    yield from _almost_taken(watch, seen.files)
    known, rows = ({}, {}) if fresh else _known(context, [entry.path for entry in files])
    by_key: dict[str, list[Component]] = defaultdict(list)
    manifests: list[Component] = []
    for number, entry in enumerate(files, 1):
        component = _as_component(context, entry, -number, known.get(entry.path), now)
        if component.status is not FileStatus.WAITING:
            by_key[_known_key(component, rows) or entry.path].append(component)
            continue
        fault = (
            entry.fault
            or decide.stat_fault(component.filename, entry.stamp.size, rule_set)
            or unreadable(to_path(component.source_path))
        )
        if fault is not None:
            yield Preview(watch.name, entry.path, FileStatus.INTEGRITY_FAILED, fault)
            continue
        if decide.is_manifest(component.filename, rule_set):
            manifests.append(component)
            yield Preview(watch.name, entry.path, FileStatus.NOT_SELECTED, "is a manifest of checksums")
            continue
        key = key_of(watch, rule_set, context.plugin, component.source_path)
        if isinstance(key, NoKey):
            verdict = FileStatus.RETRY_PENDING if key.failed else FileStatus.NOT_SELECTED
            yield Preview(watch.name, entry.path, verdict, key.reason)
            continue
        lists = lists_of(watch, rule_set, context.plugin, component)
        if isinstance(lists, NoKey):
            yield Preview(watch.name, entry.path, FileStatus.RETRY_PENDING, lists.reason)
        elif isinstance(lists, str):
            reason = f"{lists}, and so is no manifest"
            yield Preview(watch.name, entry.path, FileStatus.INTEGRITY_FAILED, reason)
        else:
            by_key[key].append(component._replace(lists=lists))
    stand = {} if fresh else _stand(context, by_key)
    opened = [
        replace(stand[key], id=-number, timed_out=False, files=[*files, *stand[key].files])
        if key in stand
        else OpenGroup(-number, key, now, timed_out=False, files=files)
        for number, (key, files) in enumerate(sorted(by_key.items()), 1)
    ]
    yield from _of_groups(context, opened, manifests, now)


def _almost_taken(watch: Watch, seen: Iterable[Seen]) -> Iterator[Preview]:
    """The files that a watch leaves alone, and would take if its patterns were read as people do."""
    for entry in seen:
        like = None if watch.takes(entry.path) else like_pattern(os.path.basename(entry.path), watch)
        if like is not None:
            reason = f"its name matches none of the patterns of its watch; {like}"
            yield Preview(watch.name, entry.path, LEFT_ALONE, reason)


def _of_groups(
    context: StageContext, opened: list[OpenGroup], manifests: list[Component], now: datetime
) -> Iterator[Preview]:
    contents = Contents(context.watch, context.rules, context.plugin, manifests, now)
    for group in opened:
        if not group.asking:
            verdict = TO_COMPARE if any(map(_is_unseen, group.files)) else DONE
            yield Preview(context.watch.name, group.key, verdict, "its files are in the archive")
    walked = [_walked(context, group, contents) for group in opened if group.asking]
    alike = like_keys(one.group_key for one in walked if one.verdict is Outcome.WAITING)
    for one in sorted(walked, key=lambda one: one.verdict == ARCHIVE):
        yield replace(one, reason="; ".join(filter(None, (one.reason, alike.get(one.group_key)))))


def _walked(context: StageContext, group: OpenGroup, contents: Contents) -> Preview:
    """A group's way through the stages, as far as it would come."""
    metadata: dict[int, Mapping[str, Any]] = {group.id: {}}
    files = tuple(sorted(file.filename for file in group.asking))
    walked = partial(Preview, context.watch.name, group.key, files=files)
    verdicts: list[StageVerdict] = []
    for stage, decide_of in (
        (Stage.INTEGRITY, partial(stages.integrity, contents=contents)),
        (Stage.COMPLETENESS, stages.completeness),
        (Stage.EXTRACT, stages.extract),
        (Stage.SELECT, partial(stages.select, metadata=metadata)),
        (Stage.ROUTE, partial(stages.route, metadata=metadata)),
    ):
        began = time.perf_counter()
        result = decide_of(context, [group])
        seconds = time.perf_counter() - began
        metadata |= {id_: values for id_, (_, values) in result.metadata.items()}
        for ended in result.closed:
            verdicts.append(StageVerdict(stage, ended.outcome, ended.reason, seconds))
            return walked(ended.outcome, ended.reason, metadata=metadata[group.id], stages=tuple(verdicts))
        before, (group,) = group.reason, result.passed
        said = (group.reason or "").removeprefix(before or "").removeprefix("; ")
        verdicts.append(StageVerdict(stage, PASSED, said, seconds))
    assert group.route is not None
    names = (file.filename for file in group.asking)
    taken = ", ".join(sorted(name for name in names if not decide.is_set_aside(name, context.rules)))
    return walked(
        ARCHIVE,
        f"{taken} to {group.route.archive}",
        group.route.directory,
        metadata=metadata[group.id],
        stages=tuple(verdicts),
    )


def _known(context: StageContext, paths: list[str]) -> tuple[dict[str, Component], dict[int, GroupRow]]:
    """What the database knows of these files, by their relative path; nothing if there is none."""
    if not _has_tables(context):
        return {}, {}
    root = context.watch.root
    with reading(context.project.engine) as connection:
        found = components.by_path(connection, context.watch.name, [root + path for path in paths])
        rows = groups.by_id(connection, {file.group_id for file in found if file.group_id is not None})
    return {file.source_path.removeprefix(root): file for file in found}, rows


def _stand(context: StageContext, by_key: Mapping[str, Sequence[Component]]) -> dict[str, OpenGroup]:
    """How groups stand that files ask for, with what is archived of them and lies in delivery no more."""
    asking = [key for key, files in by_key.items() if any(f.status is FileStatus.WAITING for f in files)]
    if not asking or not _has_tables(context):
        return {}
    with reading(context.project.engine) as connection:
        rows = groups.by_key(connection, context.watch.name, asking)
        files = components.of_groups(connection, [row.id for row in rows.values()])
    found = {}
    for key, row in rows.items():
        there = {file.source_path for file in by_key[key]}
        archived = [
            file._replace(in_delivery=False)
            for file in files[row.id]
            if file.status is FileStatus.ARCHIVED and file.source_path not in there
        ]
        found[key] = open_group(row, archived)
    return found


def _has_tables(context: StageContext) -> bool:
    project = context.project
    return migrate.status(project.engine, project.plugin.migrations_path).is_current


def _as_component(
    context: StageContext, entry: Seen, number: int, known: Component | None, now: datetime
) -> Component:
    """The file as a pass would find it: done with as it is, or waiting for its run."""
    watch = context.watch
    unchanged = known is not None and known.stamp == entry.stamp
    if known is not None and known.status is FileStatus.ARCHIVED:
        # An earlier release archived it: a pass compares its bytes with the copy's.
        is_unseen = _is_unseen(known) and known.stamp.size == entry.stamp.size
        if unchanged or is_unseen:
            return known
    if known is not None and unchanged:
        is_read = known.status is FileStatus.NOT_SELECTED and known.group_id is not None
        if is_read and decide.is_set_aside(known.filename, context.rules):
            return known
    fresh = Component(
        id=number,
        watch_name=watch.name,
        filename=os.path.basename(entry.path),
        source_path=watch.root + entry.path,
        stamp=entry.stamp,
        quiet_since=now,
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
    quiet_since = known.quiet_since if unchanged else now
    return known._replace(
        stamp=entry.stamp, quiet_since=quiet_since, status=FileStatus.WAITING, in_delivery=True
    )


def _is_unseen(known: Component) -> bool:
    """Whether it was imported, and no look has told what lies there."""
    return known.stamp == NEVER_SEEN._replace(size=known.stamp.size)


def _known_key(component: Component, rows: dict[int, GroupRow]) -> str | None:
    row = rows.get(component.group_id) if component.group_id is not None else None
    return row.group_key if row else None
