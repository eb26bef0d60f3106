"""Whether an archive and the database agree, in Dagster's words: a check, metadata, a table."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import dagster as dg

from carbonation_core.config.loading import dagster_name
from carbonation_core.config.sections import Archive
from carbonation_core.errors import ScanError
from carbonation_core.reconcile.archive import ArchiveReconciliation, reconcile_archive
from carbonation_core.reconcile.findings import DISAGREEMENTS, LOSSES, Kind
from carbonation_dagster.defs.messages import LONGEST_TABLE, MetadataMapping
from carbonation_dagster.defs.naming import AGREEMENT_CHECK, Names, plain
from carbonation_dagster.defs.resources import Carbonation


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
                    "All that the database says lies in this archive is there, and nothing that it knows "
                    "nothing of. Each reconciliation reports it; run alone, it looks and changes nothing."
                ),
            )
        ],
    )
    def ask(carbonation: dg.ResourceParam[Carbonation]) -> dg.AssetCheckResult:
        try:
            found = reconcile_archive(carbonation.project, name, dry_run=True)
        except ScanError as error:
            return dg.AssetCheckResult(**unreadable(names, name, str(error)))
        return dg.AssetCheckResult(**verdict(names, found))

    return ask


def verdict(names: Names, found: ArchiveReconciliation) -> Mapping[str, Any]:
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


def unreadable(names: Names, archive_name: str, reason: str) -> Mapping[str, Any]:
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
    return f"{found.compared} files compared" + (f": {', '.join(counts)}" if counts else ", all is well")


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
