"""The checks of a watch: how its delivery and its catalog stand, whichever run brought them there.

Each run reports them at its end, and they can be run alone. Some of them time
alone can break, while nothing runs; a sensor evaluates these.

Dagster's own FreshnessPolicy is not used: it looks at materialisations, and an
asset here is materialised when groups were archived. A retry of old files would
look fresh, and a feed that delivers what is rejected or stays incomplete, late.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from carbonation_core.config.loading import dagster_name
from carbonation_core.config.sections import Watch
from carbonation_core.lifecycle import FAILING, FileStatus
from carbonation_core.project import Project
from carbonation_core.reports.arrivals import Arrival, Kept, needing_notice, strips
from carbonation_core.reports.drawing import small_strips
from carbonation_core.reports.status import feed_health
from carbonation_core.reports.stuck import stuck
from carbonation_core.reports.waiting import Waiter, overlong
from carbonation_core.text import format_duration, shown
from carbonation_dagster.defs.messages import LONGEST_TABLE, image, sentence, stuck_table, stuck_with_reasons
from carbonation_dagster.defs.naming import (
    ARRIVALS_CHECK,
    COMPLETENESS_CHECK,
    FAILED_GROUPS_CHECK,
    FRESHNESS_CHECK,
    INTEGRITY_CHECK,
    Names,
    plain,
)
from carbonation_dagster.defs.resources import Carbonation


@dataclass(frozen=True)
class Verdict:
    """How a check comes out. When `about` changes, another evaluation is worth recording."""

    passed: bool
    description: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    about: tuple[str, ...] = ()
    severity: dg.AssetCheckSeverity | None = None  # None: that of its check


@dataclass(frozen=True)
class Check:
    """A check of a watch; `by_time` says that it can fail though nothing happens."""

    name: str
    says: str
    key: Callable[[Names, str], dg.AssetKey]
    severity: dg.AssetCheckSeverity
    judge: Callable[[Project, Watch], Verdict]
    by_time: bool = False

    def verdict(self, project: Project, watch: Watch) -> Verdict:
        """How it comes out now."""
        return self.judge(project, watch)

    def result(self, names: Names, watch: Watch, verdict: Verdict) -> Mapping[str, Any]:
        """A verdict in the words that Dagster's results and evaluations share."""
        return {
            "asset_key": self.key(names, watch.name),
            "check_name": self.name,
            "passed": verdict.passed,
            "severity": verdict.severity or self.severity,
            "description": verdict.description,
            "metadata": verdict.metadata,
        }


def checks_of(watch: Watch) -> list[Check]:
    """The checks of a watch; one that expects no files cannot be late."""
    senseless = {FRESHNESS_CHECK: watch.expect_every is None, ARRIVALS_CHECK: not watch.expect}
    return [check for check in CHECKS if not senseless.get(check.name, False)]


def watch_checks(watch: Watch, names: Names) -> dg.AssetChecksDefinition:
    """The checks of a watch, to be run alone."""
    specs = [
        dg.AssetCheckSpec(check.name, asset=check.key(names, watch.name), description=check.says)
        for check in checks_of(watch)
    ]

    @dg.multi_asset_check(
        name=names.named(f"checks_of_{dagster_name(watch.name)}"), specs=specs, can_subset=True
    )
    def ask(
        context: dg.AssetCheckExecutionContext, carbonation: dg.ResourceParam[Carbonation]
    ) -> Iterator[dg.AssetCheckResult]:
        asked = {key.name for key in context.selected_asset_check_keys}
        for check in checks_of(watch):
            if check.name in asked:
                verdict = check.verdict(carbonation.project, watch)
                yield dg.AssetCheckResult(**check.result(names, watch, verdict))

    return ask


def evaluations(project: Project, names: Names, watch_name: str) -> Iterator[dg.AssetCheckEvaluation]:
    """How all checks come out now, as a run reports it."""
    watch = project.config.watch_named(watch_name)
    for check in checks_of(watch):
        yield dg.AssetCheckEvaluation(**check.result(names, watch, check.verdict(project, watch)))


def _nothing_is(*statuses: FileStatus) -> Callable[[Project, Watch], Verdict]:
    """Passes when nothing that lies in delivery has one of these statuses."""

    def judge(project: Project, watch: Watch) -> Verdict:
        found = stuck(project, watch.name, statuses)
        return Verdict(
            not found,
            stuck_with_reasons(found) or None,
            {
                "groups": dg.MetadataValue.int(len(found)),
                "files": dg.MetadataValue.int(sum(len(one.files) for one in found)),
                **({"table": stuck_table(found)} if found else {}),
            },
        )

    return judge


