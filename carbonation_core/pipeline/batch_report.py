"""How far a batch has come, group by group. Pure: values, for whoever shows what a run did."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from carbonation_core.db.batches import Member
from carbonation_core.db.components import Component
from carbonation_core.db.groups import GroupRow
from carbonation_core.lifecycle import Outcome, Stage
from carbonation_core.pipeline.context import OpenGroup
from carbonation_core.pipeline.outcomes import Ended


@dataclass(frozen=True)
class GroupReport:
    """How far a group has come in its batch. `files` and `bytes` were archived in it.

    `delivered_at`: when its last file was first seen as it is.
    """

    group_id: int
    group_key: str
    stage: str | None
    outcome: Outcome | None
    reason: str | None
    archive_name: str | None
    archive_directory: str | None
    files: int
    bytes: int
    delivered_at: datetime | None

    @classmethod
    def of(cls, member: Member, row: GroupRow, files: Sequence[Component]) -> Self:
        """How far it has come by what the database says."""
        return cls(
            member.group_id,
            row.group_key,
            member.stage,
            Outcome(member.outcome) if member.outcome else None,
            member.reason,
            member.archive_name,
            member.archive_directory,
            member.files,
            member.bytes,
            max((file.quiet_since for file in files), default=None),
        )

    def passed(self, stage: Stage, group: OpenGroup) -> Self:
        """How far it has come when it has passed a stage."""
        route = group.route
        return replace(
            self,
            stage=stage.value,
            reason=group.reason,
            archive_name=route.archive if route else None,
            archive_directory=route.directory if route else None,
        )

    def ended(self, end: Ended) -> Self:
        """How far it has come when its way has ended."""
        return replace(
            self,
            stage=Stage.ARCHIVE.value if end.archive_name else self.stage,
            outcome=end.outcome,
            reason=end.reason,
            files=end.files,
            bytes=end.bytes,
        )


@dataclass(frozen=True)
class BatchReport:
    """How far each group of a batch has come."""

    batch_id: str
    watch_name: str
    rules_digest: str
    groups: tuple[GroupReport, ...]

    def with_outcome(self, *any_of: Outcome) -> tuple[GroupReport, ...]:
        """The groups that came to one of these ends."""
        return tuple(group for group in self.groups if group.outcome in any_of)
