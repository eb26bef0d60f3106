"""What lies in an archive against what the database says of it.

Gather (the copies that should be there are looked for, the tree is walked for
files that nobody knows), judge, and only then apply, each finding looked at once
more under the lock that recording takes. Neither table nor tree is ever held
whole.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from carbonation_core.config.sections import Archive, Watch
from carbonation_core.db import batches, components, copies
from carbonation_core.db.components import Change, Component
from carbonation_core.db.copies import Copy
from carbonation_core.db.engine import Connection, chunks, reading, repeatable, writing
from carbonation_core.db.locks import lock_watch
from carbonation_core.delivery.grouping import refresh, retract_or_restore
from carbonation_core.disk import file_system
from carbonation_core.disk.temporary import batch_of
from carbonation_core.disk.walk import Entry, Pool, look_at, own_stamp, pool
from carbonation_core.errors import ScanError
from carbonation_core.lifecycle import Event, may
from carbonation_core.names import to_path, to_text
from carbonation_core.project import Progress, Project, rules_accepted, rules_in_force
from carbonation_core.reconcile.adoption import Adopter, adopter_of
from carbonation_core.reconcile.digests import read_digests
from carbonation_core.reconcile.findings import Finding, Findings, Kind, is_doubtful, judged, too_much_lost
from carbonation_core.reconcile.scope import ALL, Scope, watches_of_others
from carbonation_core.rules.decide import reachable_archives
from carbonation_core.rules.rule_sets import Rules
from carbonation_core.text import counted

COMPARED, WALKED = "compared", "walked"
APPLIED_AT_ONCE = 200  # findings under one lock
_CHANGING = (Kind.MISSING, Kind.RETURNED)


@dataclass(frozen=True)
class ArchiveReconciliation:
    """What a reconciliation of one archive found, and did unless it was a trial or was refused.

    `compared` are the copies that were looked for, `expected` those that should
    lie in the whole archive. `left` are copies that other sites brought, and compare.
    Of copies without a digest some were read, and some are `unread` still. `refused`
    says why nothing was changed.
    """

    archive_name: str
    compared: int
    expected: int
    findings: Findings = field(compare=False)
    dry_run: bool = False
    refused: str | None = None
    left: int = 0
    read: int = 0
    unread: int = 0

    def number(self, *kinds: Kind) -> int:
        """How many findings there are of these kinds."""
        return sum(self.findings.tally.get(kind, 0) for kind in kinds)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What else there is to say, of digests and of what was left."""
        said = []
        if self.read or self.unread:
            later = f", {self.unread:,} left for the next time" if self.unread else ""
            said.append(f"{counted(self.read, 'digest')} read{later}")
        if self.left:
            said.append(f"{counted(self.left, 'file')} of other sites left to them")
        return tuple(said)


def _told_to_nobody(_what: str, _done: int, _of: int | None) -> None:
    pass


def reconcile_archive(
    project: Project,
    archive_name: str,
    scope: Scope = ALL,
    *,
    dry_run: bool = False,
    adopt: bool = False,
    force: bool = False,
    workers: int | None = None,
    progress: Progress = _told_to_nobody,
) -> ArchiveReconciliation:
    """Compare an archive with the database; the truth wins.

    What vanished is `missing` from then on, what is back `archived`; of a file
    nobody knows it is only said that it is there, unless `adopt` registers it.
    `dry_run` changes nothing and says what would be. More than `max_loss`
    missing at once changes nothing either, unless `force` says that it is true;
    then `refused` has the reason. Raises `ScanError` when a directory cannot be
    read or the archive's mount has gone, and `QueryError` when `adopt` cannot
    tell which watch the files would be of; then nothing is changed.
    """
    archive = project.config.archive_named(archive_name)
    if scope.watch_name is not None:
        project.config.watch_named(scope.watch_name)
    scope = replace(scope, but_of=watches_of_others(project))
    adopter = adopter_of(project, archive, scope.watch_name) if adopt else None
    _require_mounted(project, archive)
    with pool(workers or project.config.service.workers) as threads:
        watches = _feeding(project, archive, scope.watch_name)
        task = _Reconciling(project, archive, scope, watches, threads, progress)
        found = task.gathered()
        if found.refused is not None and not force:
            return replace(found, dry_run=dry_run)
        done = task.applied(found, dry_run, adopter)
        if dry_run:
            return done
        read, unread = read_digests(project, archive_name, scope, threads, progress)
        return replace(done, read=read, unread=unread)


def _require_mounted(project: Project, archive: Archive) -> None:
    if not file_system.base_is_gone(archive.base):
        return
    with reading(project.engine) as connection:
        below = [to_text(str(archive.base))]
        held_files = copies.count(connection, archive.name, below=below) > 0
    if held_files:
        raise ScanError(f'base_path "{archive.base}" held files and is gone or empty; is it mounted?')


def _feeding(project: Project, archive: Archive, watch_name: str | None) -> list[Watch]:
    """The watches that bring files to an archive, or the one that is asked for."""
    config = project.config
    if watch_name is not None:
        return [config.watch_named(watch_name)]
    with reading(project.engine) as connection:
        rules = rules_accepted(project, connection)
    return [watch for watch in config.watch if archive.name in reachable_archives(watch, rules, config)]


