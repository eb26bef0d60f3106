"""What a monitoring system is told agrees with the database, to the group."""

import shutil
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from carbonation_core.api import Database
from carbonation_core.db import batches, tallies, watches
from carbonation_core.db import service as states
from carbonation_core.db.engine import reading, writing
from carbonation_core.db.locks import lock_watch
from carbonation_core.db.models import ArchiveCopy, BatchGroup
from carbonation_core.db.watches import Owner
from carbonation_core.disk.mark import Directory
from carbonation_core.disk.probe import probe
from carbonation_core.lifecycle import GivenBack
from carbonation_core.pipeline.claim import give_back
from carbonation_core.pipeline.work import Stage, work
from carbonation_core.process import host_name
from carbonation_core.project import Project
from carbonation_core.purge import purge_history
from carbonation_core.reports import heartbeat, metrics
from carbonation_core.reports.metrics import Spread
from carbonation_core.reports.status import status
from tests import databases
from tests.site import PAIRS, Site, SiteMaker, touch

pytestmark = databases.one
BROKEN = PAIRS + '[pairs.metadata]\nextract = "broken"\n'
Told = dict[tuple[str, ...], Any]


def told(site: Site, *, some: bool = True) -> Told:
    """What is told, by metric and labels; without zeros, unless all is asked for."""
    samples = metrics.stored(site.project)
    found = {(one.metric.name.removeprefix("carbonation_"), *one.labels): one.value for one in samples}
    assert len(found) == len(samples)
    return {key: value for key, value in found.items() if value or not some}


def of(found: Told, name: str) -> dict[Any, Any]:
    return {key[1:] if len(key) > 2 else key[-1]: value for key, value in found.items() if key[0] == name}


def outcomes(site: Site) -> dict[tuple[str, str], int]:
    query = select(BatchGroup.outcome, func.count()).group_by(BatchGroup.outcome)
    with reading(site.project.engine) as connection:
        return {("incoming", str(outcome)): number for outcome, number in connection.execute(query)}


@databases.each
def test_groups_files_bytes_and_seconds_are_those_of_the_rows(make: SiteMaker) -> None:
    site = make(BROKEN, service={"max_retries": "0"})
    for number in range(5):
        site.deliver(f"run{number}.dat", f"run{number}.json")
    site.deliver("bad.dat", "bad.json", content=b"broken")
    site.one_pass()
    touch(site.incoming / "run1.dat", b"other, longer bytes")
    touch(site.incoming / "run2.dat", b"bytes")
    site.tick()
    site.tick(20)
    site.run_all()
    found = told(site)
    assert of(found, "groups_total") == outcomes(site)
    assert Counter(outcomes(site)) == {
        ("incoming", "archived"): 6,
        ("incoming", "failed"): 1,
        ("incoming", "unchanged"): 1,
    }
    sizes = select(func.count(), func.sum(ArchiveCopy.size_bytes))
    with reading(site.project.engine) as connection:
        files, size = connection.execute(sizes).one()
    assert found["archived_files_total", "incoming"] == files == 11
    assert found["archived_bytes_total", "incoming"] == size
    took = found["delivery_to_archive_seconds", "incoming"]
    assert isinstance(took, Spread)
    assert dict(took.buckets)["1.0"] == 0
    assert [dict(took.buckets)[bound] for bound in ("5.0", "10.0", "30.0", "+Inf")] == [5, 5, 6, 6]
    assert took.sum == pytest.approx(5 * 3 + 20)
    assert of(found, "files") == {("incoming", "archived"): 10, ("incoming", "failed"): 2}


def test_what_was_counted_stays_when_history_is_forgotten(make: SiteMaker) -> None:
    site = make(PAIRS)
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    before = told(site)
    site.tick_clock(366 * 86_400)
    assert purge_history(site.project).batches == 1
    assert outcomes(site) == {}
    for name in ("groups_total", "archived_files_total", "delivery_to_archive_seconds"):
        assert of(told(site), name) == of(before, name) != {}


def test_what_is_given_back_has_its_reason(make: SiteMaker) -> None:
    site = make(PAIRS)
    site.deliver("run1.dat", "run1.json", "run2.dat", "run2.json")
    site.settle()
    first, second = site.claim()
    give_back(site.project, first.batch_id, "its process was killed", GivenBack.DIED)
    give_back(site.project, second.batch_id, "no run came for it", GivenBack.NO_RUN)
    found = told(site)
    assert of(found, "groups_given_back_total") == {("incoming", "died"): 1, ("incoming", "no_run"): 1}
    assert of(found, "groups_total") == {("incoming", "given_back"): 2}


