"""`run --once`: one pass over all watches, recorded in Dagster.

A pass that finds nothing to do never imports Dagster, which takes longer than
all that it does.
"""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carbonation_core.config.sections import Watch
from carbonation_core.delivery.observe import Observation, observe
from carbonation_core.errors import ScanError
from carbonation_core.lifecycle import FAILED_OUTCOMES
from carbonation_core.pipeline.batch_report import BatchReport, GroupReport
from carbonation_core.pipeline.claim import open_batches
from carbonation_core.pipeline.work import Outcome
from carbonation_core.project import Progress, Project, rules_in_force, rules_on_disk
from carbonation_core.reports import heartbeat, waiting
from carbonation_core.reports.heartbeat import Pulse

if TYPE_CHECKING:
    from carbonation_dagster.pass_runs import PassRuns

LOOKS = 3  # at most: the first, one at what it saw and has settled, one at what changed till then
READY = (
    "groups done"  # what a pass tells of its progress, of those that are ready; how each ends is in the log
)
SLACK = 0.05  # seconds that a look is late; the file system's clock is coarse


@dataclass
class Pass:
    """What a pass did, and what kept it from doing more."""

    reports: list[BatchReport] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    unsettled: int = 0
    waiting: list[str] = field(default_factory=list)  # what waits for what, where nothing was ready

    def groups(self, *outcomes: Outcome) -> list[GroupReport]:
        """The groups that ended so in this pass."""
        return [group for report in self.reports for group in report.with_outcome(*outcomes)]

    @property
    def failed(self) -> list[GroupReport]:
        """Groups whose attempt failed in this pass."""
        return self.groups(*FAILED_OUTCOMES)

    @property
    def exit_code(self) -> int:
        """1 for an error of our own, 3 when an attempt failed, else 0."""
        if self.errors:
            return 1
        return 3 if self.failed else 0


def run_pass(
    project: Project,
    sleep: Callable[[float], None] = time.sleep,
    progress: Progress = lambda what, done, of: None,
) -> Pass:
    """Look, wait till what was seen has settled, look again, and do all that is ready.

    What lies unfinished from processes that died is given back first. A watch
    that cannot be looked at stops no other, and a storage of Dagster that cannot
    be used stops nothing. After a `KeyboardInterrupt` it gives back what it holds.
    Raises `ConfigError` when rules.toml is refused: then nothing is done.
    """
    rules_in_force(project)  # which remembers what it refuses, so that `status` has it
    rules_on_disk(project)
    done = Pass()
    is_left_over = _is_left_over(project)
    with _heartbeat(project, done) as pulse:
        try:
            _do(project, done, sleep, is_left_over, progress, pulse)
            if not done.reports:
                done.waiting = waiting.summary(project, [watch.name for watch in project.config.watch])
        except KeyboardInterrupt:
            done.errors.append("stopped by a signal before its end; the next pass takes what is left")
    return done


def _do(
    project: Project,
    done: Pass,
    sleep: Callable[[float], None],
    is_left_over: bool,
    progress: Progress,
    pulse: Pulse,
) -> None:
    with ExitStack() as stack:
        runs = _runs(project, done, stack, pulse) if is_left_over else None
        if runs is not None:
            runs.recover()
        looked_at = _look_until_settled(project, done, sleep, progress, pulse)
        ready = sum(look.ready for _, look in looked_at)
        progress(READY, 0, ready)
        looked = project.clock()
        if runs is None and ready:
            runs = _runs(project, done, stack, pulse)
        if runs is not None:
            runs.work([watch for watch, _ in looked_at], looked, ready)


def _is_left_over(project: Project) -> bool:
    """Whether something may have been left unfinished: a batch, or a pass that was killed."""
    return not heartbeat.has_ended(project, heartbeat.PASS) or any(
        open_batches(project, watch.name) for watch in project.config.watch
    )


def _runs(project: Project, done: Pass, stack: ExitStack, pulse: Pulse) -> "PassRuns":
    from carbonation_dagster.pass_runs import pass_runs

    return stack.enter_context(pass_runs(project, done.reports, done.errors, pulse))


@contextmanager
def _heartbeat(project: Project, done: Pass) -> Iterator[Pulse]:
    """Say in the database that a pass begins, and how it ended."""
    heartbeat.begin(project, heartbeat.PASS)
    try:
        yield Pulse(project, heartbeat.PASS)
    except BaseException as error:
        heartbeat.end(project, heartbeat.PASS, [*done.errors, f"broke off: {type(error).__name__}: {error}"])
        raise
    heartbeat.end(project, heartbeat.PASS, done.errors)


def _look_until_settled(
    project: Project, done: Pass, sleep: Callable[[float], None], progress: Progress, pulse: Pulse
) -> list[tuple[Watch, Observation]]:
    """The watches that could be looked at, and their last looks."""
    watches = {watch.name: watch for watch in project.config.watch}
    seen = {name: look for name in watches if (look := _look(project, name, done)) is not None}
    for _ in range(LOOKS - 1):
        _tell_settled(seen.values(), progress)
        waits = {name: look.all_settled_in for name, look in seen.items() if look.all_settled_in is not None}
        if not waits:
            break
        _sleep(pulse, sleep, max(waits.values()).total_seconds() + SLACK)
        for name in waits:
            look = _look(project, name, done)
            if look is None:
                del seen[name]
            else:
                seen[name] = look
    _tell_settled(seen.values(), progress)
    done.unsettled = sum(look.unsettled for look in seen.values())
    return [(watches[name], look) for name, look in seen.items()]


def _sleep(pulse: Pulse, sleep: Callable[[float], None], seconds: float) -> None:
    while seconds > pulse.interval:
        sleep(pulse.interval)
        pulse.beat_when_due()
        seconds -= pulse.interval
    sleep(seconds)


def _tell_settled(seen: Collection[Observation], progress: Progress) -> None:
    files = sum(look.files for look in seen)
    progress("files settled", files - sum(look.unsettled for look in seen), files)


def _look(project: Project, watch_name: str, done: Pass) -> Observation | None:
    try:
        return observe(project, watch_name)
    except ScanError as error:
        done.errors.append(str(error))
        return None
