"""Sensors that tell somebody of runs that fail, of checks that begin to fail, and of what is late.

One for each place that messages go to, so that one which cannot be reached holds
up no other and is told nothing twice. A tick takes all that failed since the last
message got through, so that a burst is one message; one that does not get through
makes the tick fail, in red, and comes again after a growing pause.
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import dagster as dg

from carbonation_core.config.loading import Config
from carbonation_core.db.feed import ArrivalNews
from carbonation_core.delivery.board import NAMED
from carbonation_core.lifecycle import FeedEvent
from carbonation_core.project import Project
from carbonation_core.reports import arrivals, heartbeat, notify
from carbonation_core.reports.notify import Failure
from carbonation_core.text import counted, shown
from carbonation_dagster.defs.messages import WHAT_TO_DO
from carbonation_dagster.defs.naming import (
    AGREEMENT_CHECK,
    ARRIVALS_CHECK,
    FAILED_GROUPS_CHECK,
    GROUP_KEY_TAG,
    GROUPS_TAG,
    INTEGRITY_CHECK,
    RULES_CHECK,
    VERIFIED_CHECK,
    WATCH_TAG,
    Names,
    service_of,
)
from carbonation_dagster.defs.resources import Carbonation
from carbonation_dagster.defs.runs import Ours, failed_runs, last_evaluation
from carbonation_dagster.defs.watch_checks import checks_of

log = logging.getLogger(__name__)

OF_FAILED_RUNS = (FAILED_GROUPS_CHECK, VERIFIED_CHECK)  # checks that fail only where a run did

Sender = Callable[[Config, Sequence[Failure]], None]


def alert_sensors(config: Config, names: Names, *, start: bool = True) -> list[dg.SensorDefinition]:
    """A sensor for each place that `[notify]` names."""
    return [_alert_sensor(target, config, names, start=start) for target in notify.targets(config.notify)]


def _alert_sensor(target: str, config: Config, names: Names, *, start: bool) -> dg.SensorDefinition:
    @dg.sensor(
        name=names.named(f"notify_{target}"),
        minimum_interval_seconds=int(config.notify.interval.total_seconds()) or 1,
        default_status=dg.DefaultSensorStatus.RUNNING if start else dg.DefaultSensorStatus.STOPPED,
        description=f"Tells of runs that fail, checks that begin to fail and late arrivals: {TOLD[target]}.",
    )
    def alert(
        context: dg.SensorEvaluationContext, carbonation: dg.ResourceParam[Carbonation]
    ) -> dg.SensorResult | dg.SkipReason:
        if carbonation.stopping():
            return dg.SkipReason("the service is stopping")
        project = carbonation.project
        waits = {one.target: one for one in notify.unreached(project)}.get(target)
        if waits is not None and project.clock() < waits.again_at:
            return dg.SkipReason(f"{waits.error}; the next attempt is at {shown(waits.again_at)}")
        failures, cursor = failures_since(context.instance, project, names, context.cursor)
        if failures:
            try:
                SENDERS[target](project.config, failures)
            except notify.NotifyError as error:
                notify.note(project, target, str(error))
                raise
        notify.note(project, target, None)
        said = f"told of {counted(len(failures), 'failure')}" if failures else "nothing failed"
        return dg.SensorResult(skip_reason=said, cursor=cursor)

    return alert


def failures_since(
    instance: dg.DagsterInstance, project: Project, names: Names, cursor: str | None
) -> tuple[list[Failure], str]:
    """What failed since a cursor, and the next one. The first begins now, with the checks that fail."""
    before: dict[str, Any] = json.loads(cursor or "{}")
    since = before.get("since", project.clock().timestamp())
    wanted, ui = project.config.notify.on, _address_of_ui(project)
    runs, runs_cursor = failed_runs(instance, since, before.get("runs"))
    failing = dict(_failing(instance, project, names, ui))
    failures = []
    if "run_failure" in wanted:
        ours = Ours(names, project.config)
        failures += [_of_run(run, reason, at, ui) for run, reason, at in runs if ours.has(run)]
    if "check_failure" in wanted:
        # A group that fails fails its run, which says why: that is one message, and not three.
        of_runs = OF_FAILED_RUNS if "run_failure" in wanted else ()
        told_by_itself = (*of_runs, *([ARRIVALS_CHECK] if "arrival" in wanted else []))
        new = [key for key in failing if key.to_user_string() not in before.get("checks", ())]
        failures += [failing[key] for key in new if key.name not in told_by_itself]
    came, feed = arrivals.news(project, before.get("feed"))
    if "arrival" in wanted:
        failures += [_of_arrival(one, project.config, names, ui) for one in came]
    checks = sorted(key.to_user_string() for key in failing)
    return failures, json.dumps({"since": since, "runs": runs_cursor, "checks": checks, "feed": feed})


def _of_run(run: dg.DagsterRun, reason: str, at: float, ui: str | None) -> Failure:
    of = run.tags.get(WATCH_TAG)
    which = run.tags.get(GROUP_KEY_TAG) or (
        counted(int(n), "group") if (n := run.tags.get(GROUPS_TAG)) else ""
    )
    title = f"run {run.run_id[:8]} of {run.job_name}" + (f" ({which})" if which else "") + " failed"
    labels = {"job": run.job_name, **({"watch": of} if of else {})}
    return Failure(
        "run_failure", run.run_id, title, reason, _iso(at), ui and f"{ui}/runs/{run.run_id}", labels
    )


def _of_arrival(one: ArrivalNews, config: Config, names: Names, ui: str | None) -> Failure:
    what = one.group_key or f"what is expected by {one.expectation}"
    asset = names.delivery_key(one.watch_name).to_user_string()
    # A watch may have gone from config.toml since.
    severity = {
        (watch.name, expect.label): expect.severity for watch in config.watch for expect in watch.expect
    }.get((one.watch_name, one.expectation), "warn")
    labels = {"watch": one.watch_name, "state": str(one.event), "severity": severity.upper()}
    return Failure(
        "arrival",
        f"{one.watch_name}:{one.group_key or one.expectation}:{one.expected_at:%Y-%m-%dT%H:%MZ}",
        f"{what} of {one.watch_name} {NAMED[one.event]}",
        f"its time was {shown(one.expected_at)}",
        _iso(one.at.timestamp()),
        ui and f"{ui}/assets/{quote(asset)}?view=checks&checkDetail={ARRIVALS_CHECK}",
        labels,
        is_over=one.event is FeedEvent.ARRIVED,
    )


def _failing(
    instance: dg.DagsterInstance, project: Project, names: Names, ui: str | None
) -> Iterator[tuple[dg.AssetCheckKey, Failure]]:
    for key in all_checks(project.config, names):
        last = last_evaluation(instance, key)
        if last is None or last[0].passed:
            continue
        evaluation, at = last
        asset = key.asset_key.to_user_string()
        yield (
            key,
            Failure(
                "check_failure",
                f"{asset}:{key.name}",
                f"check {key.name} of {asset} fails",
                evaluation.description or "no reason given",
                _iso(at),
                ui and f"{ui}/assets/{quote(asset)}?view=checks&checkDetail={quote(key.name)}",
                {"asset": asset, "check": key.name, "severity": evaluation.severity.value},
            ),
        )


def all_checks(config: Config, names: Names) -> Iterator[dg.AssetCheckKey]:
    """Every check of a service."""
    yield dg.AssetCheckKey(names.rules_key, RULES_CHECK)
    for watch in config.watch:
        for check in checks_of(watch):
            yield dg.AssetCheckKey(check.key(names, watch.name), check.name)
    for archive in config.archive:
        for name in (VERIFIED_CHECK, AGREEMENT_CHECK):
            yield dg.AssetCheckKey(names.archive_key(archive.name), name)


def _address_of_ui(project: Project) -> str | None:
    worker = heartbeat.service_of(project)
    return worker.ui if worker is not None and worker.is_running else None


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _to_log(config: Config, failures: Sequence[Failure]) -> None:
    for one in failures:
        known = {"run_id": one.name} if one.kind == "run_failure" else {}
        # Groups that failed, files that failed a check, and arrivals have had their lines, one each.
        is_said = one.reason.endswith(WHAT_TO_DO) or one.kind == "arrival"
        is_said = is_said or (one.labels or {}).get("check") == INTEGRITY_CHECK
        level = logging.DEBUG if is_said else logging.ERROR
        log.log(level, "%s: %s", one.title, one.reason, extra={**known, **(one.labels or {})})


def _to_command(config: Config, failures: Sequence[Failure]) -> None:
    notify.run_command(config, notify.message(failures, service_of(config)))


def _to_webhook(config: Config, failures: Sequence[Failure]) -> None:
    notify.post(config.notify, notify.message(failures, service_of(config)))


SENDERS: dict[str, Sender] = {"log": _to_log, "command": _to_command, "webhook": _to_webhook}
TOLD = {
    "log": "in the service's log",
    "command": "by the command of [notify]",
    "webhook": "by the webhook of [notify]",
}