def test_runs_are_told_by_how_they_ended_and_their_host(
    make: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make(PAIRS)
    for number in range(3):
        site.deliver(f"run{number}.dat", f"run{number}.json")
    site.settle()
    first, second, third = site.claim()
    monkeypatch.setattr(batches, "host_name", lambda: "far.example.org")
    with work(site.project, first.batch_id, "run-1") as job:
        job.advance(Stage.ARCHIVE)
        job.finish()
    with pytest.raises(ZeroDivisionError), work(site.project, second.batch_id, "run-2"):
        raise ZeroDivisionError
    give_back(site.project, third.batch_id, "no run came for it", GivenBack.NO_RUN)
    assert of(told(site), "runs_total") == {
        ("incoming", "far.example.org", "done"): 1,
        ("incoming", "far.example.org", "died"): 1,
    }


@databases.each
def test_waits_for_a_lock_are_told_by_the_watch_that_it_is_of(site: Site) -> None:
    is_held, wait_begins = threading.Event(), threading.Event()

    def hold() -> None:
        with writing(site.project.engine) as connection:
            lock_watch(connection, "incoming")
            is_held.set()
            wait_begins.wait()
            time.sleep(0.2)  # what is measured

    with ThreadPoolExecutor(1) as other:
        held = other.submit(hold)
        is_held.wait()
        wait_begins.set()
        with writing(site.project.engine) as connection:
            lock_watch(connection, "incoming")
        held.result()
    whose = ("", "database") if site.project.engine.dialect.name == "sqlite" else ("incoming", "watch")
    ((found, seconds),) = of(told(site), "lock_wait_seconds_total").items()
    assert found == whose
    assert 0.1 <= seconds < 60
    with reading(site.project.engine) as connection:
        assert tallies.watch_names(connection) <= {"incoming"}


@databases.each
def test_open_groups_are_told_by_what_they_wait_for(make: SiteMaker) -> None:
    site = make(BROKEN, service={"retry_delay": '"1h"'})
    site.deliver("bad.dat", "bad.json", content=b"broken")
    site.one_pass()
    site.deliver("whole.dat", "whole.json", "half.dat")
    site.settle()
    site.claim()
    site.tick_clock(10)
    site.deliver("new.dat", "new.json")
    site.settle()
    found = told(site)
    assert of(found, "open_groups") == {
        ("incoming", what): 1 for what in ("members", "attempt", "run", "end")
    }
    assert found["oldest_open_group_seconds", "incoming"] == pytest.approx(16, abs=1)
    assert of(found, "batches") == {("incoming", "offered", ""): 1}
    assert found["delivered_files", "incoming"] == 7


def test_an_idle_watch_has_all_its_numbers_as_zeros(make: SiteMaker) -> None:
    site = make(PAIRS)
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    found = told(site, some=False)
    assert found["groups_total", "incoming", "failed"] == 0
    assert found["groups_given_back_total", "incoming", "died"] == 0
    assert found["open_groups", "incoming", "members"] == 0
    assert found["oldest_open_group_seconds", "incoming"] == 0
    assert found["watch_fault", "incoming"] == 0


def test_looks_say_what_came_and_what_does_not(make: SiteMaker) -> None:
    site = make(PAIRS, watch={"expect_every": '"1h"'})
    site.deliver("run1.dat", "run1.json")
    site.settle()
    site.tick_clock(30)
    found = told(site)
    assert of(found, "files_found_total") == {("incoming", "scan"): 2}
    assert (found["look_age_seconds", "incoming"], found["delivery_age_seconds", "incoming"]) == (30, 33)
    site.tick(7200)
    assert told(site)["feed_late", "incoming"] == 1
    shutil.rmtree(site.incoming)
    with pytest.raises(Exception, match="incoming"):
        site.tick()
    assert told(site)["watch_fault", "incoming"] == 1


def test_expected_arrivals_are_told_by_their_state(make: SiteMaker) -> None:
    site = make(PAIRS, more='[[watch.expect]]\nevery = "1h"\nwithin = "10m"\n')
    site.tick()
    for _ in range(3):
        site.tick(3600)
    states_ = of(told(site), "arrivals")
    assert states_["incoming", "late"] == 1
    assert states_["incoming", "missed"] >= 1


def test_the_feed_and_how_far_who_takes_it_is_behind(make: SiteMaker) -> None:
    site = make(PAIRS)
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    database = Database(site.project)
    _, cursor = database.get_new_files()
    database.ack("reader", cursor)
    site.deliver("run2.dat", "run2.json")
    site.one_pass()
    site.tick_clock(60)
    found = told(site)
    assert found["feed_entries_total",] == 2
    assert (found["consumer_lag_entries", "reader"], found["consumer_lag_seconds", "reader"]) == (1, 60)


def test_a_silent_site_is_told_by_the_others_and_one_that_ended_well_is_not(make: SiteMaker) -> None:
    site = make(PAIRS, service={"site": '"north"'})
    site.tick()
    heartbeat.begin(site.project, heartbeat.SERVICE)
    said = {"running": True, "process": "elsewhere:1:1:service", "silence": 60}
    with writing(site.project.engine) as connection:
        for name, running in (("south", True), ("east", False)):
            states.say(
                connection,
                heartbeat.SERVICE,
                site.now,
                said | {"running": running},
                site=name,
                host="two",
                started=True,
            )
    assert of(told(site, some=False), "site_silent") == {"north": 0, "south": 0, "east": 0}
    site.tick_clock(50)
    heartbeat.beat(site.project, heartbeat.SERVICE)
    site.tick_clock(50)
    found = told(site, some=False)
    assert of(found, "site_silent") == {"north": 0, "south": 1, "east": 0}
    assert found["part_up", "south", "two", "service"] == 0
    assert found["part_heartbeat_age_seconds", "south", "two", "service"] == 100
    assert found["part_up", "north", host_name(), "service"] == 1
    assert of(found, "watch_info") == {("incoming", "north"): 1}


def test_a_pass_that_ended_there_does_not_speak_for_a_silent_site(make: SiteMaker) -> None:
    site = make(PAIRS, service={"site": '"north"'})
    site.tick()
    said = {"running": True, "process": "elsewhere:1:1:service", "silence": 60}
    with writing(site.project.engine) as connection:
        for part, running in ((heartbeat.PASS, False), (heartbeat.SERVICE, True)):
            details = said | {"running": running}
            states.say(connection, part, site.now, details, site="south", host="two", started=True)
        watches.give(connection, "partner", Owner("south", site.now, Directory(None, "two", "1", "1")))
    site.tick_clock(100)
    heartbeat.begin(site.project, heartbeat.SERVICE)
    assert of(told(site), "site_silent") == {"south": 1}
    assert [one for one in status(site.project).problems if "south" in one] == [
        "site south (host two): no heartbeat for 100 s; it has watch partner"
    ]
    assert told(site)["watch_info", "partner", "south"] == 1


def test_workers_are_told_with_their_runs_and_what_they_have(make: SiteMaker) -> None:
    site = make(PAIRS, service={"site": '"north"'})
    site.tick()
    said = {"running": True, "process": "elsewhere:1:1:worker", "silence": 60, "slots": 8, "busy": 3}
    with writing(site.project.engine) as connection:
        for host, digest in (("two", site.project.config.digest), ("three", "another")):
            details = said | {"configuration": digest, "clock_ahead": -3.5}
            states.say(connection, states.WORKER, site.now, details, site="north", host=host, started=True)
    found = told(site, some=False)
    assert of(found, "worker_slots") == {("north", "two"): 8, ("north", "three"): 8}
    assert of(found, "worker_busy") == {("north", "two"): 3, ("north", "three"): 3}
    assert of(found, "worker_configuration_stale") == {("north", "two"): 0, ("north", "three"): 1}
    assert found["clock_offset_seconds", "two"] == -3.5
    assert found["slots", "north"] == 16
    assert found["part_up", "north", "two", "worker"] == 1
    site.tick_clock(100)
    assert told(site, some=False)["part_up", "north", "two", "worker"] == 0


def test_room_is_told_of_what_answers(make: SiteMaker) -> None:
    site = make(PAIRS)
    site.archive.mkdir(exist_ok=True)
    found = {
        (one.metric.name, *one.labels): one.value
        for one in metrics.room(site.project, probe([site.incoming, site.archive]))
    }
    total = shutil.disk_usage(site.incoming).total
    assert found["carbonation_delivery_size_bytes", "incoming"] == total
    assert found["carbonation_archive_size_bytes", "main"] == total
    assert list(metrics.room(site.project, {})) == []


def test_no_room_is_told_of_an_archive_that_another_host_sees(make: SiteMaker) -> None:
    site = make(PAIRS, archive={"hosts": '["two"]'})
    site.archive.mkdir(exist_ok=True)
    told = list(metrics.room(site.project, probe([site.incoming, site.archive])))
    assert {one.labels for one in told} == {("incoming",)}


def test_refused_rules_and_a_clock_that_differs_are_told(make: SiteMaker) -> None:
    site = make(PAIRS)
    site.tick()
    assert told(site, some=False)["rules_refused",] == 0
    site.set_rules("[pairs]\nunknown = 1\n")
    site.tick()
    found = told(site)
    assert found["rules_refused",] == 1
    (offset,) = of(found, "clock_offset_seconds").values()
    assert abs(offset) < timedelta(seconds=2).total_seconds()


def test_a_watch_that_is_configured_no_more_is_told_of_no_more(make: SiteMaker) -> None:
    site = make(PAIRS)
    site.deliver("run1.dat")
    site.one_pass()
    config = site.project.config
    other = config.watch[0].model_copy(update={"name": "other"})
    before = site.project
    site.project = Project(
        config.model_copy(update={"watch": (other,)}), before.plugin, before.engine, before.clock
    )
    found = told(site, some=False)
    assert {key[1] for key in found if key[0] == "open_groups"} == {"other"}
    assert of(found, "look_age_seconds") == {}
