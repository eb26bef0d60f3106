"""The integrity checks that read content: leading bytes, checksums, functions of the plugin."""

import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from carbonation_core.config.sections import Watch
from carbonation_core.db.components import Component
from carbonation_core.disk import source
from carbonation_core.disk.file_system import explained
from carbonation_core.disk.source import BLOCK
from carbonation_core.errors import AttemptFailed, SourceChanged
from carbonation_core.lifecycle import FileStatus
from carbonation_core.names import matches_any, to_path
from carbonation_core.pipeline.context import source_of
from carbonation_core.plugin import Plugin
from carbonation_core.rules import decide
from carbonation_core.rules.checksums import LARGEST, Sum, Sums, parse
from carbonation_core.rules.near_misses import like_listed
from carbonation_core.rules.rule_sets import IntegrityRule, RuleSet
from carbonation_core.text import shown

NOTHING = "holds no checksum"


@dataclass(frozen=True)
class Fault:
    """A check that a file fails. `until`: when it ends to wait for a corrected delivery; None: at once."""

    file: Component
    reason: str
    until: datetime | None = None


class Contents:
    """What the files of one batch hold. Each list of checksums and each digest is read once.

    `manifests` are those that have settled.
    """

    def __init__(
        self,
        watch: Watch,
        rules: RuleSet,
        plugin: Plugin,
        manifests: Sequence[Component],
        now: datetime,
    ) -> None:
        self._watch = watch
        self._rules = rules
        self._plugin = plugin
        self._manifests = manifests
        self._now = now
        self._lists: dict[tuple[int, str | None], Sums] = {}
        self._digests: dict[tuple[int, str], str] = {}

    def faults(self, files: Sequence[Component], opened_at: datetime) -> list[Fault]:
        """What the files of a group that ask for work fail; the group was last opened at that time.

        Checksums are looked at only when nothing else is wrong. Raises
        `SourceChanged`, `EnvironmentFault`, or `AttemptFailed` when a function raises.
        """
        asking = [file for file in files if file.status is FileStatus.WAITING]
        found = [
            Fault(file, reason)
            for file in asking
            for rule in self._rules.integrity
            if decide.holds_for(rule, file.filename, self._rules) and (reason := self._objection(rule, file))
        ]
        if found or not self._rules.checksums:
            return found
        there = [file for file in files if self._is_there(file)]
        since = max([opened_at, *(file.quiet_since for file in asking)])
        for rule in self._rules.checksums:
            for file in asking:
                if decide.holds_for(rule, file.filename, self._rules):
                    found += self._of_file(rule, file, there, since)
        for file in asking:
            found += self._of_sidecar(file, there, since)
        return list(dict.fromkeys(found))

    def are_current(self) -> bool:
        """Whether the manifests that were read still are what they were."""
        read = {id_ for id_, _ in self._lists}
        return all(
            source.is_unchanged(source_of(self._watch, one)) for one in self._manifests if one.id in read
        )

    def _objection(self, rule: IntegrityRule, file: Component) -> str | None:
        if rule.type == "magic":
            return self._magic(rule, file)
        return self._asked(rule, file) if rule.type == "function" else None

    def _magic(self, rule: IntegrityRule, file: Component) -> str | None:
        with self._opened(file) as descriptor:
            found = os.pread(descriptor, len(rule.leading), rule.offset)
        if found == rule.leading:
            return None
        where = f"has at byte {rule.offset}" if rule.offset else "begins with"
        return f"{where} {found.hex() or 'nothing'}, where magic wants {rule.leading.hex()}"

    def _asked(self, rule: IntegrityRule, file: Component) -> str | None:
        name = rule.function or ""
        arguments = {"file_path": Path(to_path(file.source_path)), **rule.kwargs}
        try:
            reason = self._plugin.asked("integrity function", name, **arguments)
        except AttemptFailed as error:
            raise type(error)(f"{file.filename}: {error}") from error
        return None if reason is None else f'fails integrity function "{name}": {reason}'

    def _is_there(self, file: Component) -> bool:
        if file.status is FileStatus.NOT_SELECTED:
            return file.in_delivery and decide.is_set_aside(file.filename, self._rules)
        return file.status is FileStatus.WAITING or (file.status is FileStatus.ARCHIVED and file.in_archive)

    def _of_file(
        self, rule: IntegrityRule, file: Component, there: Sequence[Component], since: datetime
    ) -> Iterator[Fault]:
        """What a file fails by its sidecars and manifests."""
        sidecars = self._sidecars(rule, file, there)
        manifests = [] if rule.manifest is None else self._manifests_for(file, rule.manifest, there)
        expected: list[tuple[Sum, Component]] = []
        unclear: list[str] = []
        for one in sidecars:
            sums = self._sums(one, rule.sidecar and rule.sidecar[1:])
            fault = (*sums.faults, *(() if sums.sums else (NOTHING,)))[:1]
            if fault and one.status is FileStatus.WAITING:
                yield Fault(one, fault[0])
                return
            unclear += [f"{one.filename}: {line}" for line in fault]
            said = self._said_of(file, one, sums, there)
            expected += [(said, one)] if said else []
            unclear += _like(file, one, sums)
        for one in manifests:
            listed = self._manifest(one, rule.algorithm)
            unclear += [f"{one.filename}: {line}" for line in listed.faults[:1]]
            said = listed.of(file.filename)
            expected += [(said, one)] if said else []
            unclear += _like(file, one, listed)
        if expected:
            yield from self._mismatches(file, expected, since, rule)
        elif sidecars or rule.manifest is not None:
            names = [one.filename for one in (*sidecars, *manifests)]
            names += [] if manifests or rule.manifest is None else [rule.manifest]
            yield self._unlisted(file, names, unclear, since, rule)

    def _mismatches(
        self, file: Component, expected: Sequence[tuple[Sum, Component]], since: datetime, rule: IntegrityRule
    ) -> Iterator[Fault]:
        for said, where in expected:
            digest = self._digest(file, said.algorithm)
            if digest == said.digest:
                continue
            named = f" of {said.name}" if said.name not in (None, file.filename) else ""
            reason = f"{said.algorithm} is {digest}, {where.filename} says {said.digest}{named}"
            until = max(since, where.quiet_since) + rule.grace
            if self._now < until:
                yield Fault(file, f"{reason}; waits until {shown(until)} for a corrected delivery", until)
            else:
                yield Fault(file, reason)

    def _unlisted(
        self,
        file: Component,
        names: Sequence[str],
        unclear: Sequence[str],
        since: datetime,
        rule: IntegrityRule,
    ) -> Fault:
        where = ", ".join(dict.fromkeys(names))
        why = f" ({'; '.join(unclear)})" if unclear else ""
        until = since + rule.grace
        if self._now < until:
            return Fault(file, f"waits until {shown(until)} for its checksum in {where}{why}", until)
        return Fault(file, f"has no checksum in {where}{why}")

    def _of_sidecar(self, sidecar: Component, there: Sequence[Component], since: datetime) -> Iterator[Fault]:
        """What a new sidecar fails by the files that are archived already."""
        extension = decide.sidecar_extension(sidecar.filename, self._rules)
        rules = [rule for rule in self._rules.checksums if rule.sidecar == extension and extension]
        for rule in rules:
            for file in there:
                if (
                    file.status is FileStatus.ARCHIVED
                    and decide.holds_for(rule, file.filename, self._rules)
                    and sidecar in self._sidecars(rule, file, there)
                ):
                    sums = self._sums(sidecar, extension and extension[1:])
                    if sums.faults or not sums.sums:
                        yield Fault(sidecar, (*sums.faults, NOTHING)[0])
                        return
                    said = self._said_of(file, sidecar, sums, there)
                    for fault in self._mismatches(file, [(said, sidecar)] if said else [], since, rule):
                        yield Fault(sidecar, f"{file.filename} in the archive: {fault.reason}", fault.until)

    def _sidecars(self, rule: IntegrityRule, file: Component, there: Sequence[Component]) -> list[Component]:
        """The sidecars of a file, those beside it if there are any."""
        if rule.sidecar is None:
            return []
        names = decide.names_of_sums(file.filename, rule.sidecar, self._rules)
        found = [one for one in there if one.filename in names]
        directory = os.path.dirname(file.source_path)
        return [one for one in found if os.path.dirname(one.source_path) == directory] or found

    def _said_of(
        self, file: Component, sidecar: Component, sums: Sums, there: Collection[Component]
    ) -> Sum | None:
        """What a sidecar says of a file: by its name, or all that it says if that can be of no other."""
        named = sums.of(file.filename) or sums.somewhere(file.filename)
        if named is not None or len(sums.sums) != 1:
            return named
        only = sums.only()
        if sidecar.filename.startswith(f"{file.filename}."):
            return only
        plain = [one for one in there if decide.sidecar_extension(one.filename, self._rules) is None]
        return only if only and only.name is None and plain == [file] else None

    def _manifests_for(self, file: Component, pattern: str, there: Sequence[Component]) -> list[Component]:
        """The lists of its directory; one that lists the members of the group is among its files."""
        directory = os.path.dirname(file.source_path)
        return [
            one
            for one in (*self._manifests, *there)
            if os.path.dirname(one.source_path) == directory and matches_any(one.filename, [pattern])
        ]

    def _manifest(self, manifest: Component, algorithm: str | None) -> Sums:
        """A manifest's checksums; none of one that is changing, which is judged by when it has settled."""
        try:
            return self._sums(manifest, algorithm)
        except SourceChanged:
            return Sums(())

    def _sums(self, one: Component, algorithm: str | None) -> Sums:
        key = (one.id, algorithm)
        if key not in self._lists:
            self._lists[key] = self._read(one, algorithm)
        return self._lists[key]

    def _read(self, one: Component, algorithm: str | None) -> Sums:
        with self._opened(one) as descriptor:
            content = source.content(descriptor, LARGEST)
        if content is None:
            return Sums((), (f"has more than {LARGEST >> 20} MiB, too much for a list of checksums",))
        return parse(content, algorithm)

    def _digest(self, file: Component, algorithm: str) -> str:
        if file.status is FileStatus.ARCHIVED and algorithm == "sha256" and file.digest is not None:
            return file.digest
        key = (file.id, algorithm)
        if key not in self._digests:
            hasher = hashlib.new(algorithm, usedforsecurity=False)
            with self._opened(file) as descriptor:
                while block := os.read(descriptor, BLOCK):
                    hasher.update(block)
            self._digests[key] = hasher.hexdigest()
        return self._digests[key]

    @contextmanager
    def _opened(self, file: Component) -> Iterator[int]:
        """The file, open for reading: its archived copy if it has one, else as it was judged."""
        try:
            if file.status is FileStatus.ARCHIVED and file.archive_path is not None:
                descriptor = os.open(to_path(file.archive_path), os.O_RDONLY | os.O_CLOEXEC)
                try:
                    yield descriptor
                finally:
                    os.close(descriptor)
                return
            with source.opened(source_of(self._watch, file)) as (descriptor, _):
                yield descriptor
        except OSError as error:
            raise explained(error, f'"{file.source_path}" cannot be read') from error


def _like(file: Component, where: Component, listed: Sums) -> list[str]:
    """The likely cause why a list does not name a file."""
    like = like_listed(file.filename, listed.names)
    return [f"{where.filename} {like}"] if like else []
