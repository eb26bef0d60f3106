"""What a batch came to, in Dagster's words: materialisations, metadata, a failure."""

import base64
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import dagster as dg

from carbonation_core.config.loading import Config
from carbonation_core.config.sections import Archive
from carbonation_core.lifecycle import FAILED_OUTCOMES, Outcome
from carbonation_core.pipeline.batch_report import BatchReport, GroupReport
from carbonation_core.reports.stuck import Stuck
from carbonation_core.text import counted, shown
from carbonation_dagster.defs.naming import Names, plain

# Rows; the database has them all. Dagster stores a table of a run three times over.
LONGEST_TABLE = 25
LONGEST_LIST = 10  # groups named in a sentence
LONGEST_LOG = 100  # lines of one step

MetadataMapping = Mapping[str, dg.MetadataValue]

WHAT_TO_DO = (
    "Mend the cause, then re-execute this run from failure: it takes the groups that failed, and only "
    "these, at once. Those that wait for another attempt come again by themselves."
)


@dataclass(frozen=True)
class RunSummary:
    """The groups a run brought to an end, of one watch."""

    watch: str
    batches: int
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
        return self.with_outcome(*FAILED_OUTCOMES)

    @property
    def archived(self) -> list[GroupReport]:
        """Groups that were archived in this run."""
        return self.with_outcome(Outcome.ARCHIVED)


def materialisations(summary: RunSummary, names: Names, config: Config) -> Iterator[dg.AssetMaterialization]:
    """What each archive got."""
    known = {archive.name: archive for archive in config.archive}
    for name in sorted({group.archive_name for group in summary.archived if group.archive_name}):
        groups = [group for group in summary.archived if group.archive_name == name]
        yield dg.AssetMaterialization(
            names.archive_key(name),
            description=f"{counted(len(groups), 'group')} from {summary.watch}",
            metadata={
                **_totals(groups),
                **_promptness(groups, summary.now),
                "watch": dg.MetadataValue.text(summary.watch),
                "directories": dg.MetadataValue.md(_directories(groups, known.get(name))),
                "table": table(groups),
            },
        )


def metadata(summary: RunSummary) -> MetadataMapping:
    """What the catalog's materialisation says of the run's groups."""
    others = [one for one in Outcome if one not in (Outcome.ARCHIVED, *FAILED_OUTCOMES)]
    counts = {one.value.replace("_", " "): len(summary.with_outcome(one)) for one in others}
    return {
        **_totals(summary.archived),
        "failures": dg.MetadataValue.int(len(summary.failed)),
        **{name: dg.MetadataValue.int(number) for name, number in counts.items() if number},
        "batch size": dg.MetadataValue.int(round(len(summary.groups) / max(summary.batches, 1))),
        **_promptness(summary.archived, summary.now),
        "seconds of the run": dg.MetadataValue.float(round(summary.seconds, 3)),
        "rules digest": dg.MetadataValue.text(", ".join(summary.rules_digests)),
        "table": table(summary.groups),
    }


def standing_metadata(waiting: int, failed: int) -> MetadataMapping:
    """How many files of a watch wait, and do not get further, as numbers to plot."""
    return {"waiting": dg.MetadataValue.int(waiting), "failed": dg.MetadataValue.int(failed)}


def failure(summary: RunSummary) -> dg.Failure:
    """The failure of a run in which attempts failed; it names groups and reasons, and says what to do."""
    which = f"{len(summary.failed)} of {counted(len(summary.groups), 'group')}"
    if len(summary.groups) == 1:
        which = "the group"
    return dg.Failure(
        description=f"{which} failed: {with_reasons(summary.failed)}. {WHAT_TO_DO}",
        metadata={
            "groups": dg.MetadataValue.int(len(summary.groups)),
            "failures": dg.MetadataValue.int(len(summary.failed)),
            "table": table(summary.failed),
        },
        allow_retries=False,
    )


def stage_metadata(reports: Iterable[BatchReport]) -> MetadataMapping:
    """How a stage left the run's groups."""
    groups = [group for report in reports for group in report.groups]
    counts = {"open": sum(group.outcome is None for group in groups)}
    for outcome in Outcome:
        counts[outcome.value] = sum(group.outcome is outcome for group in groups)
    return {name: dg.MetadataValue.int(number) for name, number in counts.items() if number}