class _Reconciling:
    def __init__(
        self,
        project: Project,
        archive: Archive,
        scope: Scope,
        watches: Sequence[Watch],
        threads: Pool,
        progress: Progress,
    ) -> None:
        self._project, self._archive, self._scope, self._watches = project, archive, scope, watches
        self._threads, self._progress = threads, progress

    def gathered(self) -> ArchiveReconciliation:
        """All that the archive and the database do not agree upon; nothing is changed."""
        findings = Findings()
        with reading(self._project.engine) as connection:
            expected = copies.count_expected(connection, self._archive.name, self._scope.but_of)
            left = sum(copies.count(connection, self._archive.name, name) for name in self._scope.but_of)
        compared = self._look_for_copies(findings)
        self._look_for_unknown(findings)
        missing = findings.tally[Kind.MISSING]
        limit = self._project.config.service.max_loss
        refused = None
        if too_much_lost(missing, expected, limit):
            refused = (
                f'{missing} of {counted(expected, "file")} of archive "{self._archive.name}" would be called '
                f"missing, more than max_loss = {limit:.4g} allows; nothing is changed. Is everything "
                "mounted? If they are gone indeed: --force"
            )
        return ArchiveReconciliation(
            self._archive.name, compared, expected, findings, refused=refused, left=left
        )

    def _look_for_copies(self, findings: Findings) -> int:
        name, scope = self._archive.name, self._scope
        with reading(self._project.engine) as connection:
            total = copies.count(connection, name, scope.watch_name, scope.paths, but_of=scope.but_of)
        compared = 0
        self._progress(COMPARED, 0, total)
        current = copies.live(self._project.engine, name, scope.watch_name, scope.paths, but_of=scope.but_of)
        for number, found in self._threads.each(_disagreeing, current):
            compared += number
            for finding in found:
                findings.add(finding)
            self._progress(COMPARED, compared, total)
        return compared

    def _look_for_unknown(self, findings: Findings) -> None:
        walked = 0
        for entries in self._entries():
            walked += len(entries)
            for finding in self._unknown(entries):
                findings.add(finding)
            self._progress(WALKED, walked, None)

    def _entries(self) -> Iterator[list[Entry]]:
        base = to_text(str(self._archive.base))
        for root in self._scope.paths or (base,):
            place = to_path(root)
            # The base itself may be a symlink to where the archive lies.
            is_file = os.path.isfile(place) or (os.path.islink(place) and root != base)
            if not self._enters(os.path.dirname(place) if is_file else place):
                continue
            if is_file:
                yield [Entry(place, os.path.islink(place))]
            else:
                yield from self._threads.walk(place, self._enters)

    def _enters(self, path: str) -> bool:
        """Whether what lies in a directory could be of a watch; not if all of them leave it alone."""
        below = self._archive.below(to_text(path))
        return not self._watches or not all(watch.ignores(below) for watch in self._watches)

    def _unknown(self, entries: Sequence[Entry]) -> list[Finding]:
        by_text = {to_text(entry.path): entry for entry in entries}
        temporary = {text: batch for text in by_text if (batch := batch_of(os.path.basename(text)))}
        with reading(self._project.engine) as connection:
            known = copies.owners(connection, (text for text in by_text if text not in temporary))
            at_work = batches.still_open(connection, temporary.values())
        found = []
        # Siblings lie together in this order, and are adopted together.
        for text in sorted(by_text.keys() - known.keys()):
            entry = by_text[text]
            if entry.is_symlink and os.path.isdir(entry.path):
                continue  # another way to a directory, which is no file of anybody's
            if text in temporary:
                if temporary[text] not in at_work:
                    found.append(Finding(Kind.LEFT_OVER, text, "of a batch that has ended"))
                continue
            stamp = own_stamp(entry.path)
            if stamp is not None:
                reason = "the database knows nothing of it"
                found.append(Finding(Kind.UNKNOWN, text, reason, stamp=stamp))
        return found

    def applied(
        self, found: ArchiveReconciliation, dry_run: bool, adopter: Adopter | None
    ) -> ArchiveReconciliation:
        """What is left of the findings at a second look, acted upon unless it is a trial."""
        done = Findings()
        unknown = Findings()
        for chunk in chunks(found.findings, APPLIED_AT_ONCE):
            of_copies = [finding for finding in chunk if finding.copy_id is not None]
            changing = [one for one in of_copies if not dry_run and one.kind in _CHANGING]
            told = [one for one in of_copies if dry_run or one.kind not in _CHANGING]
            for finding in (*self._recorded(changing), *self._seen_again(told)):
                done.add(finding)
            for finding in self._still_unknown([one for one in chunk if one.copy_id is None]):
                (unknown if adopter and finding.kind is Kind.UNKNOWN else done).add(finding)
        if adopter is not None:
            for finding in adopter.adopted(unknown, self._threads, dry_run, self._still_unknown):
                done.add(finding)
        return replace(found, findings=done, dry_run=dry_run, refused=None)

    def _seen_again(self, findings: Sequence[Finding]) -> list[Finding]:
        with reading(self._project.engine) as connection:
            return [finding for _, finding in self._confirmed(connection, findings)]

    @repeatable
    def _recorded(self, findings: Sequence[Finding]) -> list[Finding]:
        if not findings:
            return []
        now = self._project.clock()
        rules = rules_in_force(self._project)  # before, as it may write, too
        recorded: list[Finding] = []
        with writing(self._project.engine) as connection:
            for name in self._watches_of(connection, findings):
                # As recording does, so that nobody is in the middle of it.
                lock_watch(connection, name)
            confirmed = self._confirmed(connection, findings)
            files = {
                file.id: file for file in components.by_id(connection, (c.component_id for c, _ in confirmed))
            }
            changes = [_change(files[copy.component_id], finding) for copy, finding in confirmed]
            made = components.apply(connection, [change for change in changes if change], now)
            changed = {change.component.id for change in made}
            self._refresh(connection, rules, [change.component for change in made], now)
            touched = {change.component.group_id for change in made}
            retract_or_restore(connection, (id_ for id_ in touched if id_ is not None), now)
            for (copy, finding), change in zip(confirmed, changes, strict=True):
                if change is None or copy.component_id in changed:
                    recorded.append(finding)
        return recorded

    def _refresh(
        self, connection: Connection, rules: Rules, files: Sequence[Component], now: datetime
    ) -> None:
        """Say anew whether groups that wait for siblings are whole."""
        for watch in self._project.config.watch:
            own = (file.group_id for file in files if file.watch_name == watch.name)
            ids = {id_ for id_ in own if id_ is not None}
            refresh(connection, watch.root, rules.sets[watch.rules], ids, (), now)

    def _watches_of(self, connection: Connection, findings: Sequence[Finding]) -> list[str]:
        ids = [finding.copy_id for finding in findings if finding.copy_id is not None]
        current = copies.live_by_id(connection, ids).values()
        files = components.by_id(connection, (copy.component_id for copy in current))
        return sorted(
            {file.watch_name for file in files}
        )  # in this order for all, so that nobody waits twice

    def _confirmed(self, connection: Connection, findings: Sequence[Finding]) -> list[tuple[Copy, Finding]]:
        """The findings that still hold of copies that still are current and that nobody works on."""
        ids = [finding.copy_id for finding in findings if finding.copy_id is not None]
        current = copies.live_by_id(connection, ids)
        confirmed = []
        for finding in findings:
            copy = current.get(finding.copy_id or 0)
            if copy is None or copy.in_work:
                continue
            now = judged(copy, look_at(to_path(copy.path)))
            if now is None:
                continue
            if now.kind is Kind.RETURNED:
                # Of what is there now the digest was compared, or nothing was.
                now = finding if now.stamp == finding.stamp else None
            if now is not None:
                confirmed.append((copy, now))
        return confirmed

    def _still_unknown(self, findings: Sequence[Finding]) -> list[Finding]:
        """The findings of files that are there still, and that nobody recorded, or is about to.

        Nor to remove, as what was superseded.
        """
        unknown = [finding for finding in findings if finding.kind is Kind.UNKNOWN]
        with reading(self._project.engine) as connection:
            # In this order: a batch that is no longer running has recorded and removed.
            directories = {os.path.dirname(finding.path) for finding in unknown}
            in_work = batches.directories_in_work(connection, directories)
            known = copies.superseded_in_work(connection) if unknown else set()
            known |= copies.owners(connection, (finding.path for finding in unknown)).keys()
        return [
            finding
            for finding in findings
            if finding.kind is not Kind.UNKNOWN
            or (
                finding.path not in known
                and os.path.dirname(finding.path) not in in_work
                and own_stamp(to_path(finding.path)) is not None
            )
        ]


