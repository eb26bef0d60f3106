"""A sensor per watch: looks at its directory and asks for runs."""

import time
from typing import TYPE_CHECKING

import dagster as dg

from carbonation_core.config.sections import Watch
from carbonation_core.config.toml import read_toml
from carbonation_core.db.engine import within
from carbonation_core.delivery.observe import Observation, observe, say_unwell
from carbonation_core.errors import ConfigError, NoAnswer, ScanError, Superseded
from carbonation_core.pipeline.claim import Offer, claim
from carbonation_core.project import Project, rules_of, rules_on_disk
from carbonation_core.reports.workers import slots, slots_apart
from carbonation_core.rules.hosts import are_named, hosts_of
from carbonation_core.rules.rule_sets import rules_digest
from carbonation_core.text import counted
from carbonation_dagster.defs.naming import Names, plain, queue_tags, run_tags
from carbonation_dagster.defs.recovery import recover
from carbonation_dagster.defs.resources import Carbonation
from carbonation_dagster.defs.runs import instance_id

BUSY_PAUSE = 1.0  # seconds between two looks at the runs that are under way
# Seconds. Dagster gives a tick up after 60, and is not told then why. What has begun when these are
# over, a look and a claim, may each wait for one lock more.
TICK_BUDGET = 35.0
SLOT_PAUSE = 0.25  # seconds between two looks for a free slot

if TYPE_CHECKING:
    from carbonation_dagster.defs.jobs import AssetJob


def watch_sensor(watch: Watch, names: Names, job: "AssetJob", *, start: bool = True) -> dg.SensorDefinition:
    """The sensor that polls the directory of a watch.

    In the service a tick waits a while for something to happen, so that a file is
    taken as soon as it has settled and not at the next tick. A directory that
    cannot be looked at makes the tick fail, in red and with one
    sentence: a skipped tick is grey, and nobody looks at those.
    """

    @dg.sensor(
        name=names.watch_job(watch.name),
        job=job,
        minimum_interval_seconds=1,
        default_status=dg.DefaultSensorStatus.RUNNING if start else dg.DefaultSensorStatus.STOPPED,
        description=f"Looks for files in {plain(str(watch.path))} and asks for runs of what is complete.",
    )
    def look(
        context: dg.SensorEvaluationContext, carbonation: dg.ResourceParam[Carbonation]
    ) -> dg.SensorResult | dg.SkipReason:
        if carbonation.stopping():
            return dg.SkipReason("the service is stopping")
        with within(TICK_BUDGET):
            return _tick(watch, context.instance, carbonation)

    return look


def _tick(
    watch: Watch, instance: dg.DagsterInstance, carbonation: Carbonation
) -> dg.SensorResult | dg.SkipReason:
    project, name = carbonation.project_of_tick(), instance_id(instance)
    most, apart = slots(project), slots_apart(project)
    end = time.monotonic() + carbonation.tick_wait
    while True:
        found = recover(project, watch.name, instance, name)
        try:
            with carbonation.hints(watch) as hints:
                seen = observe(project, watch.name, hints)
        except ScanError as error:
            if isinstance(error, NoAnswer):
                say_unwell(project, watch.name, str(error))
            # An offer's files may have been seen before: it is not held up.
            if found.waiting:
                return _requests(found.waiting, project)
            raise
        try:
            claimed = claim(project, watch.name, name, most, apart=apart) if seen.ready else []
        except Superseded:  # since the tick began
            project = carbonation.project_to_claim(watch.name)
            claimed = claim(project, watch.name, name, most, apart=apart)
        if found.waiting or claimed:
            return _requests([*found.waiting, *claimed], project)
        left = end - time.monotonic()
        if left <= 0 or carbonation.stopping():
            break
        carbonation.wait(watch, pause(seen, left, found.busy))
    reasons = [skip_reason(seen), refusal(project, seen.rules_digest)]
    return dg.SkipReason("; ".join(filter(None, reasons)))


def pause(seen: Observation, left: float, busy: bool) -> float:
    """Seconds till the next look of a tick: until time alone changes something, or the tick's end.

    While somebody is at work, a run may end or die, which no file event tells.
    """
    times = [one.total_seconds() for one in (seen.settles_in, seen.due_in) if one is not None]
    if busy:
        times.append(BUSY_PAUSE)
    if seen.ready:
        times.append(SLOT_PAUSE)
    return min([left, *(max(seconds, 0.0) for seconds in times)])


def skip_reason(seen: Observation) -> str:
    """What a look saw, when there is nothing to do about it."""
    if not seen.files:
        return "no files in delivery"
    parts = [f"{seen.files} in delivery"]
    if seen.unsettled:
        parts.append(f"{seen.unsettled} not yet settled")
    if seen.ready:
        parts.append(f"{counted(seen.ready, 'group')} ready, taken by others")
    return f"nothing to start: {', '.join(parts)}"


def refusal(project: Project, in_force: str) -> str | None:
    """Why rules.toml as it is now is not in force, if it is not."""
    try:
        if rules_digest(read_toml(project.config.rules.file)) != in_force:
            rules_on_disk(project)
    except ConfigError as error:
        return f"refused, so that rules {in_force[:12]} stay in force: {error}"
    return None


def _requests(offers: list[Offer], project: Project) -> dg.SensorResult:
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=offer.batch_id, tags={**run_tags(offer), **_queue(offer, project)})
            for offer in offers
        ]
    )


def _queue(offer: Offer, project: Project) -> dict[str, str]:
    """Where the run of an offer goes by the rules that it was made with; its job's tag knows older ones."""
    config = project.config
    if not are_named(config):
        return {}
    try:
        rules = rules_of(project, offer.rules_digest)
    except ConfigError:  # they no longer go with config.toml; wherever its run is, it gives it back
        rules = None
    return queue_tags(hosts_of(config.watch_named(offer.watch_name), rules, config))
