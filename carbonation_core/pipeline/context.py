"""What the stages of a batch work with, and what they say: values, and no more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from carbonation_core.config.sections import Watch
from carbonation_core.db.batches import Member
from carbonation_core.db.components import Change, Component
from carbonation_core.db.groups import GroupRow
from carbonation_core.disk.source import Source
from carbonation_core.disk.stamp import Stamp
from carbonation_core.errors import AttemptFailed, EnvironmentFault, SourceChanged, Unroutable
from carbonation_core.lifecycle import FileStatus, Outcome
from carbonation_core.names import to_path
from carbonation_core.plugin import Plugin
from carbonation_core.project import Project
from carbonation_core.rules.rule_sets import RuleSet


@dataclass(frozen=True, slots=True)
class Route:
    """An archive by its name, and a directory in it, spelled as text."""

    archive: str
    directory: str


@dataclass(frozen=True)
class OpenGroup:
    """A group on its way through a batch, with what the stages have decided of it so far.

    `opened_at` is when it was made or last opened again, `lies_in` where files
    of it are archived already.
    """

    id: int
    key: str
    opened_at: datetime
    timed_out: bool
    files: Sequence[Component]
    lies_in: Route | None = None
    attempts: int = 0  # failed ones
    judged: str | None = None  # the files that passed the checks; see `stages.state_of`
    route: Route | None = None
    reason: str | None = None  # which rules let it pass

    @property
    def asking(self) -> list[Component]:
        """The files that are to be archived."""
        return [file for file in self.files if file.status is FileStatus.WAITING]

    @property
    def is_late(self) -> bool:
        """Whether it only adds files to what is archived of the group already."""
        return (
            self.lies_in is not None
            and not any(file.in_archive for file in self.asking)
            and any(file.status is FileStatus.ARCHIVED for file in self.files)
        )


def open_group(row: GroupRow, files: Sequence[Component], member: Member | None = None) -> OpenGroup:
    """A group as the database has it; `member`: in the batch that it is in."""
    return OpenGroup(
        row.id,
        row.group_key,
        row.reopened_at or row.created_at,
        row.timed_out_at is not None,
        files,
        _route(row),
        row.attempts,
        member.judged if member else None,
        _route(member) if member else None,
        member.reason if member else None,
    )


def _route(row: GroupRow | Member) -> Route | None:
    if row.archive_name is None or row.archive_directory is None:
        return None
    return Route(row.archive_name, row.archive_directory)


@dataclass(frozen=True)
class Closing:
    """A group's way ends here: what became of it and why."""

    group: OpenGroup
    outcome: Outcome
    reason: str
    counts: bool = True  # as an attempt; faults of the environment do not
    at: datetime | None = None  # of the next attempt, where that is not for the retries to say


Described = tuple[Mapping[str, Any], Mapping[str, Any]]  # the raw result of an extractor, and the columns
Linked = Mapping[int, tuple[Stamp, Stamp]]  # by component: a source's stamp before and after links of ours


@dataclass(frozen=True)
class StageResult:
    """What a stage decided of its groups: those that go on, as they are now, and those whose way ends."""

    passed: tuple[OpenGroup, ...] = ()
    closed: tuple[Closing, ...] = ()
    changes: tuple[Change, ...] = ()
    metadata: Mapping[int, Described] = field(default_factory=dict)  # by group
    linked: Linked = field(default_factory=dict)

    def without(self, refused: Mapping[int, str]) -> "StageResult":
        """The same, but that the attempt of some groups failed: their ids, and why."""
        failed = tuple(
            Closing(group, Outcome.RETRY_PENDING, refused[group.id])
            for group in self.passed
            if group.id in refused
        )
        passed = tuple(group for group in self.passed if group.id not in refused)
        return replace(self, passed=passed, closed=(*self.closed, *failed))


@dataclass(frozen=True)
class StageContext:
    """What every stage works with."""

    project: Project
    watch: Watch
    rules: RuleSet

    @property
    def plugin(self) -> Plugin:
        """The project's plugin."""
        return self.project.plugin


def source_of(watch: Watch, file: Component) -> Source:
    """A component's delivered file, as it was judged."""
    follow = watch.symlinks == "follow_inside"
    return Source(str(watch.path), to_path(file.source_path), file.stamp, follow)


def closing(group: OpenGroup, error: AttemptFailed) -> Closing:
    """How a group's way ends with that error."""
    if isinstance(error, Unroutable):
        return Closing(group, Outcome.FAILED, str(error))
    if isinstance(error, SourceChanged):
        return Closing(group, Outcome.WAITING, str(error))
    counts = not isinstance(error, EnvironmentFault)
    return Closing(group, Outcome.RETRY_PENDING, str(error), counts)
