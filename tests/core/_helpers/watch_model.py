"""A watch as it should be, without disk or database: what status each of its files has.

One rule set of pairs, `redelivery = "replace"`, an archive that copies, and no
retries. Times are seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePath

from carbonation_core.lifecycle import FileStatus as S

SETTLES_IN, TIMEOUT = 2, 600
ORDER = [".dat", ".json", ".txt"]  # the primary one first; the last is optional
JUDGED = (S.WAITING, S.INTEGRITY_FAILED, S.TIMED_OUT, S.NOT_SELECTED, S.FAILED)  # by rules


@dataclass
class Delivery:
    """What lies in delivery under a name; each one is another."""

    content: bytes


@dataclass
class FileModel:
    """A file as the service should know it, from the first look on."""

    stem: str
    seen: Delivery
    quiet_since: int
    status: S = S.DETECTED
    in_delivery: bool = True
    archived: bytes | None = None  # what lies in the archive
    has_group: bool = False

    @property
    def content(self) -> bytes:
        """What an extractor reads."""
        return self.seen.content if self.in_delivery or self.archived is None else self.archived


@dataclass
class GroupModel:
    """A group; `since` counts towards its timeout."""

    since: int
    timed_out: bool = False
    was_archived: bool = False


@dataclass
class WatchModel:
    """A watch, its delivery directory and its archive."""

    extraction: str
    on_timeout: str
    now: int = 0
    delivery: dict[str, Delivery] = field(default_factory=dict)
    files: dict[str, FileModel] = field(default_factory=dict)
    groups: dict[str, GroupModel] = field(default_factory=dict)
    judged_by: tuple[str, str] | None = None  # the rules at the last look

    def statuses(self) -> dict[str, str]:
        """By name, of all that was ever seen."""
        return {name: file.status.value for name, file in self.files.items()}

    def look(self) -> None:
        """What a look at the directory leads to."""
        judged = [file for file in self.files.values() if file.in_delivery and file.status in JUDGED]
        before = [(file, file.status) for file in judged]
        for name in {*self.files, *self.delivery}:
            self._compare(name)
        settled = [file for file in self.files.values() if self._has_settled(file)]
        rules = self.extraction, self.on_timeout
        if rules != self.judged_by:  # what other rules decided is decided anew at the next look
            for file, status in before:
                if file.in_delivery and file.status is status:
                    file.status = S.DETECTED
        self.judged_by = rules
        for stem in {file.stem for file in settled}:
            self._settle(stem, [file for file in settled if file.stem == stem])
        for stem in self.groups:
            self._expire(stem)

    def _compare(self, name: str) -> None:
        there, file = self.delivery.get(name), self.files.get(name)
        if file is None:
            if there is not None:
                self.files[name] = FileModel(PurePath(name).stem, there, self.now)
        elif there is None:
            if file.in_delivery and file.status not in (S.ARCHIVED, S.FAILED, S.MISSING):
                file.status = S.CLEARED if file.archived is None else S.ARCHIVED
            file.in_delivery = False
        elif not file.in_delivery or there is not file.seen:
            file.status, file.in_delivery = S.DETECTED, True
            file.seen, file.quiet_since = there, self.now

    def _has_settled(self, file: FileModel) -> bool:
        return file.status is S.DETECTED and self.now - file.quiet_since >= SETTLES_IN

    def _settle(self, stem: str, settled: list[FileModel]) -> None:
        """Check and group what has settled; whoever waited in vain for it is judged anew."""
        intact = [file for file in settled if file.seen.content]
        for file in settled:
            file.status = S.WAITING if file in intact else S.INTEGRITY_FAILED
        if not intact:
            return
        others = [file for file in self._members(stem) if file not in settled]
        revived = [file for file in others if file.status in (S.TIMED_OUT, S.NOT_SELECTED, S.FAILED)]
        revived = [file for file in revived if file.in_delivery]
        group = self.groups.setdefault(stem, GroupModel(self.now))
        if revived or group.timed_out or all(file.status is not S.WAITING for file in others):
            group.since, group.timed_out = self.now, False
        for file in (*intact, *revived):
            file.status, file.has_group = S.WAITING, True

    def _expire(self, stem: str) -> None:
        group, waiting = self.groups[stem], self._waiting(stem)
        late = self.now - group.since >= TIMEOUT
        if not waiting or self.is_due(stem) or group.timed_out or not late:
            return
        group.timed_out = True
        if self.on_timeout == "skip":
            for file in waiting:
                file.status = S.TIMED_OUT

    def is_due(self, stem: str) -> bool:
        """Whether a group is whole, or taken for whole, and nothing of it has yet to settle."""
        lacking = {".dat", ".json"} - set(self._endings(stem))
        partial = self.groups[stem].timed_out and self.on_timeout == "archive_partial"
        unsettled = any(f.status is S.DETECTED and f.in_delivery for f in self._of(stem))
        return bool(self._waiting(stem)) and (not lacking or partial) and not unsettled

    def work(self) -> None:
        """What a run does with all groups that are due."""
        for stem in self.groups:
            if self.is_due(stem):
                self._take(stem)

    def _take(self, stem: str) -> None:
        group, taken = self.groups[stem], self._waiting(stem)
        is_late = (
            group.was_archived
            and all(file.archived is None for file in taken)
            and any(file.status is S.ARCHIVED for file in self._members(stem))
        )
        read = [
            self.files[stem + ending]
            for ending in ORDER
            if stem + ending in self.files
            and (self.files[stem + ending] in taken or self.files[stem + ending].archived is not None)
        ]
        status = S.ARCHIVED
        if not is_late and self.extraction == "breaking" and any(b"broken" in f.content for f in read):
            status = S.FAILED
        if not is_late and self.extraction == "selecting" and read[0].content == b"test":
            status = S.NOT_SELECTED
        for file in taken:
            file.status = status
            if status is S.ARCHIVED:
                file.archived = file.seen.content
                group.was_archived = True

    def retry(self, status: S) -> None:
        """Somebody asks for another attempt for all files of that status."""
        for name, file in self.files.items():
            if file.status is status and file.in_delivery:
                file.status = S.DETECTED
                if file.has_group:
                    group = self.groups[PurePath(name).stem]
                    group.since, group.timed_out = self.now, False

    def lose(self, name: str) -> None:
        """A file vanishes from the archive, and a reconcile sees it."""
        file = self.files[name]
        file.archived = None
        if file.status is S.ARCHIVED:
            file.status = S.MISSING

    def _of(self, stem: str) -> Iterator[FileModel]:
        return (file for file in self.files.values() if file.stem == stem)

    def _members(self, stem: str) -> list[FileModel]:
        return [file for file in self._of(stem) if file.has_group]

    def _waiting(self, stem: str) -> list[FileModel]:
        return [file for file in self._members(stem) if file.status is S.WAITING]

    def _endings(self, stem: str) -> Iterator[str]:
        for name, file in self.files.items():
            done = file.status is S.ARCHIVED and file.archived is not None
            if file.stem == stem and file.has_group and (file.status is S.WAITING or done):
                yield PurePath(name).suffix
