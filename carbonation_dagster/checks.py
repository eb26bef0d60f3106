"""The checks of a watch's catalogue: how the watch stands, whichever run brought it there.

Each run reports them at its end, and they can be run alone.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from carbonation_core.config import Watch, dagster_name
from carbonation_core.db import components
from carbonation_core.db.components import Component
from carbonation_core.db.engine import reading
from carbonation_core.lifecycle import FileStatus
from carbonation_core.project import Project
from carbonation_dagster.naming import FAILED_GROUPS_CHECK, INTEGRITY_CHECK, catalog_key, plain
from carbonation_dagster.resources import Carbonation

LONGEST_TABLE = 100  # rows; the database has them all


@dataclass(frozen=True)
class Check:
    """Passes when no file in delivery has one of these statuses."""

    name: str
    says: str
    statuses: Collection[FileStatus]
    severity: dg.AssetCheckSeverity


CHECKS = (
    Check(
        INTEGRITY_CHECK,
        "No file that lies in delivery failed a check of its rule set.",
        (FileStatus.INTEGRITY_FAILED,),
        dg.AssetCheckSeverity.WARN,
    ),
    Check(
        FAILED_GROUPS_CHECK,
        "No group that lies in delivery waits for another attempt, or has used all of them up.",
        (FileStatus.RETRY_PENDING, FileStatus.FAILED),
        dg.AssetCheckSeverity.ERROR,
    ),
)


def catalog_checks(watch: Watch) -> dg.AssetChecksDefinition:
    """The checks of a watch's catalogue, to be run alone."""
    asset = catalog_key(watch.name)

    @dg.multi_asset_check(
        name=f"checks_of_{dagster_name(watch.name)}",
        specs=[dg.AssetCheckSpec(check.name, asset=asset, description=check.says) for check in CHECKS],
        can_subset=True,
    )
    def ask(
        context: dg.AssetCheckExecutionContext, carbonation: dg.ResourceParam[Carbonation]
    ) -> Iterator[dg.AssetCheckResult]:
        asked = {key.name for key in context.selected_asset_check_keys}
        for check in CHECKS:
            if check.name in asked:
                yield dg.AssetCheckResult(**_verdict(carbonation.project, watch.name, check))

    return ask


def evaluations(project: Project, watch_name: str) -> Iterator[dg.AssetCheckEvaluation]:
    """How all checks come out now, as a run reports it."""
    for check in CHECKS:
        yield dg.AssetCheckEvaluation(**_verdict(project, watch_name, check))


def _verdict(project: Project, watch_name: str, check: Check) -> Mapping[str, Any]:
    with reading(project.engine) as connection:
        found = components.in_status(connection, watch_name, check.statuses)
    at_fault = [file for file in found if file.in_delivery]
    return {
        "asset_key": catalog_key(watch_name),
        "check_name": check.name,
        "passed": not at_fault,
        "severity": check.severity,
        "description": f"{len(at_fault)} files in delivery" if at_fault else None,
        "metadata": {"files": dg.MetadataValue.int(len(at_fault)), "table": _table(at_fault)},
    }


def _table(files: list[Component]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord(
                {
                    "file": plain(file.source_path),
                    "status": file.status.value,
                    "next attempt": file.retry_at.isoformat(timespec="seconds") if file.retry_at else "",
                    "reason": plain(file.error_message or ""),
                }
            )
            for file in files[:LONGEST_TABLE]
        ],
        schema=dg.TableSchema(
            [dg.TableColumn(name, "string") for name in ("file", "status", "next attempt", "reason")]
        ),
    )
