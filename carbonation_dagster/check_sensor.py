"""The sensor that tells what time alone breaks: feeds that fall silent, groups that wait too long."""

import json

import dagster as dg

from carbonation_dagster.checks import checks_of
from carbonation_dagster.naming import CHECK_SENSOR
from carbonation_dagster.resources import Carbonation


@dg.sensor(
    name=CHECK_SENSOR,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Says on the assets when a feed falls silent or a group waits too long, and when that ends.",
)
def check_sensor(
    context: dg.SensorEvaluationContext, carbonation: dg.ResourceParam[Carbonation]
) -> dg.SensorResult | dg.SkipReason:
    """Evaluates these checks without a run, and tells them only when they come out otherwise than before."""
    if carbonation.stopping():
        return dg.SkipReason("the service is stopping")
    project = carbonation.project
    before = json.loads(context.cursor or "{}")
    now: dict[str, list[object]] = {}
    told = []
    for watch in project.config.watch:
        for check in checks_of(watch):
            if not check.by_time:
                continue
            verdict = check.verdict(project, watch)
            name = f"{watch.name}:{check.name}"
            now[name] = [verdict.passed, *verdict.about]
            if before.get(name) != now[name]:
                told.append(dg.AssetCheckEvaluation(**check.told(watch, verdict)))
    if not told:
        return dg.SkipReason("as before")
    return dg.SensorResult(asset_events=told, cursor=json.dumps(now))
