"""The sensor that tells what no run would: silent feeds, groups that wait too long, rules that change."""

import json
from collections.abc import Iterator
from typing import Any

import dagster as dg

from carbonation_core.config.loading import Config
from carbonation_core.project import Project
from carbonation_dagster.defs.naming import CHANGES_SENSOR, Names
from carbonation_dagster.defs.resources import Carbonation
from carbonation_dagster.defs.rules_checks import rules_events
from carbonation_dagster.defs.watch_checks import checks_of


def changes_sensor(names: Names, *, start: bool = True) -> dg.SensorDefinition:
    """Evaluates checks without a run, and tells them only when they come out otherwise than before."""

    @dg.sensor(
        name=names.named(CHANGES_SENSOR),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING if start else dg.DefaultSensorStatus.STOPPED,
        description=(
            "Says on the assets when a feed falls silent or a group waits too long, when that ends, and "
            "when rules.toml is accepted or refused."
        ),
    )
    def changes(
        context: dg.SensorEvaluationContext, carbonation: dg.ResourceParam[Carbonation]
    ) -> dg.SensorResult | dg.SkipReason:
        if carbonation.stopping():
            return dg.SkipReason("the service is stopping")
        before = json.loads(context.cursor or "{}")
        versions, last = rules_events(carbonation.project, names, before.get("rules", 0))
        now: dict[str, Any] = {"rules": last, "checks": {}}
        events: list[Any] = list(versions)
        for name, about, evaluation in _by_time(carbonation.project, carbonation.project.config, names):
            now["checks"][name] = about
            if before.get("checks", {}).get(name) != about:
                events.append(evaluation)
        if not events:
            return dg.SkipReason("as before")
        return dg.SensorResult(asset_events=events, cursor=json.dumps(now))

    return changes


def _by_time(
    project: Project, config: Config, names: Names
) -> Iterator[tuple[str, list[object], dg.AssetCheckEvaluation]]:
    """Each check that time can break: its name, what would make it told anew, how it comes out."""
    for watch in config.watch:
        for check in checks_of(watch):
            if check.by_time:
                verdict = check.verdict(project, watch)
                evaluation = dg.AssetCheckEvaluation(**check.result(names, watch, verdict))
                yield f"{watch.name}:{check.name}", [verdict.passed, *verdict.about], evaluation
