"""The sensor that tells what no run would: silent feeds, groups that wait too long, rules that change."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import Any

import dagster as dg

from carbonation_core.config.loading import Config
from carbonation_core.project import Project
from carbonation_core.reports.waiting import waiting
from carbonation_dagster.defs.messages import LONGEST_TABLE
from carbonation_dagster.defs.naming import CHANGES_SENSOR, Names
from carbonation_dagster.defs.report_asset import report_materialisation, waiting_observation
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
            "Says on the assets when a feed falls silent or a group waits too long, when that ends, who "
            "waits for what, and when rules.toml is accepted or refused. Makes each watch's daily report."
        ),
    )
    def changes(
        context: dg.SensorEvaluationContext, carbonation: dg.ResourceParam[Carbonation]
    ) -> dg.SensorResult | dg.SkipReason:
        if carbonation.stopping():
            return dg.SkipReason("the service is stopping")
        before = json.loads(context.cursor or "{}")
        versions, last = rules_events(carbonation.project, names, before.get("rules", 0))
        today = f"{carbonation.project.clock().astimezone(UTC):%Y-%m-%d}"
        now: dict[str, Any] = {"rules": last, "checks": {}, "waiting": {}, "reported": today}
        events: list[Any] = list(versions)
        for name, about, evaluation in _by_time(carbonation.project, carbonation.project.config, names):
            now["checks"][name] = about
            if before.get("checks", {}).get(name) != about:
                events.append(evaluation)
        for watch in carbonation.project.config.watch:
            found = waiting(carbonation.project, [watch.name])
            who = _digest([one.name for one in found.waiters[:LONGEST_TABLE]])
            now["waiting"][watch.name] = who
            if before.get("waiting", {}).get(watch.name) != who:
                events.append(waiting_observation(carbonation.project, names, watch.name, found))
            if before.get("reported") != now["reported"]:
                events.append(report_materialisation(carbonation.project, names, watch.name))
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


def _digest(names: Sequence[str]) -> str:
    """What differs when the names do; a cursor must stay short."""
    return hashlib.sha256("\0".join(names).encode("utf-8", "backslashreplace")).hexdigest()[:16]