def _nothing_waits_too_long(project: Project, watch: Watch) -> Verdict:
    found = overlong(project, [watch.name])
    waiting = [f"{plain(one.name)} {plain(one.waits_for)}" for one in found.waiters]
    return Verdict(
        not found.waiters,
        sentence(waiting, found.number) or None,
        {
            "groups": dg.MetadataValue.int(found.number),
            **({"table": waiting_table(found.waiters)} if found.waiters else {}),
        },
        tuple(f"{one.name} {one.is_overdue} {one.is_stale}" for one in found.waiters),
    )


def _is_not_silent(project: Project, watch: Watch) -> Verdict:
    feed = feed_health(project, watch.name)
    last = f"nothing new since {shown(feed.last_new)}" if feed.last_new else "nothing ever came"
    every = format_duration(watch.expect_every) if watch.expect_every else ""
    return Verdict(
        not feed.is_late,
        f"{last}; expected every {every}" if feed.is_late else None,
        {
            "last new file": dg.MetadataValue.text(shown(feed.last_new) if feed.last_new else "never"),
            "expected every": dg.MetadataValue.text(every),
        },
    )


def _what_is_expected_came(project: Project, watch: Watch) -> Verdict:
    amiss = needing_notice(project, watch.name)
    days = strips(project, watch.name)
    named = [
        f"{plain(one.group_key or one.expectation or '')}, expected at {shown(one.expected_at)}, "
        f"is {one.state}"
        for one in amiss
        if one.expected_at
    ]
    grave = {expect.label for expect in watch.expect if expect.severity == "error"}
    return Verdict(
        not amiss,
        sentence(named, len(named)) or None,
        {
            **{
                str(kept): dg.MetadataValue.int(sum(strip.counts.get(kept, 0) for strip in days))
                for kept in (Kept.IN_TIME, Kept.LATE, Kept.INCOMPLETE, Kept.MISSED, Kept.EXCUSED)
            },
            **({"last 30 days": image("arrivals by day", small_strips(days))} if days else {}),
            **({"table": _arrivals_table(amiss)} if amiss else {}),
        },
        tuple(f"{one.expectation} {one.expected_at} {one.state}" for one in amiss),
        dg.AssetCheckSeverity.ERROR if any(one.expectation in grave for one in amiss) else None,
    )


def _arrivals_table(rows: Collection[Arrival]) -> dg.TableMetadataValue:
    columns = ("expected at", "group", "state", "expectation")
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord(
                {
                    "expected at": shown(one.expected_at) if one.expected_at else "",
                    "group": plain(one.group_key or ""),
                    "state": str(one.state),
                    "expectation": plain(one.expectation or ""),
                }
            )
            for one in list(rows)[-LONGEST_TABLE:]
        ],
        schema=dg.TableSchema([dg.TableColumn(name, "string") for name in columns]),
    )


CHECKS = (
    Check(
        INTEGRITY_CHECK,
        "No file in delivery failed a check of its rule set. One that did is judged again when it is "
        "delivered anew, when the rules change, or by the job `retry`.",
        Names.catalog_key,
        dg.AssetCheckSeverity.WARN,
        _nothing_is(FileStatus.INTEGRITY_FAILED),
    ),
    Check(
        FAILED_GROUPS_CHECK,
        "No group in delivery has failed: none waits for another attempt, and none has used up all of "
        "them. When the cause is gone, re-execute the group's run from failure, or launch the job `retry`.",
        Names.catalog_key,
        dg.AssetCheckSeverity.ERROR,
        _nothing_is(*FAILING),
    ),
    Check(
        COMPLETENESS_CHECK,
        "No group waits for its other files longer than its rule set allows, or for anything longer than "
        "stale_threshold.",
        Names.catalog_key,
        dg.AssetCheckSeverity.WARN,
        _nothing_waits_too_long,
        by_time=True,
    ),
    Check(
        FRESHNESS_CHECK,
        "Something new was delivered within the watch's expect_every.",
        Names.delivery_key,
        dg.AssetCheckSeverity.WARN,
        _is_not_silent,
        by_time=True,
    ),
    Check(
        ARRIVALS_CHECK,
        "Nothing that the watch expects is late or incomplete, and nothing of the last day is missed. What "
        "need not come is excused by `carbonation arrivals excuse`.",
        Names.delivery_key,
        dg.AssetCheckSeverity.WARN,
        _what_is_expected_came,
        by_time=True,
    ),
)


def waiting_table(waiters: Collection[Waiter]) -> dg.TableMetadataValue:
    """Who waits, since when, until when and what for, cut to a length that can be stored."""
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord(
                {
                    "group": plain(one.name),
                    "waits since": shown(one.since),
                    "until": shown(one.until) if one.until else "",
                    "what for": plain(one.waits_for),
                }
            )
            for one in list(waiters)[:LONGEST_TABLE]
        ],
        schema=dg.TableSchema(
            [dg.TableColumn(name, "string") for name in ("group", "waits since", "until", "what for")]
        ),
    )
