"""Runs in a queue of Celery: what the launcher puts there, how one ends, and whether its worker lives."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.launcher.base import LaunchRunContext, WorkerStatus
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG, DAGSTER_CELERY_TASK_ID_TAG

from carbonation_core.config.loading import ENVIRONMENT_VARIABLE
from carbonation_core.db.clock import utc_now
from carbonation_core.process import this_process
from carbonation_core.reports import workers
from carbonation_dagster.instance import celery
from carbonation_dagster.instance.celery import TAKEN_TAG, QueueRunLauncher
from carbonation_dagster.instance.launcher import HOST_TAG
from carbonation_dagster.service.processes import has_queue_launcher
from tests import databases
from tests.dagster.instance.test_launcher import run_of
from tests.site import Site, SiteMaker

pytestmark = databases.one


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    home = tmp_path / "home"
    home.mkdir()
    launcher = {
        "module": celery.__name__,
        "class": QueueRunLauncher.__name__,
        "config": {"broker": "memory://"},
    }
    settings = {"run_launcher": launcher, "telemetry": {"enabled": False}}
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    with dg.DagsterInstance.from_config(str(home)) as made:
        yield made


def stored(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    instance.add_run(run.with_status(dg.DagsterRunStatus.STARTING))
    return run


def waiting(instance: dg.DagsterInstance, queue: str) -> int:
    launcher = instance.run_launcher
    assert isinstance(launcher, QueueRunLauncher)
    with launcher.celery.connection() as connection:
        return int(connection.default_channel._size(queue))


def test_the_service_knows_that_runs_go_into_a_queue(instance: dg.DagsterInstance) -> None:
    assert has_queue_launcher(instance)


def test_a_run_goes_into_the_shared_queue_or_into_that_of_its_tag(instance: dg.DagsterInstance) -> None:
    shared, own = run_of("module"), run_of("module", **{DAGSTER_CELERY_QUEUE_TAG: "two"})
    for run in (shared, own):
        instance.run_launcher.launch_run(LaunchRunContext(stored(instance, run), workspace=None))
    assert (waiting(instance, "dagster"), waiting(instance, "two")) == (1, 1)


def test_a_run_that_is_cancelled_before_a_worker_takes_it_ends_at_once(instance: dg.DagsterInstance) -> None:
    run = stored(instance, run_of("module"))
    instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
    assert instance.run_launcher.terminate(run.run_id)
    ended = instance.get_run_by_id(run.run_id)
    assert ended
    assert ended.status is dg.DagsterRunStatus.CANCELED


def test_a_run_that_was_taken_is_left_to_its_worker_to_end(instance: dg.DagsterInstance) -> None:
    run = stored(instance, run_of("module", **{TAKEN_TAG: "somebody"}))
    instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
    assert instance.run_launcher.terminate(run.run_id)
    ending = instance.get_run_by_id(run.run_id)
    assert ending
    assert ending.status is dg.DagsterRunStatus.CANCELING


def test_what_was_never_launched_cannot_be_ended(instance: dg.DagsterInstance) -> None:
    assert not instance.run_launcher.terminate(stored(instance, run_of("module")).run_id)
    assert not instance.run_launcher.terminate("unknown")


def test_a_run_lives_as_long_as_the_worker_that_took_it_is_heard_of(
    instance: dg.DagsterInstance, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(site.directory / "config.toml"))
    site.now = utc_now()
    workers.begin(site.project, 1, ())
    ours, other = this_process("worker"), this_process("worker").replace("/", "/1", 1)
    health = [
        instance.run_launcher.check_run_worker_health(run_of("module", **tags))
        for tags in ({}, {TAKEN_TAG: ours}, {TAKEN_TAG: other, HOST_TAG: "two"})
    ]
    assert [one.status for one in health] == [
        WorkerStatus.RUNNING,
        WorkerStatus.RUNNING,
        WorkerStatus.FAILED,
    ]
    assert health[-1].msg == "the worker of host two is gone, and the run with it"


LONGEST = timedelta(minutes=3)


@pytest.fixture
def queue(instance: dg.DagsterInstance, make: SiteMaker, monkeypatch: pytest.MonkeyPatch) -> "Queue":
    site = make(service={"site": '"north"'})
    launcher = instance.run_launcher
    assert isinstance(launcher, QueueRunLauncher)
    monkeypatch.setattr(
        QueueRunLauncher, "_known", lambda self: (workers.known(site.project), site.project.clock())
    )
    return Queue(site, launcher)


@dataclass
class Queue:
    """The runs of a site, and its worker, which is asked for every half minute."""

    site: Site
    launcher: QueueRunLauncher
    run: dg.DagsterRun = field(default_factory=lambda: run_of("module"))

    def passes(self, seconds: int, busy: int | None, *, drains: bool = False) -> str | None:
        """What is said of the run then; the worker with 1 slot says that so many are `busy`, or nothing."""
        said = None
        for _ in range(0, seconds, 30):
            self.site.tick_clock(30)
            if busy is not None:
                workers.beat(self.site.project, 1, busy, ("dagster",), drains=drains)
            said = self.launcher.why_lost(self.run, LONGEST)
        return said


def test_a_run_waits_in_its_queue_for_as_long_as_the_workers_there_are_busy(queue: Queue) -> None:
    assert queue.passes(7200, busy=1) is None
    assert queue.passes(30, busy=0) is None
    assert queue.passes(600, busy=1) is None
    assert queue.passes(600, busy=0, drains=True) is None


def test_a_run_that_no_free_worker_takes_is_lost_after_a_minute(queue: Queue) -> None:
    assert queue.passes(60, busy=0) is None
    says = "queue dagster did not bring it to a worker that had a free slot for a minute"
    assert queue.passes(30, busy=0) == says


def test_the_last_word_of_a_worker_that_died_says_nothing_of_the_queue(queue: Queue) -> None:
    workers.begin(queue.site.project, 1, ("dagster",))
    assert queue.passes(120, busy=None) is None
    assert queue.passes(3600, busy=None) is None  # silent: it may be started anew
    assert queue.passes(90, busy=None) == "no worker takes runs from queue dagster"


def test_a_run_waits_for_the_workers_of_its_own_queue(queue: Queue) -> None:
    queue.run = run_of("module", **{DAGSTER_CELERY_QUEUE_TAG: "two"})
    assert queue.passes(3600, busy=0) is None
    assert queue.passes(30, busy=0) == "no worker takes runs from queue two"


def test_a_run_whose_worker_died_before_it_began_is_lost_at_once(queue: Queue) -> None:
    queue.run = run_of("module", **{TAKEN_TAG: "another/1/1#worker", HOST_TAG: "two"})
    assert queue.passes(30, busy=1) == "the worker of host two is gone, and the run with it"


def test_a_run_that_was_taken_and_does_not_begin_is_lost_after_the_configured_time(queue: Queue) -> None:
    queue.run = run_of("module", **{TAKEN_TAG: this_process("worker"), HOST_TAG: "two"})
    assert queue.passes(180, busy=1) is None
    assert queue.passes(30, busy=1) == "host two took it, and does not begin"


def test_of_a_run_that_failed_nothing_is_asked_that_nobody_keeps(instance: dg.DagsterInstance) -> None:
    run = run_of("module", **{DAGSTER_CELERY_TASK_ID_TAG: "task"})
    assert instance.run_launcher.get_run_worker_debug_info(run) is None


def test_a_database_that_does_not_answer_says_nothing_against_a_run(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "nowhere.toml"))
    run = run_of("module", **{TAKEN_TAG: "somebody"})
    launcher = instance.run_launcher
    assert isinstance(launcher, QueueRunLauncher)
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    assert launcher.why_lost(run, timedelta(0)) is None
