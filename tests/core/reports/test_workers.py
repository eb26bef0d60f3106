"""Workers that take runs from a queue, on any host: who they are, and what is wrong without them."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from carbonation_core.db import service
from carbonation_core.db.clock import SharedClock
from carbonation_core.errors import QueryError
from carbonation_core.project import Project
from carbonation_core.reports import health, heartbeat, workers
from carbonation_core.reports.status import service_state, status
from tests import databases
from tests.site import Site, SiteMaker

pytestmark = databases.one


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """However full the disk of the tests is."""
    monkeypatch.setattr(health, "FULL", 0.0)


@contextmanager
def on_host(name: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (heartbeat, workers):
            patch.setattr(module, "host_name", lambda: name)
        yield


def begin(project: Project, host: str, slots: int = 2) -> None:
    with on_host(host):
        workers.begin(project, slots, ("dagster", host))


@databases.each
def test_runs_that_nobody_takes_from_their_queue_are_a_problem_and_its_way_out_is_told(site: Site) -> None:
    heartbeat.begin(site.project, heartbeat.SERVICE, {"uses_queue": True})
    site.tick()
    (problem,) = status(site.project).problems
    assert problem.startswith("no worker takes runs from the queue; start one on each host")
    begin(site.project, "two")
    assert status(site.project).problems == ()


def test_a_service_with_workers_of_its_own_needs_none_that_take_from_a_queue(site: Site) -> None:
    heartbeat.begin(site.project, heartbeat.SERVICE)
    site.tick()
    assert status(site.project).problems == ()


def test_one_silent_worker_of_two_is_a_warning_and_both_silent_a_problem(site: Site) -> None:
    heartbeat.begin(site.project, heartbeat.SERVICE, {"uses_queue": True})
    begin(site.project, "one")
    begin(site.project, "two")
    site.tick_clock(181)
    heartbeat.beat(site.project, heartbeat.SERVICE, {"uses_queue": True})
    with on_host("two"):
        workers.beat(site.project, 2, 1, ("dagster", "two"))
    site.tick()
    found = status(site.project)
    assert [(one.host, one.is_silent, one.busy) for one in found.workers] == [
        ("one", True, 0),
        ("two", False, 1),
    ]
    assert found.problems == ()
    assert found.warnings == (
        "the worker on host one: no heartbeat for 3 min; start it again: carbonation worker; "
        "if its host is gone for good: carbonation worker --forget one",
    )
    site.tick_clock(181)
    heartbeat.beat(site.project, heartbeat.SERVICE, {"uses_queue": True})
    site.tick()
    assert "no worker takes runs" in status(site.project).problems[0]


@databases.each
def test_of_workers_on_hosts_of_one_name_that_begin_together_one_begins(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "this_process", lambda part: f"{threading.current_thread().name}#{part}")
    together = threading.Barrier(4)

    def begins(number: int) -> bool:
        together.wait(30)
        try:
            workers.begin(site.project, number, ())
        except heartbeat.NameTakenError:
            return False
        return True

    with ThreadPoolExecutor(4, thread_name_prefix="elsewhere/1/1") as pool:
        begun = list(pool.map(begins, range(4)))
    assert begun.count(True) == 1
    assert [one.slots for one in workers.known(site.project)] == [begun.index(True)]


def test_a_worker_that_ended_in_good_order_is_listed_no_more(site: Site) -> None:
    begin(site.project, "one")
    with on_host("one"):
        assert workers.here(site.project)
        workers.end(site.project)
        assert workers.here(site.project) is None
    assert status(site.project).workers == ()


def test_a_worker_is_no_part_of_the_service_and_none_of_another_site(site: Site) -> None:
    heartbeat.begin(site.project, heartbeat.SERVICE)
    workers.begin(site.project, 1, ())
    state = service_state(site.project)
    assert state
    assert state["parts"].keys() == {"service"}  # type: ignore[attr-defined]  # it is a dictionary
    elsewhere = site.project.config.service.model_copy(update={"site": "south"})
    config = site.project.config.model_copy(update={"service": elsewhere})
    assert workers.known(replace(site.project, config=config)) == []


def test_a_head_that_begins_forgets_silent_workers(site: Site) -> None:
    begin(site.project, "one")
    site.tick_clock(100)
    begin(site.project, "two")
    site.tick_clock(100)
    heartbeat.begin(site.project, heartbeat.SERVICE)
    assert [one.host for one in workers.known(site.project)] == ["two"]


@databases.each
def test_a_worker_and_a_standby_that_have_been_silent_for_a_day_are_forgotten(site: Site) -> None:
    heartbeat.begin(site.project, heartbeat.SERVICE)
    begin(site.project, "one")
    with on_host("two"):
        heartbeat.begin(site.project, service.STANDBY)
    site.tick_clock(86_300)
    heartbeat.beat(site.project, heartbeat.SERVICE)
    assert [one.host for one in workers.known(site.project)] == ["one"]
    begin(site.project, "three")
    site.tick_clock(200)
    heartbeat.beat(site.project, heartbeat.SERVICE)
    found = status(site.project)
    assert [one.host for one in found.workers] == ["three"]
    assert [one.part for one in found.sites] == ["service"]


def test_a_worker_whose_host_is_gone_is_forgotten_when_somebody_says_so(site: Site) -> None:
    begin(site.project, "one")
    with pytest.raises(QueryError, match="the worker on host one was heard 0 s ago; SIGTERM ends it"):
        workers.forget(site.project, "one")
    site.tick_clock(181)
    with pytest.raises(QueryError, match='of a host two; known are those of: "one"'):
        workers.forget(site.project, "two")
    workers.forget(site.project, "one")
    assert workers.known(site.project) == []


def test_a_standby_that_is_silent_is_a_warning(site: Site) -> None:
    heartbeat.begin(site.project, heartbeat.SERVICE)
    with on_host("two"):
        heartbeat.begin(site.project, service.STANDBY)
    site.tick()
    assert status(site.project).warnings == ()
    site.tick_clock(3600)
    heartbeat.beat(site.project, heartbeat.SERVICE)
    site.tick()
    found = status(site.project)
    assert (found.problems, found.warnings) == (
        (),
        ("the standby on host two: no heartbeat for 60 min; start it again: carbonation run",),
    )


def test_there_are_as_many_runs_at_a_time_as_workers_that_are_heard_have_slots(make: SiteMaker) -> None:
    site = make()
    assert workers.slots(site.project) == site.project.config.service.slots
    begin(site.project, "one", slots=3)
    site.tick_clock(181)
    begin(site.project, "two", slots=7)
    assert workers.slots(site.project) == 7
    begin(site.project, "one", slots=3)
    assert workers.slots(site.project) == 10


def test_a_worker_that_drains_has_no_slots_for_runs_that_are_offered(make: SiteMaker) -> None:
    site = make(watch=CAMERA)
    begin(site.project, "one", slots=3)
    with on_host("two"):
        workers.beat(site.project, 4, 1, ("dagster", "two"), drains=True)
    assert [(one.host, one.drains) for one in workers.known(site.project)] == [("one", False), ("two", True)]
    assert workers.slots(site.project) == 3
    assert workers.slots_apart(site.project) == {frozenset({"incoming"}): 1}


TWO_SEE = 'hosts = ["two", "three"]'
CAMERA = {"hosts": '["two"]'}


def test_a_watch_whose_hosts_have_no_worker_is_a_problem(make: SiteMaker) -> None:
    site = make(watch=CAMERA)
    heartbeat.begin(site.project, heartbeat.SERVICE, {"uses_queue": True})
    begin(site.project, "one")
    site.tick()
    assert status(site.project).problems == (
        "watch incoming: no worker takes its runs; start one on host two: carbonation worker",
    )
    begin(site.project, "two")
    assert status(site.project).problems == ()


def test_a_watch_that_some_hosts_see_has_their_slots_and_one_where_there_is_none(make: SiteMaker) -> None:
    site = make(watch=CAMERA, more=f'[[watch]]\nname = "other"\npath = "other"\nrules = "pairs"\n{TWO_SEE}')
    begin(site.project, "one", slots=4)
    camera, both = frozenset({"incoming"}), frozenset({"incoming", "other"})
    assert workers.slots_apart(site.project) == {camera: 1, both: 1}
    begin(site.project, "two", slots=3)
    assert workers.slots_apart(site.project) == {camera: 3, both: 3}
    begin(site.project, "three", slots=2)
    assert workers.slots_apart(site.project) == {camera: 3, both: 5}
    assert workers.slots(site.project) == 9


def test_as_many_as_configured_go_before_what_workers_have(make: SiteMaker) -> None:
    site = make(service={"runs_at_once": "5"})
    begin(site.project, "one", slots=3)
    assert workers.slots(site.project) == 5


def test_another_configuration_and_another_clock_on_a_worker_are_warned_of(site: Site) -> None:
    heartbeat.begin(site.project, heartbeat.SERVICE)
    site.tick()
    other = site.project.config.model_copy(update={"archive": ()})
    ahead = SharedClock(lambda: site.now, lambda: site.now + timedelta(seconds=5))
    ahead()
    begin(replace(site.project, config=other, clock=ahead), "one")
    assert status(site.project).warnings == (
        "the worker on host one has another configuration than this host; copy config.toml there",
        "the worker on host one: its clock is 5.0 s ahead of the database's; is its time kept?",
    )
