"""Checks of a watch's catalogue that can be run alone. Its runs report the same ones themselves."""

from collections.abc import Iterator

import dagster as dg

from carbonation_core.config import Watch, dagster_name
from carbonation_core.db import components
from carbonation_core.db.engine import reading
from carbonation_core.lifecycle import FileStatus
from carbonation_dagster.naming import FAILED_GROUPS_CHECK, INTEGRITY_CHECK, catalog_key
from carbonation_dagster.resources import Carbonation

CHECKS = {
    INTEGRITY_CHECK: (
        (FileStatus.INTEGRITY_FAILED,),
        dg.AssetCheckSeverity.WARN,
        "No file lies in delivery that failed a check.",
    ),
    FAILED_GROUPS_CHECK: (
        (FileStatus.FAILED, FileStatus.RETRY_PENDING),
        dg.AssetCheckSeverity.ERROR,
        "No group's attempt failed.",
    ),
}


def catalog_checks(watch: Watch) -> dg.AssetChecksDefinition:
    """The checks of a watch's catalogue, asked of the database as it stands."""
    asset = catalog_key(watch.name)

    @dg.multi_asset_check(
        name=f"checks_of_{dagster_name(watch.name)}",
        specs=[
            dg.AssetCheckSpec(name, asset=asset, description=text) for name, (_, _, text) in CHECKS.items()
        ],
        can_subset=True,
    )
    def ask(
        context: dg.AssetCheckExecutionContext, carbonation: dg.ResourceParam[Carbonation]
    ) -> Iterator[dg.AssetCheckResult]:
        for key in sorted(context.selected_asset_check_keys):
            statuses, severity, _ = CHECKS[key.name]
            with reading(carbonation.project.engine) as connection:
                found = components.in_status(connection, watch.name, statuses)
            yield dg.AssetCheckResult(
                passed=not found,
                asset_key=asset,
                check_name=key.name,
                severity=severity,
                metadata={"files": len(found)},
            )

    return ask