def decisions(reports: Iterable[BatchReport], after: Collection[str | None]) -> Iterator[str]:
    """A line for each group that got no further than one of these stages; archived ones share a line."""
    ended = [g for report in reports for g in report.groups if g.outcome is not None and g.stage in after]
    archived = [group for group in ended if group.outcome is Outcome.ARCHIVED]
    others = [group for group in ended if group.outcome is not Outcome.ARCHIVED]
    if archived:
        keys = sentence([plain(group.group_key) for group in archived])
        yield f"archived {counted(len(archived), 'group')}: {keys}"
    for group in others[:LONGEST_LOG]:
        yield f"{plain(group.group_key)}: {group.outcome}: {plain(group.reason or 'no reason given')}"
    if len(others) > LONGEST_LOG:
        yield f"and {len(others) - LONGEST_LOG} more; carbonation explain tells of each"


def with_reasons(groups: Sequence[GroupReport]) -> str:
    """The groups, each with its reason, in one sentence: the first of them, and how many more there are."""
    return sentence([f"{plain(group.group_key)}: {plain(group.reason or '?')}" for group in groups])


def table(groups: Sequence[GroupReport]) -> dg.TableMetadataValue:
    """The groups as a table, those that failed first and those that were archived last, cut to a length."""
    ordered = sorted(
        groups, key=lambda group: (group.outcome not in FAILED_OUTCOMES, group.outcome is Outcome.ARCHIVED)
    )
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


def stuck_with_reasons(stuck: Sequence[Stuck]) -> str:
    """What does not get further, with its reasons, in one sentence."""
    return sentence([f"{plain(one.name)}: {plain(one.reason)}" for one in stuck])


def sentence(parts: Sequence[str], number: int | None = None) -> str:
    """The first of some parts, and how many more there are of them, or of `number` in all."""
    named = list(parts[:LONGEST_LIST])
    more = (number or len(parts)) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more > 0 else "")


def stuck_table(stuck: Sequence[Stuck]) -> dg.TableMetadataValue:
    """What does not get further, as a table, cut to a length that can be stored."""
    columns = ("group", "status", "reason", "next attempt", "files", "run")
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord(
                {
                    "group": plain(one.name),
                    "status": one.status.value,
                    "reason": plain(one.reason),
                    "next attempt": shown(one.again_at) if one.again_at else "none",
                    "files": plain(", ".join(one.files)),
                    "run": one.run_id or "",
                }
            )
            for one in stuck[:LONGEST_TABLE]
        ],
        schema=dg.TableSchema([dg.TableColumn(name, "string") for name in columns]),
    )


def image(name: str, drawn: str) -> dg.MarkdownMetadataValue:
    """A picture in SVG, as the UI shows one."""
    coded = base64.b64encode(drawn.encode()).decode()
    return dg.MetadataValue.md(f"![{name}](data:image/svg+xml;base64,{coded})")


def _totals(groups: Sequence[GroupReport]) -> MetadataMapping:
    return {
        "groups": dg.MetadataValue.int(len(groups)),
        "files": dg.MetadataValue.int(sum(group.files for group in groups)),
        "bytes": dg.MetadataValue.int(sum(group.bytes for group in groups)),
    }


def _promptness(groups: Sequence[GroupReport], now: datetime) -> MetadataMapping:
    """In how many seconds half of the groups, and nineteen of twenty, came from delivery to the archive."""
    taken = sorted((now - at).total_seconds() for group in groups if (at := group.delivered_at) is not None)
    if not taken:
        return {}
    return {
        f"seconds to archive p{percent}": dg.MetadataValue.float(
            round(max(0.0, taken[math.ceil(percent / 100 * len(taken)) - 1]), 3)
        )
        for percent in (50, 95)
    }


def _directories(groups: Sequence[GroupReport], archive: Archive | None) -> str:
    found = sorted({group.archive_directory for group in groups if group.archive_directory})
    lines = [f"- {link(directory, archive)}" for directory in found[:LONGEST_LIST]]
    more = len(found) - LONGEST_LIST
    return "\n".join(lines + ([f"- and {more} more"] if more > 0 else []))


def link(directory: str, archive: Archive | None) -> str:
    """A directory of an archive in Markdown: a link where its `url` is known, for file:// leads nowhere."""
    name = f"`{plain(directory)}`"
    if archive is None or archive.url is None or not Path(directory).is_relative_to(archive.base):
        return name
    below = quote(str(Path(directory).relative_to(archive.base)))
    return f"[{name}]({archive.url.rstrip('/')}/{'' if below == '.' else below})"
