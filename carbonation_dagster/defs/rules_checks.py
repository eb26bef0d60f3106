"""What Dagster shows of rules.toml: each version that was accepted or refused, and whether it is in force."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from carbonation_core.config.loading import Config
from carbonation_core.db import rule_versions
from carbonation_core.db.engine import reading
from carbonation_core.db.rule_versions import Version
from carbonation_core.project import Project, rules_in_force
from carbonation_dagster.defs.naming import RULES_CHECK, Names, plain
from carbonation_dagster.defs.resources import Carbonation

MOST_AT_ONCE = 50  # versions that one tick tells of


def rules_check(config: Config, names: Names) -> dg.AssetChecksDefinition:
    """The check of rules.toml; run alone it looks at the file."""

    @dg.multi_asset_check(
        name=names.named("rules_accepted"),
        specs=[
            dg.AssetCheckSpec(
                RULES_CHECK,
                asset=names.rules_key,
                description=(
                    f"`{plain(str(config.rules.file))}` as it is now is in force. While it is refused, the "
                    "rules that were last accepted go on; correct the file, and it is accepted by itself."
                ),
            )
        ],
    )
    def ask(carbonation: dg.ResourceParam[Carbonation]) -> dg.AssetCheckResult:
        rules_in_force(carbonation.project)
        site = carbonation.project.config.service.site_name
        with reading(carbonation.project.engine) as connection:
            last = rule_versions.latest(connection, site)
            assert last is not None
            before = rule_versions.accepted_before(connection, site, last.id)
        return dg.AssetCheckResult(**_verdict(names, last, before))

    return ask


def rules_events(
    project: Project, names: Names, after: int
) -> tuple[Sequence[dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation], int]:
    """What there is to tell of this site's versions later than that one, and the number of the last."""
    site = project.config.service.site_name
    events: list[dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation] = []
    with reading(project.engine) as connection:
        versions = rule_versions.since(connection, site, after, MOST_AT_ONCE)
        befores = [rule_versions.accepted_before(connection, site, version.id) for version in versions]
    for version, before in zip(versions, befores, strict=True):
        said = f"rules {version.digest[:12]} " + ("are in force" if version.accepted else "were refused")
        # Of an asset that has only observations the UI says "Never materialized".
        event = dg.AssetMaterialization if version.accepted else dg.AssetObservation
        events.append(event(names.rules_key, description=said, metadata=_metadata(version, before)))
    if versions:
        events.append(dg.AssetCheckEvaluation(**_verdict(names, versions[-1], befores[-1])))
    return events, versions[-1].id if versions else after


def _verdict(names: Names, version: Version, before: Version | None) -> Mapping[str, Any]:
    return {
        "asset_key": names.rules_key,
        "check_name": RULES_CHECK,
        "passed": version.accepted,
        "severity": dg.AssetCheckSeverity.ERROR,
        "description": None if version.accepted else plain(version.reason or "no reason given"),
        "metadata": _metadata(version, before),
    }


def _metadata(version: Version, before: Version | None) -> Mapping[str, dg.MetadataValue]:
    author = version.author
    found: dict[str, dg.MetadataValue] = {"digest": dg.MetadataValue.text(version.digest)}
    found["digest before"] = dg.MetadataValue.text(before.digest if before else "none")
    found["accepted"] = dg.MetadataValue.bool(version.accepted)
    if version.reason:
        found["refused because"] = dg.MetadataValue.text(plain(version.reason))
    if author.written_by:
        found["file of"] = dg.MetadataValue.text(plain(author.written_by))
    if author.written_at:
        found["written at"] = dg.MetadataValue.timestamp(author.written_at)
    found["read at"] = dg.MetadataValue.timestamp(version.at)
    if author.read_by:
        found["read by"] = dg.MetadataValue.text(plain(author.read_by))
    return found
