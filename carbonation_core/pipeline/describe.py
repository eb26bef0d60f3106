"""Asks the extractor again for groups that are archived, as their plugin knows more now. No file moves."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from carbonation_core.config.sections import Watch
from carbonation_core.db import components, feed, groups, metadata
from carbonation_core.db.columns import is_same
from carbonation_core.db.components import Component
from carbonation_core.db.engine import chunks, reading, repeatable, writing
from carbonation_core.db.filters import spelled
from carbonation_core.db.locks import lock_watch
from carbonation_core.db.metadata import Described as Stored
from carbonation_core.disk.source import is_unchanged
from carbonation_core.errors import QueryError
from carbonation_core.lifecycle import FeedEvent
from carbonation_core.logs.records import about
from carbonation_core.pipeline import stages
from carbonation_core.pipeline.context import Described, OpenGroup, StageContext, open_group, source_of
from carbonation_core.plugin import own_columns
from carbonation_core.project import Progress, Project, rules_in_force, rules_on_disk
from carbonation_core.text import nearest

PORTION = 100  # groups that are stored together, at most
PATIENCE = 5.0  # seconds after which what was asked is stored, so that little is lost with the process


class Verdict(StrEnum):
    """What came of asking again."""

    DESCRIBED = "described"
    UNCHANGED = "unchanged"
    FAILED = "failed"  # the attempt; what is stored stays
    OVERTAKEN = "overtaken"  # it was taken up by a run meanwhile, which asks itself


@dataclass(frozen=True)
class Redescribed:
    """A group of which the extractor was asked again; `columns` are those with another value now.

    `elsewhere` says what selection and routing would decide now, if they would not
    leave the group where it lies.
    """

    watch_name: str
    group_key: str
    verdict: Verdict
    columns: tuple[str, ...] = ()
    reason: str = ""
    elsewhere: str | None = None


@dataclass(frozen=True)
class _Asked:
    """A group with what is stored of it, and what its extractor says."""

    group: OpenGroup
    stored: Stored
    told: Redescribed
    described: Described | None = None
    files: Sequence[Component] = field(default=())  # as the database had them


def describe(
    project: Project,
    watch_name: str | None = None,
    group_key: str | None = None,
    missing_column: str | None = None,
    *,
    dry_run: bool = False,
    progress: Progress = lambda what, done, of: None,
) -> Iterator[Redescribed]:
    """Ask again of complete groups; those of a watch, of a key, or without a value in that column.

    The files are read in delivery while they are what was archived, else in the
    archive. What differs is stored in portions and told in the feed as updated; who
    begins anew goes on with `missing_column` where the process ended. Groups that a
    run has or will have are left to it. Raises `QueryError` for a group or column
    that is not there, `ConfigError` for a watch that is not.
    """
    columns = [column.key for column in own_columns(project.plugin)]
    if missing_column is not None and missing_column not in columns:
        raise QueryError(f'the plugin has no column "{missing_column}"; {nearest(missing_column, columns)}')
    names = [watch_name] if watch_name else [watch.name for watch in project.config.watch]
    watches = [project.config.watch_named(name) for name in names]
    rules = rules_on_disk(project) if dry_run else rules_in_force(project)
    group_key = None if group_key is None else spelled(group_key)
    with reading(project.engine) as connection:
        if group_key is not None and not any(groups.by_key(connection, n, [group_key]) for n in names):
            raise QueryError(f'there is no group "{group_key}"')
    for watch in watches:
        context = StageContext(project, watch, rules.sets[watch.rules])
        if context.rules.metadata is not None:
            yield from _of_watch(context, group_key, missing_column, dry_run, progress)


def _of_watch(
    context: StageContext,
    group_key: str | None,
    missing_column: str | None,
    dry_run: bool,
    progress: Progress,
) -> Iterator[Redescribed]:
    model, engine = context.plugin.file_model, context.project.engine
    asked_for = (model, context.watch.name, group_key, missing_column)
    with reading(engine) as connection:
        number = metadata.count_settled(connection, *asked_for)
    after, done = 0, 0
    while True:
        with reading(engine) as connection:
            ids = metadata.settled(connection, *asked_for, after)
        if not ids:
            return
        after = ids[-1]
        for portion in chunks(ids, PORTION):
            for asked in _asked(context, portion):
                yield from (one.told for one in asked) if dry_run else _stored(context, asked)
                done += len(asked)
                progress(f"{context.watch.name}: groups described", done, max(done, number))


def _asked(context: StageContext, ids: Sequence[int]) -> Iterator[list[_Asked]]:
    """What the extractor says of these groups, in lists that took it no longer than a while."""
    with reading(context.project.engine) as connection:
        rows, files = groups.by_id(connection, ids), components.of_groups(connection, ids)
        stored = metadata.described(connection, context.plugin.file_model, ids)
    asked: list[_Asked] = []
    began = time.monotonic()
    for id_ in ids:
        if id_ not in rows:
            continue
        # It is not late, whatever it is: all of it is to be described.
        readable = [_where_it_is(context.watch, file) for file in files[id_]]
        group = open_group(rows[id_], readable)
        with about(group_key=group.key):
            asked.append(_ask(context, group, stored[id_], files[id_]))
        if time.monotonic() - began > PATIENCE:
            yield asked
            asked, began = [], time.monotonic()
    yield asked


def _where_it_is(watch: Watch, file: Component) -> Component:
    """The file, to be read in delivery only if it still is what was archived."""
    if file.in_delivery and file.in_archive and not is_unchanged(source_of(watch, file)):
        return file._replace(in_delivery=False)
    return file


def _ask(context: StageContext, group: OpenGroup, stored: Stored, files: Sequence[Component]) -> _Asked:
    said = Redescribed(context.watch.name, group.key, Verdict.UNCHANGED)
    lies_in, group = group.lies_in, replace(group, lies_in=None)
    result = stages.extract(context, [group])
    for ended in result.closed:
        return _Asked(group, stored, replace(said, verdict=Verdict.FAILED, reason=ended.reason))
    raw, values = described = result.metadata[group.id]
    columns = _differing(context, stored, raw, values)
    if not columns:
        return _Asked(group, stored, said)
    told = replace(said, verdict=Verdict.DESCRIBED, columns=columns)
    known: Mapping[int, Mapping[str, Any]] = {group.id: values}
    selected = stages.select(context, [group], known)
    routed = stages.route(context, selected.passed, known)
    elsewhere = next((f"{one.outcome}: {one.reason}" for one in (*selected.closed, *routed.closed)), None)
    for one in routed.passed:
        if one.route is not None and one.route != lies_in:
            elsewhere = f"{one.route.archive}: {one.route.directory}"
    return _Asked(group, stored, replace(told, elsewhere=elsewhere), described, files)


def _differing(
    context: StageContext, stored: Stored, raw: Mapping[str, Any], values: Mapping[str, Any]
) -> tuple[str, ...]:
    """The columns that would have another value, of those that the plugin speaks of, or has spoken of."""
    before, dialect = stored.raw or {}, context.project.engine.dialect
    columns = {column.name: column for column in own_columns(context.plugin)}
    return tuple(
        name
        for name in dict.fromkeys([*raw, *before])
        if raw.get(name) != before.get(name)
        or (
            name in stored.columns
            and not is_same(columns[name], stored.columns[name], values.get(name), dialect)
        )
    )


@repeatable
def _stored(context: StageContext, asked: Iterable[_Asked]) -> list[Redescribed]:
    """Store what differs, and tell of it; what came of each."""
    asked = list(asked)
    new = {one.group.id: one for one in asked if one.described is not None}
    if not new:
        return [one.told for one in asked]
    now = context.project.clock()
    with writing(context.project.engine) as connection:
        lock_watch(connection, context.watch.name)
        rows, files = groups.by_id(connection, new), components.of_groups(connection, new)
        ours = {
            id_: one.described
            for id_, one in new.items()
            if one.described is not None
            and (row := rows.get(id_)) is not None
            and row.complete
            and row.batch_id is None
            and row.due_at is None
            and stages.state_of(files[id_]) == stages.state_of(one.files)
        }
        refused = metadata.store(connection, context.plugin.file_model, ours, now)
        # A column may round, so that it has what it had.
        there = metadata.described(connection, context.plugin.file_model, ours)
        same = {id_ for id_ in ours if there[id_] == new[id_].stored}
        news = [(rows[id_], FeedEvent.UPDATED) for id_ in ours if id_ not in refused and id_ not in same]
        feed.announce(connection, news, now)
    return [_came_to(one, ours, refused, same) for one in asked]


def _came_to(
    one: _Asked, ours: Mapping[int, Described], refused: Mapping[int, str], same: Collection[int]
) -> Redescribed:
    if one.described is None:
        return one.told
    if one.group.id in refused:
        return replace(one.told, verdict=Verdict.FAILED, columns=(), reason=refused[one.group.id])
    if one.group.id not in ours:
        return replace(one.told, verdict=Verdict.OVERTAKEN, columns=(), elsewhere=None)
    if one.group.id in same:
        return replace(one.told, verdict=Verdict.UNCHANGED, columns=(), elsewhere=None)
    return one.told
