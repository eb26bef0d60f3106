"""How the service does, of real projects."""

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from carbonation_core.db import migrate
from carbonation_core.db.engine import make_engine
from carbonation_core.process import host_name
from carbonation_core.project import Project
from carbonation_core.reports import health, heartbeat
from carbonation_core.reports.status import feed_health, service_state, status
from tests import databases
from tests.site import Site, SiteMaker

pytestmark = databases.one  # what is made of what the parts said


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """However full the disk of the tests is."""
    monkeypatch.setattr(health, "FULL", 0.0)


@databases.each
def test_a_running_service_is_told_with_its_process_and_its_ui(site: Site) -> None:
    heartbeat.begin(site.project, heartbeat.SERVICE, {"ui": "http://127.0.0.1:3000"})
    site.tick(10)
    heartbeat.beat(site.project, heartbeat.SERVICE, {"ui": "http://127.0.0.1:3000"})
    found = status(site.project)
    assert found.problems == ()
    assert found.service
    assert (found.service.is_running, found.service.is_dead) == (True, False)
    assert found.service.ui == "http://127.0.0.1:3000"
    assert found.service.last_heartbeat - found.service.started_at == timedelta(seconds=10)


def test_a_service_that_ended_well_leaves_a_warning_and_its_start(site: Site) -> None:
    heartbeat.begin(site.project, heartbeat.SERVICE)
    site.tick()
    heartbeat.end(site.project, heartbeat.SERVICE)
    site.tick_clock(86_400)
    found = status(site.project)
    assert found.problems == ()
    assert found.warnings[0].startswith("no service is running since 2026-01-01 12:00:00 UTC")
    state = service_state(site.project)
    assert state
    assert (state["running"], state["started_at"]) == (False, found.service and found.service.started_at)


def test_age_is_a_problem_while_a_service_claims_to_run(site: Site) -> None:
    heartbeat.begin(site.project, heartbeat.SERVICE)
    site.tick()
    site.tick_clock(3600)
    assert [problem.partition(":")[0] for problem in status(site.project).problems] == [
        f"the service (pid {status(site.project).service.pid} on {status(site.project).service.host})",  # type: ignore[union-attr]  # it began
        "watch incoming",
    ]


def site_of(site: Site, name: str, **service: object) -> Project:
    """Another site on the same database, with the same watch."""
    config = site.project.config
    changed = config.service.model_copy(update={"site": name, **service})
    return replace(site.project, config=config.model_copy(update={"service": changed}))


@databases.each
def test_all_sites_are_told_and_one_that_is_silent_is_a_problem_while_it_has_a_watch(site: Site) -> None:
    site.tick()
    south = site_of(site, "south")
    heartbeat.begin(site.project, heartbeat.SERVICE)
    heartbeat.begin(south, heartbeat.SERVICE)
    ours = site.project.config.service.site_name
    assert [(one.site, one.state, one.watches) for one in status(south).sites] == sorted(
        [(ours, "runs", ("incoming",)), ("south", "runs", ())]
    )
    site.tick_clock(119)
    heartbeat.beat(south, heartbeat.SERVICE)
    assert not any(f"site {ours} (host " in problem for problem in status(south).problems)
    site.tick_clock(2)
    (said,) = (problem for problem in status(south).problems if f"site {ours} (" in problem)
    assert said.endswith("no heartbeat for 2 min; it has watch incoming")
    heartbeat.beat(site.project, heartbeat.SERVICE)
    site.tick_clock(181)
    heartbeat.beat(site.project, heartbeat.SERVICE)
    assert not any("south" in problem for problem in status(site.project).problems)


def test_a_head_forgets_the_one_before_it_on_another_host(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(heartbeat, "host_name", lambda: "one")
        heartbeat.begin(site.project, heartbeat.SERVICE)
    site.tick_clock(100)
    heartbeat.begin(site.project, heartbeat.SERVICE)
    assert [one.state for one in status(site.project).sites] == ["runs"]


def test_short_heartbeats_leave_time_for_a_tick_that_waits(make: SiteMaker) -> None:
    site = make(service={"heartbeat_interval": '"1s"', "poll_interval": '"1s"'})
    heartbeat.begin(site.project, heartbeat.SERVICE)
    site.tick()
    site.tick_clock(60)
    assert status(site.project).problems == ()
    site.tick_clock(1)
    assert len(status(site.project).problems) == 2


def test_programs_are_told_of_a_pass_when_no_service_ever_ran(site: Site) -> None:
    assert service_state(site.project) is None
    site.tick()
    state = service_state(site.project)
    assert state
    assert (state["started_at"], state["last_heartbeat"]) == (None, site.now)
    heartbeat.begin(site.project, heartbeat.PASS)
    heartbeat.end(site.project, heartbeat.PASS, ["it broke"])
    state = service_state(site.project)
    assert state
    assert (state["running"], state["started_at"]) == (False, site.now)
    assert status(site.project).problems == ("the last pass: it broke",)


def test_a_watch_directory_that_is_gone_is_seen_when_nobody_else_looks(site: Site) -> None:
    site.tick()
    shutil.rmtree(site.incoming)
    (problem,) = status(site.project).problems
    assert problem == f'watch incoming: "{site.incoming}" cannot be looked at: No such file or directory'


def test_an_archive_that_lost_its_files_is_a_problem(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    found = status(site.project)
    assert found.problems == ()
    assert found.archives[0].total
    shutil.rmtree(site.archive)
    (problem,) = status(site.project).problems
    assert problem.startswith(f'archive main: "{site.archive}" held files, and cannot be looked at')


def test_an_archive_that_another_host_sees_is_not_asked_for_here(make: SiteMaker) -> None:
    site = make(archive={"hosts": '["two", "three"]'})
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    shutil.rmtree(site.archive)
    found = status(site.project)
    assert found.problems == ()
    (archive,) = found.archives
    assert (archive.seen_from, archive.total) == (("two", "three"), None)

    (ours,) = site.project.config.archive
    ours = ours.model_copy(update={"hosts": ("two", host_name())})
    config = site.project.config.model_copy(update={"archive": (ours,)})
    (problem,) = status(replace(site.project, config=config)).problems
    assert problem.endswith("is it mounted?")


@databases.each
def test_a_feed_is_late_and_in_time_again(make: SiteMaker) -> None:
    site = make(watch={"expect_every": '"1h"'})
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    site.tick(3590)
    assert not feed_health(site.project, "incoming").is_late
    site.tick(20)
    assert feed_health(site.project, "incoming").is_late
    (problem,) = status(site.project).problems
    assert problem.startswith("watch incoming is late: nothing new since 2026-01-01 12:00:00 UTC")
    site.deliver("run1.dat", content=b"the next issue")
    site.tick()
    found = feed_health(site.project, "incoming")
    assert (found.is_late, found.last_new) == (False, site.now)


def test_a_look_that_fails_forgets_nothing_of_the_feed(make: SiteMaker) -> None:
    site = make(watch={"expect_every": '"1h"'})
    site.deliver("run1.dat")
    site.tick()
    before = feed_health(site.project, "incoming").last_new
    site.tick(60)
    assert feed_health(site.project, "incoming").last_new == before


@databases.of_sqlite
def test_to_ask_for_a_schema_makes_no_database(tmp_path: Path, site: Site) -> None:
    missing = tmp_path / "missing.db"
    engine = make_engine(site.project.config.database.model_copy(update={"name": str(missing)}))
    found = migrate.status(engine, None)
    assert (found.is_empty, found.is_current) == (True, False)
    assert not missing.exists()
    engine.dispose()
