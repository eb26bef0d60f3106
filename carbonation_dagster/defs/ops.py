"""The six stages as ops. All watches share them; the watch comes from their configuration.

Each op brings every open group of its run's batches up to its stage. What one
hands to the next is in the database, so any of them can be executed again, on
any host.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import dagster as dg

from carbonation_core.delivery.observe import observe
from carbonation_core.errors import LostOwnership, Superseded
from carbonation_core.lifecycle import FAILED_OUTCOMES
from carbonation_core.pipeline.batch_report import BatchReport
from carbonation_core.pipeline.claim import claim
from carbonation_core.pipeline.work import Stage, work
from carbonation_core.reports.activity import standing
from carbonation_core.text import counted
from carbonation_dagster.defs.archive_checks import transfer_evaluations
from carbonation_dagster.defs.messages import (
    RunSummary,
    decisions,
    failure,
    materialisations,
    metadata,
    sentence,
    stage_metadata,
    standing_metadata,
)
from carbonation_dagster.defs.naming import (
    BATCH_TAG,
    FAILED_TAG,
    SERVICE_TAG,
    batch_tag_of,
    plain,
    service_of,
    tag_value,
)
from carbonation_dagster.defs.resources import Carbonation
from carbonation_dagster.defs.runs import add_tags, instance_id, run_tags_now, seconds_since_start
from carbonation_dagster.defs.watch_checks import evaluations

DESCRIPTIONS = {
    Stage.INTEGRITY: "Takes the batch and checks its files, those checks included that read content.",
    Stage.COMPLETENESS: "Are the groups still whole?",
    Stage.EXTRACT: "The plugin reads the groups' metadata.",
    Stage.SELECT: "Which groups are wanted?",
    Stage.ROUTE: "Which archive and directory does each group go to?",
    Stage.ARCHIVE: "Writes, verifies, publishes and records the groups' files; says what came of the batch.",
}
ORDER = tuple(Stage)
EARLY = ORDER[:-1]
# The last stage passed by a group whose way ends in each of them.
PASSED_BEFORE: dict[Stage, tuple[Stage | None]] = {
    stage: (before,) for stage, before in zip(EARLY, (None, *EARLY[:-1]), strict=True)
}
MOST_CLAIMED = 50  # batches of a run that claims for itself; their ids must fit into a tag


class WatchConfig(dg.Config):
    """Which watch the op works for; set by its asset."""

    watch: str


def _early_op(stage: Stage) -> dg.OpDefinition:
    @dg.op(
        name=stage.value,
        ins={"before": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
        description=DESCRIPTIONS[stage],
    )
    def bring_up_to_stage(
        context: dg.OpExecutionContext, config: WatchConfig, carbonation: dg.ResourceParam[Carbonation]
    ) -> Iterator[dg.Output[None] | dg.AssetMaterialization | dg.AssetCheckEvaluation]:
        batches = _batches(context, config.watch)
        if stage is Stage.INTEGRITY and not batches:
            batches = _look_and_claim(context, config.watch, carbonation)
        elif _is_executed_again(context):
            # The last op takes what failed through all it lacks, once.
            batches = []
        # Of several that were claimed here the others stay offers, which hold
        # without a lease, until the last op comes to them.
        reports = _bring_up(context, carbonation, batches[:1], stage)
        for line in decisions(reports, PASSED_BEFORE[stage]):
            context.log.info(line)
        if stage is Stage.INTEGRITY and reports:
            groups = sum(len(report.groups) for report in reports)
            delivered = carbonation.names.delivery_key(config.watch)
            yield dg.AssetMaterialization(delivered, metadata={"groups": groups})
        if _is_for_an_offer(context) and _is_one_group_that_failed(reports):
            # The step that is red is then the one in which it failed.
            done = list(_finish_all(context, carbonation, config.watch))
            yield from _events(context, config.watch, carbonation, done)
        yield dg.Output(None, metadata=stage_metadata(reports))

    return bring_up_to_stage


early_ops = tuple(_early_op(stage) for stage in EARLY)


@dg.op(
    name=Stage.ARCHIVE.value,
    ins={"before": dg.In(dg.Nothing)},
    out=dg.Out(dg.Nothing, is_required=False),
    description=DESCRIPTIONS[Stage.ARCHIVE],
)
def archive_op(
    context: dg.OpExecutionContext, config: WatchConfig, carbonation: dg.ResourceParam[Carbonation]
) -> Iterator[dg.Output[None] | dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """Says what came of the batch, then fails once for all groups that failed."""
    # What the early ops decided of the first batch they said themselves.
    begun = [] if _is_executed_again(context) else _batches(context, config.watch)[:1]
    reports = list(_finish_all(context, carbonation, config.watch))
    for report in reports:
        for line in decisions([report], ORDER[-2:] if report.batch_id in begun else (None, *ORDER)):
            context.log.info(line)
    yield from _events(context, config.watch, carbonation, reports)


def _is_one_group_that_failed(reports: Sequence[BatchReport]) -> bool:
    groups = [group for report in reports for group in report.groups]
    return len(groups) == 1 and groups[0].outcome in FAILED_OUTCOMES


def _events(
    context: dg.OpExecutionContext, watch: str, carbonation: Carbonation, reports: Sequence[BatchReport]
) -> Iterator[dg.Output[None] | dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """What came of these batches; raises the failure of the run if groups of it failed."""
    for report in reports:
        carbonation.told(report)
    now = carbonation.project.clock()
    summary = RunSummary(
        watch,
        batches=len(reports),
        groups=tuple(group for report in reports for group in report.groups),
        rules_digests=tuple(sorted({report.rules_digest for report in reports})),
        seconds=seconds_since_start(context.instance, context.run_id, now.timestamp()),
        now=now,
    )
    if not summary.groups:
        context.log.info(f"nothing to do for {watch}")
        return
    project, names = carbonation.project, carbonation.names
    yield from materialisations(summary, names, project.config)
    yield from evaluations(project, names, watch)
    yield from transfer_evaluations(project, names, summary)
    if summary.archived or not summary.failed:
        now_there = standing_metadata(*standing(project, watch))
        yield dg.Output(None, metadata={**metadata(summary), **now_there})
    if summary.failed or FAILED_TAG in context.run.tags:  # which it may have from the run that it repeats
        failed = sentence([plain(group.group_key) for group in summary.failed]) or "none"
        add_tags(context.instance, context.run_id, {FAILED_TAG: tag_value(failed)})
    if summary.failed:
        raise failure(summary)


def _bring_up(
    context: dg.OpExecutionContext, carbonation: Carbonation, batches: Sequence[str], stage: Stage
) -> list[BatchReport]:
    """Bring batches up to a stage; they stay in this run's hands for its next op."""
    reports: list[BatchReport] = []
    for batch_id in batches:
        if (context.run_id, batch_id) in carbonation.lost:
            continue
        with (
            _lost_is_said(context, carbonation, batch_id),
            work(carbonation.project_for(batch_id), batch_id, context.run_id, carbonation.stopping) as held,
        ):
            reports.append(held.advance(stage))
    return reports


