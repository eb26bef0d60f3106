"""Where a host may not work for a service, and what a worker makes of a run that comes to it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from celery.exceptions import Reject
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import pack_value

from carbonation_core.errors import CarbonationError
from carbonation_core.process import this_process
from carbonation_core.project import release
from carbonation_core.reports import heartbeat, workers
from carbonation_dagster.environment import DAGSTER_HOME
from carbonation_dagster.service import queue_worker
from carbonation_dagster.service.queue_worker import QueueWorker
from tests import databases
from tests.dagster.instance.test_launcher import run_of
from tests.site import Site, SiteMaker

pytestmark = databases.one


@pytest.fixture
def north(make: SiteMaker) -> Site:
    return make(service={"site": '"north"'})


def refusal(site: Site) -> str:
    with pytest.raises(CarbonationError) as refused:
        queue_worker.require_fitting(site.project)
    return str(refused.value)


def test_a_host_that_the_service_can_be_told_by_may_work(north: Site) -> None:
    heartbeat.begin(north.project, heartbeat.SERVICE)
    queue_worker.require_fitting(north.project)


def test_a_site_without_a_name_would_be_another_one_on_each_host(site: Site) -> None:
    assert refusal(site).endswith('[service]: site: should be set, as "north", and be the same on each host')


def test_another_release_than_that_of_the_service_is_refused(
    north: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(heartbeat, "release", lambda: "9.0")
        heartbeat.begin(north.project, heartbeat.SERVICE)
    assert "is release 9.0, and this is" in refusal(north)
    north.tick_clock(1000)  # nobody knows what comes after one that is silent
    queue_worker.require_fitting(north.project)


def test_a_host_has_one_worker(north: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    workers.begin(north.project, 1, ())
    queue_worker.require_fitting(north.project)  # it is this process, which began anew
    with as_process("another", monkeypatch):
        assert refusal(north).startswith("a worker runs on this host already, with pid ")


@contextmanager
def as_process(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Speak as another process does, which cannot be seen from here."""
    with monkeypatch.context() as patch:
        for module in (heartbeat, workers):
            patch.setattr(module, "this_process", lambda part: f"{name}#{part}")
        yield


def test_a_second_worker_of_a_host_name_does_not_begin_while_the_first_one_speaks(
    north: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with as_process("elsewhere/1/1", monkeypatch):
        workers.begin(north.project, 2, ())

    def speaks(seconds: float) -> None:
        north.tick_clock(60)
        with as_process("elsewhere/1/1", monkeypatch):
            workers.beat(north.project, 2, 0, ())

    with pytest.raises(CarbonationError, match=r"lives on a host that is called .*, too; give each"):
        queue_worker.wait_for_name(north.project, speaks)


def test_a_container_that_was_made_anew_waits_until_its_predecessor_is_silent(
    north: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with as_process("elsewhere/1/1", monkeypatch):
        workers.begin(north.project, 2, ())
    begun = north.now
    queue_worker.wait_for_name(north.project, north.tick_clock)
    assert 120 <= (north.now - begun).total_seconds() <= 123
    assert "this one begins when that one has said nothing for 2m" in caplog.text
    workers.begin(north.project, 2, ())


def test_a_worker_that_drains_is_waited_for_by_the_next_one_of_its_name(
    north: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with as_process("elsewhere/1/1", monkeypatch):
        workers.begin(north.project, 2, ())
    waited = []

    def drains(seconds: float) -> None:
        waited.append(seconds)
        north.tick_clock(60)
        with as_process("elsewhere/1/1", monkeypatch):
            workers.beat(north.project, 2, 1, (), drains=True)
            if len(waited) == 9:
                workers.end(north.project)

    queue_worker.wait_for_name(north.project, drains)
    assert len(waited) == 9


def test_a_worker_that_surely_ended_is_not_waited_for(north: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = this_process("").partition("#")[0] + "0"  # of this pid, but of another start
    with as_process(ended, monkeypatch):
        workers.begin(north.project, 2, ())
    queue_worker.require_fitting(north.project)
    queue_worker.wait_for_name(north.project, lambda seconds: pytest.fail("it waits"))


def test_a_worker_whose_name_another_one_took_says_nothing_more_and_leaves_its_row(
    north: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with as_process("elsewhere/1/1", monkeypatch):
        workers.begin(north.project, 2, ())
        north.tick_clock(121)  # cut off, for example
    workers.begin(north.project, 3, ())
    with as_process("elsewhere/1/1", monkeypatch):
        with pytest.raises(CarbonationError, match="and was heard 0 s ago; give each host a name of its own"):
            workers.beat(north.project, 2, 1, ())
        workers.end(north.project)
    assert [one.slots for one in workers.known(north.project)] == [3]


def test_a_dagster_whose_runs_go_into_no_queue_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
    monkeypatch.setenv(DAGSTER_HOME, str(tmp_path))
    with pytest.raises(CarbonationError, match="has the run launcher DefaultRunLauncher, which puts no runs"):
        queue_worker._launcher()


def test_a_run_that_comes_a_second_time_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
    monkeypatch.setenv(DAGSTER_HOME, str(tmp_path))
    with dg.DagsterInstance.get() as instance:
        run = run_of("module").with_status(dg.DagsterRunStatus.STARTED)
        instance.add_run(run)
        origin = run.job_code_origin
        assert origin
        args = ExecuteRunArgs(origin, run.run_id, instance.get_ref())
        queue_worker._taken(execute_job_args_packed=pack_value(args))
        assert [record.dagster_run.tags for record in instance.get_run_records()] == [{}]


def test_a_worker_takes_what_any_host_may_have_and_what_leads_to_its_own(
    make: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make(watch={"hosts": '["one", "two"]'}, archive={"hosts": '["two", "one", "x"]'})
    found = {}
    for host in ("one", "x"):
        monkeypatch.setattr(queue_worker, "host_name", lambda name=host: name)
        found[host] = queue_worker.queues_of(site.project)
    assert found == {"one": ("dagster", "one", "one+two"), "x": ("dagster", "x")}


def test_a_run_that_cannot_be_begun_goes_back_into_its_queue(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(run_id: str) -> None:
        raise OSError("the database is away")

    monkeypatch.setattr(queue_worker, "_execute", fail)
    monkeypatch.setattr(queue_worker, "PAUSE", 0.0)
    monkeypatch.setattr(queue_worker, "_run_of", lambda packed: "one")
    with pytest.raises(Reject) as rejected:
        queue_worker._taken()
    assert rejected.value.requeue
    assert "run one goes back into its queue: OSError: the database is away" in caplog.text


@pytest.fixture
def hups(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Signals that this process was sent."""
    found: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, frame: found.append(number))
    yield found
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("installed", "begins_anew"), [(release(), False), ("9.9", True), (None, False)])
def test_a_worker_under_which_another_release_is_installed_begins_anew(
    north: Site, monkeypatch: pytest.MonkeyPatch, hups: list[int], installed: str | None, begins_anew: bool
) -> None:
    monkeypatch.setattr(queue_worker, "installed_release", lambda: installed)
    worker = object.__new__(QueueWorker)  # without Celery's
    worker._project, worker._queues = north.project, queue_worker.queues_of(north.project)
    worker.begins_anew = False
    worker._look_for_changes()
    assert bool(hups) is begins_anew
