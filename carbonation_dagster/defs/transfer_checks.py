"""Whether what went into an archive arrived there: the check of its transfers."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from carbonation_core.config.loading import dagster_name
from carbonation_core.config.sections import Archive
from carbonation_core.project import Project
from carbonation_core.reports.stuck import stuck_transfers
from carbonation_dagster.defs.messages import Told, naming_the_stuck, stuck_table
from carbonation_dagster.defs.naming import VERIFIED_CHECK, Names
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
        return dg.AssetCheckResult(**_verdict(carbonation.project, names, archive))

    return ask


def transfer_evaluations(project: Project, names: Names, told: Told) -> Iterator[dg.AssetCheckEvaluation]:
    """How the check comes out of each archive that the run's groups were on their way to."""
    touched = {group.archive_name for group in told.groups}
    for archive in project.config.archive:
        if archive.name in touched:
            arrived = [group for group in told.archived if group.archive_name == archive.name]
            in_this_run = {
                "files verified in this run": dg.MetadataValue.int(sum(group.files for group in arrived)),
                "bytes verified in this run": dg.MetadataValue.int(sum(group.bytes for group in arrived)),
            }
            yield dg.AssetCheckEvaluation(**_verdict(project, names, archive, in_this_run))


def how(archive: Archive) -> str:
    """What says that a file arrived in this archive."""
    if archive.action in ("hardlink", "symlink"):
        return "its link, which leads to the very file that was delivered"
    return HOW[archive.verify]


def _verdict(
    project: Project, names: Names, archive: Archive, more: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    stuck = stuck_transfers(project, archive.name)
    return {
        "asset_key": names.archive_key(archive.name),
        "check_name": VERIFIED_CHECK,
        "passed": not stuck,
        "severity": dg.AssetCheckSeverity.ERROR,
        "description": naming_the_stuck(stuck) or None,
        "metadata": {
            "transfers that failed": dg.MetadataValue.int(len(stuck)),
            **(more or {}),
            "verified by": dg.MetadataValue.text(how(archive)),
            **({"table": stuck_table(stuck)} if stuck else {}),
        },
    }
