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


@dataclass(frozen=True)
class OpenGroup:
    """A group of a batch on its way."""

    row: GroupRow
    member: Member
    files: Sequence[Component]

    @property
    def asking(self) -> list[Component]:
        """The files that are to be archived."""
        return [file for file in self.files if file.status is FileStatus.WAITING]

    @property
    def is_late(self) -> bool:
        """Whether it only adds files to what is archived of the group already."""
        return (
            self.row.archive_directory is not None
            and not any(file.in_archive for file in self.asking)
            and any(file.status is FileStatus.ARCHIVED for file in self.files)
        )


@dataclass(frozen=True)
class Closing:
    """A group's way ends here: what became of it and why."""

    group: OpenGroup
    outcome: Outcome
    reason: str
    counts: bool = True  # as an attempt; faults of the environment do not
    at: datetime | None = None  # of the next attempt, where that is not for the retries to say


@dataclass
class StageResult:
    """What a stage decided of its groups."""

    passed: list[OpenGroup] = field(default_factory=list)
    closed: list[Closing] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    metadata: dict[int, tuple[Mapping[str, Any], Mapping[str, Any]]] = field(default_factory=dict)
    routes: dict[int, tuple[str, str]] = field(default_factory=dict)  # archive, directory
    stamps: dict[int, tuple[Stamp, Stamp]] = field(default_factory=dict)  # before and after links of ours
    judged: dict[int, str] = field(default_factory=dict)  # by group; see `judged`
    reasons: dict[int, str] = field(default_factory=dict)  # which rules let a group pass

    def without(self, refused: Mapping[int, str]) -> "StageResult":
        """The same, but that the attempt of some groups failed: their ids, and why."""
        failed = [group for group in self.passed if group.row.id in refused]
        closed = [Closing(group, Outcome.RETRY_PENDING, refused[group.row.id]) for group in failed]
        passed = [group for group in self.passed if group.row.id not in refused]
        return replace(self, passed=passed, closed=[*self.closed, *closed])


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
