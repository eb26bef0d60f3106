"""The checks of an archive: what went there arrived, and what lies there is what the database says."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import dagster as dg

from carbonation_core.config.loading import dagster_name
from carbonation_core.config.sections import Archive
from carbonation_core.errors import ScanError
from carbonation_core.project import Project
from carbonation_core.reconcile.archive import ArchiveReconciliation, reconcile_archive
from carbonation_core.reconcile.findings import DISAGREEMENTS, LOSSES, Kind
from carbonation_core.reports.stuck import stuck_transfers
from carbonation_core.text import counted
from carbonation_dagster.defs.messages import (
    LONGEST_TABLE,
    MetadataMapping,
    RunSummary,
    stuck_table,
    stuck_with_reasons,
)
from carbonation_dagster.defs.naming import AGREEMENT_CHECK, VERIFIED_CHECK, Names, plain
from carbonation_dagster.defs.resources import Carbonation

HOW = {
    "written": "the SHA-256 of its bytes as they were written, and its size after the sync",
    "read": "the SHA-256 of the durable file, read back from the disk",
}


def transfer_check(archive: Archive, names: Names) -> dg.AssetChecksDefinition:
    """The check of an archive's transfers. Each run that writes there reports it."""

    @dg.multi_asset_check(
        name=names.named(f"transfers_to_{dagster_name(archive.name)}"),
        specs=[
            dg.AssetCheckSpec(
                VERIFIED_CHECK,
                asset=names.archive_key(archive.name),
                description=(
                    f"Every file on its way here arrived and was verified by {how(archive)}. A file whose "
                    "transfer fails is never recorded as archived; its group waits for another attempt."
                ),
            )
        ],
    )
    def ask(carbonation: dg.ResourceParam[Carbonation]) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(**_transfer_verdict(carbonation.project, names, archive))

    return ask


def transfer_evaluations(
    project: Project, names: Names, summary: RunSummary
) -> Iterator[dg.AssetCheckEvaluation]:
    """How the check comes out of each archive that the run's groups were on their way to."""
    touched = {group.archive_name for group in summary.groups}
    for archive in project.config.archive:
        if archive.name in touched:
            arrived = [group for group in summary.archived if group.archive_name == archive.name]
            in_this_run = {
                "files verified in this run": dg.MetadataValue.int(sum(group.files for group in arrived)),
                "bytes verified in this run": dg.MetadataValue.int(sum(group.bytes for group in arrived)),
            }
            yield dg.AssetCheckEvaluation(**_transfer_verdict(project, names, archive, in_this_run))


def how(archive: Archive) -> str:
    """What says that a file arrived in this archive."""
    if archive.action in ("hardlink", "symlink"):
        return "its link, which leads to the very file that was delivered"
    return HOW[archive.verify]


def _transfer_verdict(
    project: Project, names: Names, archive: Archive, more: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    stuck = stuck_transfers(project, archive.name)
    return {
        "asset_key": names.archive_key(archive.name),
        "check_name": VERIFIED_CHECK,
        "passed": not stuck,
        "severity": dg.AssetCheckSeverity.ERROR,
        "description": stuck_with_reasons(stuck) or None,
        "metadata": {
            "transfers that failed": dg.MetadataValue.int(len(stuck)),
            **(more or {}),
            "verified by": dg.MetadataValue.text(how(archive)),
            **({"table": stuck_table(stuck)} if stuck else {}),
        },
    }


def agreement_check(archive: Archive, names: Names) -> dg.AssetChecksDefinition:
    """The check of an archive. Each reconciliation reports it; run alone it looks and changes nothing."""
    name = archive.name

    @dg.multi_asset_check(
        name=names.named(f"agreement_of_{dagster_name(name)}"),
        specs=[
            dg.AssetCheckSpec(
                AGREEMENT_CHECK,
                asset=names.archive_key(name),
                description=(
                    "What lies in this archive is what the database says: nothing is missing, nothing is "
                    "unknown. Each reconciliation reports it; run alone, it looks and changes nothing."
                ),
            )
        ],
    )
    def ask(carbonation: dg.ResourceParam[Carbonation]) -> dg.AssetCheckResult:
        try:
            found = reconcile_archive(carbonation.project, name, dry_run=True)
        except ScanError as error:
            return dg.AssetCheckResult(**unreadable_verdict(names, name, str(error)))
        return dg.AssetCheckResult(**agreement_verdict(names, found))

    return ask


def agreement_verdict(names: Names, found: ArchiveReconciliation) -> Mapping[str, Any]:
    """How the check comes out after a comparison of a whole archive."""
    # What would have been missing and returned are so only now that it is known.
    lost = found.number(*LOSSES)
    return {
        "asset_key": names.archive_key(found.archive_name),
        "check_name": AGREEMENT_CHECK,
        "passed": not found.number(*DISAGREEMENTS),
        "severity": dg.AssetCheckSeverity.ERROR if lost else dg.AssetCheckSeverity.WARN,
        "description": plain(found.refused) if found.refused else in_words(found),
        "metadata": agreement_metadata(found),
    }


def unreadable_verdict(names: Names, archive_name: str, reason: str) -> Mapping[str, Any]:
    """How the check comes out when nobody could look."""
    return {
        "asset_key": names.archive_key(archive_name),
        "check_name": AGREEMENT_CHECK,
        "passed": False,
        "severity": dg.AssetCheckSeverity.ERROR,
        "description": plain(reason),
    }


def in_words(found: ArchiveReconciliation) -> str:
    """The numbers of a comparison in one sentence."""
    counts = [f"{number} {kind}" for kind in Kind if (number := found.number(kind))]
    told = f": {', '.join(counts)}" if counts else ", all is well"
    return "; ".join((f"{counted(found.compared, 'file')} compared{told}", *found.remarks))


def agreement_metadata(found: ArchiveReconciliation) -> MetadataMapping:
    """The numbers of a comparison, and a table of what it found, cut to a length that can be stored."""
    counts = {kind.value: dg.MetadataValue.int(found.number(kind)) for kind in Kind}
    first = islice(found.findings, LONGEST_TABLE)
    columns = ("file", "is", "reason")
    records = [
        dg.TableRecord({"file": plain(one.path), "is": one.kind.value, "reason": plain(one.reason)})
        for one in first
    ]
    return {
        "compared": dg.MetadataValue.int(found.compared),
        "should be there": dg.MetadataValue.int(found.expected),
        **counts,
        "dry run": dg.MetadataValue.bool(found.dry_run),
        "table": dg.MetadataValue.table(
            records=records, schema=dg.TableSchema([dg.TableColumn(name, "string") for name in columns])
        ),
    }