def _disagreeing(page: Sequence[Copy]) -> tuple[int, list[Finding]]:
    """How many copies were looked for, and what there is to say of them."""
    found = []
    for copy in page:
        if copy.in_work:
            continue
        finding = judged(copy, look_at(to_path(copy.path)))
        if finding is not None:
            found.append(_read(copy, finding) if is_doubtful(copy, finding) else finding)
    return len(page), found


def _read(copy: Copy, finding: Finding) -> Finding:
    """The finding after a look at the bytes."""
    try:
        digest = file_system.digest_of(to_path(copy.path))
    except OSError as error:
        return finding.turned(Kind.STILL_MISSING, f"is there and cannot be read: {error.strerror}")
    if digest != copy.digest:
        return finding.turned(Kind.STILL_MISSING, "is there with other bytes than were archived")
    return finding


def _change(file: Component, finding: Finding) -> Change | None:
    """What follows for the component; None: nothing, it is only said."""
    if finding.kind is Kind.MISSING:
        event = Event.LOST if may(file.status, Event.LOST) else None
        return Change(file, event, f"{finding.path} {finding.reason}", {"in_archive": False})
    if finding.kind is Kind.RETURNED:
        event = Event.FOUND if may(file.status, Event.FOUND) else None
        return Change(file, event, f"{finding.path} {finding.reason}", {"in_archive": True})
    return None
