"""What a batch came to, in Dagster's words: materialisations, metadata, a failure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from carbonation_core.pipeline import BatchReport, GroupReport, Outcome
from carbonation_dagster.naming import archive_key, plain

LONGEST_TABLE = 100  # rows; the database has them all
LONGEST_LIST = 10  # groups named in a sentence

FAILED = (Outcome.RETRY_PENDING, Outcome.FAILED)
MetadataMapping = Mapping[str, dg.MetadataValue]


@dataclass(frozen=True)
class Told:
    """The groups a run brought to an end, of one watch."""

    watch: str
    groups: tuple[GroupReport, ...]
    rules_digests: tuple[str, ...]
    seconds: float
    now: datetime

    def with_outcome(self, *outcomes: Outcome) -> list[GroupReport]:
        """Those of its groups that ended so."""
        return [group for group in self.groups if group.outcome in outcomes]

    @property
    def failed(self) -> list[GroupReport]:
        """Groups whose attempt failed in this run."""
        return self.with_outcome(*FAILED)

    @property
    def archived(self) -> list[GroupReport]:
        """Groups that were archived in this run."""
        return self.with_outcome(Outcome.ARCHIVED)


def materialisations(told: Told) -> Iterator[dg.AssetMaterialization]:
    """What each archive got."""
    archives = sorted({group.archive_name for group in told.archived if group.archive_name})
    for archive in archives:
        groups = [group for group in told.archived if group.archive_name == archive]
        yield dg.AssetMaterialization(
            archive_key(archive),
            description=f"{len(groups)} groups from {told.watch}",
            metadata={
                "watch": dg.MetadataValue.text(told.watch),
                **_totals(groups),
                "directories": dg.MetadataValue.md(_directories(groups)),
                "table": table(groups),
            },
        )


def metadata(told: Told) -> MetadataMapping:
    """What the catalogue's materialisation says of the run's groups."""
    seen = [group.detected_at for group in told.archived if group.detected_at is not None]
    longest = max(((told.now - at).total_seconds() for at in seen), default=0.0)
    outcomes = {outcome.value: len(told.with_outcome(outcome)) for outcome in Outcome}
    return {
        **_totals(told.archived),
        **{name: dg.MetadataValue.int(n) for name, n in outcomes.items() if n and name != "archived"},
        "seconds": dg.MetadataValue.float(round(told.seconds, 3)),
        "seconds since first seen": dg.MetadataValue.float(round(longest, 3)),
        "rules": dg.MetadataValue.text(", ".join(told.rules_digests)),
        "table": table(told.groups),
    }


def failure(told: Told) -> dg.Failure:
    """The failure of a run in which attempts failed; it names groups and reasons."""
    return dg.Failure(
        description=f"{len(told.failed)} of {len(told.groups)} groups failed: {naming_the(told.failed)}",
        metadata=metadata(told),
        allow_retries=False,
    )


def stage_metadata(reports: Iterable[BatchReport]) -> MetadataMapping:
    """How a stage left the run's groups."""
    groups = [group for report in reports for group in report.groups]
    counts = {"open": sum(group.outcome is None for group in groups)}
    for outcome in Outcome:
        counts[outcome.value] = sum(group.outcome is outcome for group in groups)
    return {name: dg.MetadataValue.int(number) for name, number in counts.items() if number}


def naming_the(groups: Sequence[GroupReport]) -> str:
    """The groups with their reasons in one sentence, cut to a length that can be read."""
    named = [f"{plain(group.group_key)}: {plain(group.reason or '?')}" for group in groups[:LONGEST_LIST]]
    more = len(groups) - LONGEST_LIST
    return "; ".join(named) + (f"; and {more} more" if more > 0 else "")


def table(groups: Sequence[GroupReport]) -> dg.TableMetadataValue:
    """The groups as a table, those that failed first, cut to a length that can be stored."""
    ordered = sorted(groups, key=lambda group: group.outcome not in FAILED)
    columns = ("group", "outcome", "stage", "files", "bytes", "archive", "directory", "reason")
    kinds = {"files": "int", "bytes": "int"}
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord(
                {
                    "group": plain(group.group_key),
                    "outcome": group.outcome.value if group.outcome else "open",
                    "stage": group.stage or "",
                    "files": group.files,
                    "bytes": group.bytes,
                    "archive": group.archive_name or "",
                    "directory": plain(group.archive_directory or ""),
                    "reason": plain(group.reason or ""),
                }
            )
            for group in ordered[:LONGEST_TABLE]
        ],
        schema=dg.TableSchema([dg.TableColumn(name, kinds.get(name, "string")) for name in columns]),
    )


def _totals(groups: Sequence[GroupReport]) -> MetadataMapping:
    return {
        "groups": dg.MetadataValue.int(len(groups)),
        "files": dg.MetadataValue.int(sum(group.files for group in groups)),
        "bytes": dg.MetadataValue.int(sum(group.bytes for group in groups)),
    }


def _directories(groups: Sequence[GroupReport]) -> str:
    found = sorted({plain(group.archive_directory) for group in groups if group.archive_directory})
    more = len(found) - LONGEST_LIST
    return "\n".join(f"- `{name}`" for name in found[:LONGEST_LIST]) + (
        f"\n- and {more} more" if more > 0 else ""
    )