def _finish_all(
    context: dg.OpExecutionContext, carbonation: Carbonation, watch: str
) -> Iterator[BatchReport]:
    """Bring all batches of the run to their end, and those that it can still claim; no group twice."""
    batches = _batches(context, watch)
    for batch_id in batches:
        yield from _finish(context, carbonation, batch_id)
    done = list(batches)
    while done and not _is_for_an_offer(context) and not carbonation.stopping():
        claimed = _claim(context, watch, carbonation, done)
        if not claimed:
            break
        for batch_id in claimed:
            yield from _finish(context, carbonation, batch_id)
        done += claimed


def _finish(context: dg.OpExecutionContext, carbonation: Carbonation, batch_id: str) -> Iterator[BatchReport]:
    """Bring a batch to its end. The report holds the groups that this run is answerable for."""
    again = _is_executed_again(context)
    if (context.run_id, batch_id) in carbonation.lost:
        return
    with (
        _lost_is_said(context, carbonation, batch_id),
        work(
            carbonation.project_for(batch_id), batch_id, context.run_id, carbonation.stopping, again
        ) as held,
    ):
        answerable = None if not again else {g.group_id for g in held.report().groups if g.outcome is None}
        held.advance(Stage.ARCHIVE)
        report = held.finish()
        if answerable is not None:
            groups = tuple(group for group in report.groups if group.group_id in answerable)
            report = replace(report, groups=groups)
        yield report


@contextmanager
def _lost_is_said(context: dg.OpExecutionContext, carbonation: Carbonation, batch_id: str) -> Iterator[None]:
    """A batch that is no longer ours is somebody else's to bring to an end; no op asks for it again."""
    try:
        yield
    except LostOwnership as lost:
        carbonation.lost.add((context.run_id, batch_id))
        context.log.info(f"left to others: {lost}")  # who gave it back has said why


def _batches(context: dg.OpExecutionContext, watch: str) -> list[str]:
    """The batches of this run: of the offer it was made for, or those that it claimed."""
    if _is_for_an_offer(context):
        return [context.run.tags[BATCH_TAG]]
    claimed = run_tags_now(context.instance, context.run_id).get(batch_tag_of(watch), "")
    return claimed.split(",") if claimed else []


def _look_and_claim(context: dg.OpExecutionContext, watch: str, carbonation: Carbonation) -> list[str]:
    """Process now: look, and take what is ready, without an offer."""
    seen = observe(carbonation.project, watch)
    batches = _claim(context, watch, carbonation, [])
    context.log.info(f"{counted(seen.files, 'file')} in delivery, {seen.unsettled} not yet settled")
    return batches


def _claim(
    context: dg.OpExecutionContext, watch: str, carbonation: Carbonation, before: Sequence[str]
) -> list[str]:
    if len(before) >= MOST_CLAIMED:
        return []
    try:
        project = carbonation.project_to_claim(watch)
        offers = claim(project, watch, instance_id(context.instance), tried=before)
    except Superseded as error:
        if not before:
            raise dg.Failure(str(error), allow_retries=False) from error
        context.log.info(str(error))
        return []
    batches = [offer.batch_id for offer in offers]
    if batches:
        service = {SERVICE_TAG: service_of(project.config)}
        taken = {batch_tag_of(watch): ",".join([*before, *batches])}
        add_tags(context.instance, context.run_id, {**service, **taken})
        context.log.info(f"took {counted(sum(offer.size for offer in offers), 'group')}")
    return batches


def _is_for_an_offer(context: dg.OpExecutionContext) -> bool:
    return BATCH_TAG in context.run.tags


def _is_executed_again(context: dg.OpExecutionContext) -> bool:
    return context.run.parent_run_id is not None
