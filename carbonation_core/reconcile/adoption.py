"""Registers files that lie in an archive and that the database knows nothing of.

They get the group keys that they would have had if they had been delivered:
under the top of the watch, by their name; in a recursive watch, by their path
relative to the archive's base.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from carbonation_core.config.sections import Archive, Watch
from carbonation_core.db import components, copies, feed, groups, metadata
from carbonation_core.db.components import Arrival, Change, Component
from carbonation_core.db.engine import Connection, chunks, reading, repeatable, writing
from carbonation_core.db.groups import GroupRow
from carbonation_core.db.locks import lock_watch
from carbonation_core.delivery.grouping import NoKey, key_of, member_of, refresh, retract_or_restore
from carbonation_core.disk import file_system
from carbonation_core.disk.stamp import Stamp
from carbonation_core.disk.walk import Pool, look_at, own_stamp
from carbonation_core.errors import QueryError
from carbonation_core.lifecycle import Event, FeedEvent, FileStatus
from carbonation_core.names import to_path, to_text
from carbonation_core.pipeline import stages
from carbonation_core.pipeline.context import StageContext, StageResult, open_group
from carbonation_core.project import Project, rules_in_force
from carbonation_core.reconcile.findings import Finding, Findings, Kind
from carbonation_core.rules import decide
from carbonation_core.rules.decide import reachable_archives
from carbonation_core.rules.readiness import shortfall
from carbonation_core.rules.rule_sets import Rules, RuleSet
from carbonation_core.text import listing

AT_ONCE = 200  # files registered under one lock
Sieve = Callable[[Sequence[Finding]], list[Finding]]


@dataclass(frozen=True)
class _Adoption:
    """An unknown file and who it would be. `path` is a name of the operating system."""

    finding: Finding
    path: str
    source_path: str
    key: str
    stamp: Stamp
    digest: str = ""


def adopter_of(project: Project, archive: Archive, watch_name: str | None) -> "Adopter":
    """Who registers what lies in an archive: for that watch, else for the only one that feeds it.

    Raises `QueryError` naming the watches there are to choose from.
    """
    rules = rules_in_force(project)
    feeding = [
        w for w in project.config.watch if archive.name in reachable_archives(w, rules, project.config)
    ]
    if watch_name is not None:
        feeding = [watch for watch in feeding if watch.name == watch_name]
        if not feeding:
            raise QueryError(f'no file of watch "{watch_name}" comes to archive "{archive.name}"')
    if not feeding:
        raise QueryError(f'no watch feeds archive "{archive.name}", so nothing there can be adopted')
    if len(feeding) > 1:
        raise QueryError(
            f'archive "{archive.name}" is fed by several watches: {listing(w.name for w in feeding)}; '
            "say by --watch whose files are to be adopted"
        )
    return Adopter(project, archive, feeding[0], rules)


class Adopter:
    """Registers unknown files of one archive as those of one watch."""

    def __init__(self, project: Project, archive: Archive, watch: Watch, rules: Rules) -> None:
        self._project, self._archive, self._watch = project, archive, watch
        self._rules: RuleSet = rules.sets[watch.rules]
        self._rules_digest = rules.digest
        self._context = StageContext(project, watch, self._rules)

    def adopted(
        self, unknown: Findings, threads: Pool, dry_run: bool, still_unknown: Sieve
    ) -> Iterator[Finding]:
        """What became of each unknown file: adopted, or unknown still with the reason.

        A file must be as it was when it was found, for as long as its watch
        asks of a delivered one. `still_unknown` leaves out what was recorded
        meanwhile.
        """
        if len(unknown) and not dry_run:
            time.sleep(self._watch.settle_seconds)
        for chunk in chunks(unknown, AT_ONCE):
            taken: list[_Adoption] = []
            for finding in still_unknown(chunk):
                found = self._who_it_is(finding)
                if isinstance(found, str):
                    yield finding.turned(Kind.UNKNOWN, f"is not adopted: {found}")
                else:
                    taken.append(found)
            if dry_run:
                yield from self._foretold(taken)
            else:
                read = list(threads.each(_digested, taken))
                yield from self._registered(read, still_unknown)
        if not dry_run:
            yield from self._completed()

    def _who_it_is(self, finding: Finding) -> _Adoption | str:
        """Who an unknown file would be, or why it can be nobody."""
        path = to_path(finding.path)
        if own_stamp(path) != finding.stamp:
            return "it changes"
        if os.path.islink(path) and self._archive.action != "symlink":
            return "it is a symlink"
        stamp = look_at(path)
        if isinstance(stamp, str):
            return f"it {stamp}"
        name = os.path.basename(finding.path)
        directory = os.path.dirname(self._archive.below(finding.path))
        if self._watch.ignores(directory):
            return f'watch "{self._watch.name}" leaves alone what lies in "{directory}"'
        if not self._watch.takes(name):
            return f'watch "{self._watch.name}" takes no file of that name'
        if decide.is_manifest(name, self._rules):
            return "it is a manifest, which belongs to no group"
        if original := _unversioned(path):
            return f'it looks like another version of "{to_text(original)}"'
        relative = finding.path.removeprefix(self._archive.root) if self._watch.recursive else name
        source_path = self._watch.root + relative
        key = key_of(self._watch, self._rules, self._project.plugin, source_path, path)
        if isinstance(key, NoKey):
            return key.reason
        return _Adoption(finding, path, source_path, key, stamp)

    def _foretold(self, taken: Sequence[_Adoption]) -> Iterator[Finding]:
        with reading(self._project.engine) as connection:
            existing = self._existing(connection, taken)
        claimed: set[str] = set()
        for one in taken:
            objection = _objection(one, existing.get(one.source_path), claimed)
            claimed.add(one.source_path)
            if objection:
                yield one.finding.turned(Kind.UNKNOWN, f"is not adopted: {objection}")
            else:
                yield one.finding.turned(Kind.ADOPTED, self._as_whom(one))

    @repeatable
    def _registered(
        self, read: Sequence["_Adoption | tuple[Finding, str]"], still_unknown: Sieve
    ) -> list[Finding]:
        """Register what could be read, group by group of siblings, in one transaction."""
        done = [f.turned(Kind.UNKNOWN, f"is not adopted: {why}") for f, why in _unread(read)]
        adoptions = [one for one in read if isinstance(one, _Adoption)]
        now = self._project.clock()
        with writing(self._project.engine) as connection:
            lock_watch(connection, self._watch.name)
            unknown = {finding.path for finding in still_unknown([one.finding for one in adoptions])}
            existing = self._existing(connection, adoptions)
            rows = groups.by_key(connection, self._watch.name, {one.key for one in adoptions})
            claimed: set[str] = set()
            accepted: list[_Adoption] = []
            for one in adoptions:
                if one.finding.path not in unknown:
                    continue
                objection = _objection(one, existing.get(one.source_path), claimed)
                if one.key in rows and rows[one.key].batch_id is not None:
                    objection = f'group "{one.key}" is being worked on'
                claimed.add(one.source_path)
                if objection:
                    done.append(one.finding.turned(Kind.UNKNOWN, f"is not adopted: {objection}"))
                else:
                    accepted.append(one)
                    done.append(one.finding.turned(Kind.ADOPTED, self._as_whom(one)))
            self._record(connection, accepted)
            touched = {
                row.id
                for row in groups.by_key(connection, self._watch.name, {one.key for one in accepted}).values()
            }
            self._renew_complete(connection, touched)
            refresh(connection, self._watch.root, self._rules, touched, (), now)
        return done

    def _existing(self, connection: Connection, taken: Sequence[_Adoption]) -> dict[str, Component]:
        paths = [one.source_path for one in taken]
        return {file.source_path: file for file in components.by_path(connection, self._watch.name, paths)}

    def _as_whom(self, one: _Adoption) -> str:
        return f'as {one.source_path} of group "{one.key}"'

    def _record(self, connection: Connection, accepted: Sequence[_Adoption]) -> None:
        now = self._project.clock()
        watch = self._watch
        rows = groups.ensure(connection, watch.name, watch.type, (one.key for one in accepted), now)
        arrivals = [Arrival(one.source_path, one.stamp) for one in accepted]
        components.record_arrivals(connection, watch.name, arrivals, now)
        files = self._existing(connection, accepted)
        changes, made, moved = [], [], []
        for one in accepted:
            file = files[one.source_path]
            if file.status is FileStatus.MISSING:
                moved.append(file.id)
            values = {
                "archive_name": self._archive.name,
                "archive_path": one.finding.path,
                "digest": one.digest,
                "in_archive": True,
                "archived_at": now,
                "group_id": rows[one.key].id,
            }
            if not (file.status is FileStatus.MISSING and file.in_delivery):
                values |= {"in_delivery": False, **components.stamp_values(one.stamp)}
            event = Event.FOUND if file.status is FileStatus.MISSING else Event.ARCHIVED
            changes.append(Change(file, event, f"adopted, as it lies at {one.finding.path}", values))
            made.append(
                {
                    "component_id": file.id,
                    "archive_name": self._archive.name,
                    "path": one.finding.path,
                    "digest": one.digest,
                    "size_bytes": one.stamp.size,
                    "mtime_ns": one.stamp.mtime_ns,
                    "copied_at": now,
                    "run_id": None,
                }
            )
        copies.supersede(connection, moved, now)
        copies.record(connection, made)
        components.apply(connection, changes, now)

    def _renew_complete(self, connection: Connection, group_ids: set[int]) -> None:
        """Tell the feed of complete groups that got a file or whose file lies elsewhere now."""
        now = self._project.clock()
        back = retract_or_restore(connection, group_ids, now)
        rows = [row for row in groups.by_id(connection, group_ids).values() if row.complete]
        files = components.of_groups(connection, [row.id for row in rows])
        groups.store(connection, [{"id": row.id, **self._lies_in(files[row.id])} for row in rows], now)
        feed.announce(connection, [(row, FeedEvent.UPDATED) for row in rows if row.id not in back], now)

    def _completed(self) -> Iterator[Finding]:
        """Complete the whole groups, now or from an earlier adoption that broke off."""
        last = 0
        while True:
            with reading(self._project.engine) as connection:
                ids = groups.incomplete(connection, self._watch.name, self._archive.name, last)
                files = components.of_groups(connection, ids)
                rows = groups.by_id(connection, ids)
            if not ids:
                return
            last = ids[-1]
            whole = [open_group(rows[id_], files[id_]) for id_ in ids if self._is_whole(files[id_])]
            described = stages.extract(self._context, whole)
            self._complete(described, rows)
            for ended in described.closed:
                path = self._primary_path(ended.group.files) or ""
                reason = f'group "{ended.group.key}" is not complete: {ended.reason}'
                yield Finding(Kind.INCOMPLETE, path, reason)

    @repeatable
    def _complete(self, described: StageResult, before: Mapping[int, GroupRow]) -> None:
        whole = described.passed
        if not whole:
            return
        now = self._project.clock()
        with writing(self._project.engine) as connection:
            lock_watch(connection, self._watch.name)
            ids = [group.id for group in whole]
            rows, files = groups.by_id(connection, ids), components.of_groups(connection, ids)
            # As they were when they were described.
            same = [
                group.id
                for group in whole
                if rows[group.id] == before[group.id]
                and sorted(f.id for f in files[group.id]) == sorted(f.id for f in group.files)
                and self._is_whole(files[group.id])
            ]
            found = {id_: values for id_, values in described.metadata.items() if id_ in same}
            metadata.store(connection, self._project.plugin.file_model, found, now)
            groups.store(connection, [self._complete_row(rows[id_], files[id_]) for id_ in same], now)
            feed.announce(connection, [(rows[id_], FeedEvent.COMPLETED) for id_ in same], now)

    def _is_whole(self, files: Sequence[Component]) -> bool:
        if not all(file.status is FileStatus.ARCHIVED and file.in_archive for file in files):
            return False
        members = [member_of(file, self._watch.root) for file in files]
        return not shortfall(members, self._rules).is_required

    def _complete_row(self, row: GroupRow, files: Sequence[Component]) -> dict[str, object]:
        return {
            "id": row.id,
            **self._lies_in(files),
            "rules_digest": self._rules_digest,
            "complete": True,
            "completed_at": self._project.clock(),
            "lacks": None,
            "attempts": 0,
            "due_at": None,
            "deadline_at": None,
            "timed_out_at": None,
        }

    def _lies_in(self, files: Sequence[Component]) -> dict[str, object]:
        path = self._primary_path(files)
        return {
            "archive_path": path,
            "archive_name": self._archive.name,
            "archive_directory": os.path.dirname(path or ""),
        }

    def _primary_path(self, files: Sequence[Component]) -> str | None:
        there = [file for file in files if file.archive_path]
        first = min(there, key=lambda file: decide.in_order(file.filename, self._rules), default=None)
        return first.archive_path if first else None


def _unversioned(path: str) -> str | None:
    """The file that another one beside it is named as a version of: `a.dat` of `a.v2.dat`."""
    directory, name = os.path.split(path)
    original = re.sub(r"\.v[0-9]+(?=(\.[^/]*)?$)", "", name)
    found = os.path.join(directory, original)
    return found if original not in ("", name) and os.path.lexists(found) else None


def _objection(one: _Adoption, known: Component | None, claimed: set[str]) -> str | None:
    """Why a file cannot be registered beside what is known; `claimed`: the paths given away already."""
    if one.source_path in claimed:
        return f"another file is adopted as {one.source_path}"
    if known is None or (known.status is FileStatus.CLEARED and not known.in_archive):
        return None
    if known.status is FileStatus.MISSING:
        if one.digest and one.digest != known.digest:
            return f"{one.source_path} was archived with other bytes"
        return None
    where = known.archive_path if known.in_archive else "in delivery"
    return f"{one.source_path} is known: {known.status}, {where}"


def _digested(one: _Adoption) -> "_Adoption | tuple[Finding, str]":
    """The file with its digest, or why it has none."""
    try:
        digest = file_system.digest_of(one.path)
    except OSError as error:
        return one.finding, f"it cannot be read: {error.strerror}"
    if own_stamp(one.path) != one.finding.stamp or look_at(one.path) != one.stamp:
        return one.finding, "it changes"
    return _Adoption(one.finding, one.path, one.source_path, one.key, one.stamp, digest)


def _unread(
    read: Sequence["_Adoption | tuple[Finding, str]"],
) -> list[tuple[Finding, str]]:
    return [one for one in read if isinstance(one, tuple)]
