"""What one tick of a watch's sensor does, and what it says."""

import shutil
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import update

from carbonation_core import head
from carbonation_core.config.sections import Watch
from carbonation_core.db.engine import writing
from carbonation_core.db.models import Batch
from carbonation_core.delivery import ownership
from carbonation_core.disk.mark import Directory, directory_at
from carbonation_core.errors import DatabaseError, NoAnswer, ScanError
from carbonation_core.pipeline.claim import claim, open_batches
from carbonation_core.pipeline.work import Stage, work
from carbonation_core.reports import heartbeat
from carbonation_core.reports.status import status
from carbonation_dagster.defs import recovery, resources
from carbonation_dagster.defs.naming import BATCH_TAG, PASS_TAG, QUEUE_TAG
from carbonation_dagster.defs.runs import instance_id
from carbonation_dagster.defs.sensors import BUSY_PAUSE
from carbonation_dagster.environment import STOP_FILE
from tests.dagster.conftest import Shown

Status = dg.DagsterRunStatus


def ready(shown: Shown, *names: str) -> list[dg.RunRequest]:
    """The requests of the tick that sees these files settled."""
    shown.site.deliver(*names)
    shown.tick()
    shown.site.now += timedelta(seconds=3)
    return list(shown.tick().run_requests)


def made(shown: Shown, request: dg.RunRequest, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    """The run that the daemon, or a pass, would have made of a request."""
    job = shown.defs.resolve_job_def("watch_incoming")
    return shown.instance.create_run_for_job(job_def=job, tags={**request.tags, **tags}, status=status)


def test_an_empty_watch_says_so(shown: Shown) -> None:
    assert shown.tick().skip_message == "no files in delivery"


def test_an_unsettled_file_says_what_is_waited_for(shown: Shown) -> None:
    shown.site.deliver("a.dat")

    assert shown.tick().skip_message == "nothing to start: 1 in delivery, 1 not yet settled"


def test_a_ready_group_becomes_a_request_tagged_with_all_that_finds_it(shown: Shown) -> None:
    (request,) = ready(shown, "a.dat")

    assert request.run_key == request.tags[BATCH_TAG]
    assert {k: v for k, v in request.tags.items() if k != BATCH_TAG} == {
        ".dagster/carbonation_watch": "incoming",
        "carbonation/group_key": "a.dat",
        ".dagster/carbonation_attempt": "1",
        "dagster/max_retries": "0",
    }


def test_a_request_that_nobody_submitted_is_made_again_under_the_same_key(shown: Shown) -> None:
    (request,) = ready(shown, "a.dat")

    (again,) = shown.tick().run_requests

    assert (again.run_key, again.tags) == (request.run_key, request.tags)


@pytest.mark.parametrize("status", [Status.NOT_STARTED, Status.STARTING])
def test_an_offer_whose_run_is_on_its_way_is_left_alone(shown: Shown, status: Status) -> None:
    (request,) = ready(shown, "a.dat")
    made(shown, request, status)

    assert isinstance(shown.tick(), dg.SkipReason)


def test_an_offer_whose_run_was_cancelled_comes_again_under_another_key(shown: Shown) -> None:
    (request,) = ready(shown, "a.dat")
    made(shown, request, Status.CANCELED)

    (again,) = shown.tick().run_requests

    assert again.run_key != request.run_key
    assert again.tags[".dagster/carbonation_attempt"] == "1"


def test_an_offer_whose_run_failed_before_it_began_comes_again_after_a_pause(shown: Shown) -> None:
    (request,) = ready(shown, "a.dat")
    made(shown, request, Status.FAILURE)

    assert isinstance(shown.tick(), dg.SkipReason)
    shown.site.now += recovery.PAUSE + timedelta(seconds=1)
    (again,) = shown.tick().run_requests

    assert again.run_key != request.run_key
    assert again.tags[".dagster/carbonation_attempt"] == "1"


def test_a_group_whose_run_died_alone_has_used_an_attempt(shown: Shown) -> None:
    (request,) = ready(shown, "a.dat")
    _taken_and_dropped(shown, request, made(shown, request, Status.FAILURE))

    assert isinstance(shown.tick(), dg.SkipReason)
    assert shown.site.statuses() == {"a.dat": "retry_pending"}


def test_a_group_whose_run_lost_its_database_comes_again_at_once(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    (request,) = ready(shown, "a.dat")

    def lose_it(*_: object) -> None:
        raise DatabaseError("database x cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr("carbonation_core.pipeline.stages.select", lose_it)
        patch.setattr("carbonation_core.pipeline.work.give_back", lose_it)
        job = shown.defs.resolve_job_def("watch_incoming")
        job.execute_in_process(instance=shown.instance, tags=request.tags, raise_on_error=False)
    (again,) = shown.tick().run_requests

    assert again.run_key != request.run_key
    assert again.tags[".dagster/carbonation_attempt"] == "1"


def test_a_batch_that_died_is_halved(shown: Shown) -> None:
    (request,) = ready(shown, *(f"{n}.dat" for n in range(6)))
    assert request.tags["carbonation/groups"] == "6"
    _taken_and_dropped(shown, request, made(shown, request, Status.FAILURE))

    shown.tick()
    halves = shown.tick().run_requests

    assert [half.tags["carbonation/groups"] for half in halves] == ["3", "3"]


def test_a_tick_that_gave_a_batch_back_looks_again_in_a_moment_for_its_halves(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    (request,) = ready(shown, *(f"{n}.dat" for n in range(6)))
    _taken_and_dropped(shown, request, made(shown, request, Status.FAILURE))
    waited = []
    monkeypatch.setattr(shown.carbonation, "wait", lambda watch, seconds: waited.append(seconds))
    shown.carbonation.tick_wait = 7200.0

    halves = shown.tick().run_requests

    assert len(halves) == 2
    assert waited == [BUSY_PAUSE]


def test_a_batch_whose_run_dagster_has_forgotten_comes_again(shown: Shown) -> None:
    (request,) = ready(shown, "a.dat")
    run = made(shown, request, Status.STARTED)
    _taken_and_dropped(shown, request, run)
    shown.instance.delete_run(run.run_id)

    (again,) = shown.tick().run_requests

    assert again.run_key != request.run_key


def test_a_directory_that_is_missing_fails_the_tick_in_a_sentence(shown: Shown) -> None:
    shutil.rmtree(shown.site.incoming)

    with pytest.raises(ScanError, match="incoming"):
        shown.tick()


def test_a_missing_directory_holds_up_no_offer(shown: Shown) -> None:
    (request,) = ready(shown, "a.dat")
    shown.site.incoming.rename(shown.site.directory / "elsewhere")

    (again,) = shown.tick().run_requests

    assert again.run_key == request.run_key


def test_offers_to_another_instance_are_left_to_it_for_an_hour(shown: Shown) -> None:
    shown.site.deliver("a.dat")
    shown.site.settle()
    shown.offers()

    assert isinstance(shown.tick(), dg.SkipReason)
    shown.site.now += recovery.LONGEST_IN_QUEUE + timedelta(seconds=1)
    (request,) = shown.tick().run_requests
    assert request.tags["carbonation/group_key"] == "a.dat"


def test_offers_of_a_site_that_is_silent_are_free_after_a_few_beats(shown: Shown) -> None:
    heartbeat.begin(shown.site.project, heartbeat.SERVICE)
    shown.site.deliver("a.dat")
    shown.site.settle()
    shown.offers()

    shown.site.tick_clock(110)
    assert isinstance(shown.tick(), dg.SkipReason)
    shown.site.tick_clock(20)
    (request,) = shown.tick().run_requests
    assert request.tags["carbonation/group_key"] == "a.dat"


def test_offers_of_a_head_that_is_one_no_more_are_free_at_once(shown: Shown) -> None:
    shown.site.deliver("a.dat")
    shown.site.settle()
    shown.offers()
    assert isinstance(shown.tick(), dg.SkipReason)
    head.hold(shown.site.project, "elsewhere/1/1#service")
    (request,) = shown.tick().run_requests
    assert request.tags["carbonation/group_key"] == "a.dat"


def test_offers_of_a_pass_that_died_are_taken_over_at_once(shown: Shown) -> None:
    dead = recovery.pass_name().replace("#", "0#")
    shown.site.deliver("a.dat")
    shown.site.settle()
    (offer,) = claim(shown.site.project, "incoming", dead)

    (request,) = shown.tick().run_requests

    assert request.run_key == offer.batch_id


def test_an_offer_of_a_pass_that_died_before_its_run_began_is_made_again(shown: Shown) -> None:
    (request,) = ready(shown, "a.dat")
    living = made(shown, request, Status.STARTED, **{PASS_TAG: recovery.pass_name()})
    assert isinstance(shown.tick(), dg.SkipReason)
    shown.instance.delete_run(living.run_id)
    dead = made(shown, request, Status.STARTED, **{PASS_TAG: recovery.pass_name().replace("#", "0#")})

    (again,) = shown.tick().run_requests

    assert again.run_key != request.run_key
    assert again.tags[".dagster/carbonation_attempt"] == "1"
    found = shown.instance.get_run_by_id(dead.run_id)
    assert found is not None
    assert found.status is Status.FAILURE


def test_a_run_that_shows_as_started_without_a_process_is_reported_failed(shown: Shown) -> None:
    (request,) = ready(shown, "a.dat")
    run = made(shown, request, Status.STARTED)
    _taken_and_dropped(shown, request, run)
    _outlive_the_lease(shown)

    shown.tick()

    record = shown.instance.get_run_by_id(run.run_id)
    assert record is not None
    assert record.status is Status.FAILURE
    assert open_batches(shown.site.project, "incoming") == []


def test_refused_rules_are_told_while_the_earlier_ones_hold(shown: Shown) -> None:
    shown.tick()
    shown.site.set_rules("[single]\nunknown = 1\n")

    said = shown.tick().skip_message

    assert said.startswith("no files in delivery; refused, so that rules ")
    assert '"unknown"' in said


def test_a_service_that_stops_begins_nothing(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = shown.site.directory / "stopping"
    mark.touch()
    monkeypatch.setenv(STOP_FILE, str(mark))

    assert shown.tick().skip_message == "the service is stopping"


def test_a_tick_that_waits_takes_up_an_attempt_when_it_is_due(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown.site.deliver("a.dat", content=b"broken")
    shown.site.settle()
    shown.run(*shown.offers())
    assert shown.site.statuses() == {"a.dat": "retry_pending"}
    waited = []

    def wait(watch: Watch, seconds: float) -> None:
        waited.append(seconds)
        shown.site.now += timedelta(seconds=seconds)

    monkeypatch.setattr(shown.carbonation, "wait", wait)
    shown.carbonation.tick_wait = 7200.0

    (request,) = shown.tick().run_requests

    assert request.tags["carbonation/group_key"] == "a.dat"
    assert len(waited) == 1
    assert 0.9 * 1800 <= waited[0] <= 1.1 * 1800  # retry_delay, with its jitter


def test_an_instance_is_named_by_its_storage(instance: dg.DagsterInstance) -> None:
    assert instance_id(instance) == instance_id(instance)
    with dg.DagsterInstance.ephemeral() as other:
        assert instance_id(other) != instance_id(instance)


def _taken_and_dropped(shown: Shown, request: dg.RunRequest, run: dg.DagsterRun) -> None:
    """As a process leaves its batch that has no time for a word."""
    assert request.run_key is not None
    with work(shown.site.project, request.run_key, run.run_id) as job:
        job.advance(Stage.INTEGRITY)


def _outlive_the_lease(shown: Shown) -> None:
    with writing(shown.site.project.engine) as connection:
        long_ago = shown.site.now.replace(year=2020)
        connection.execute(update(Batch).values(lease_until=long_ago))


def test_a_run_goes_to_the_hosts_that_see_its_watch(shown: Shown) -> None:
    config = shown.site.project.config
    (watch,) = config.watch
    seen = config.model_copy(update={"watch": (watch.model_copy(update={"hosts": ("two", "one")}),)})
    shown.site.project = replace(shown.site.project, config=seen)
    shown.carbonation._project = shown.site.project

    (request,) = ready(shown, "a.dat")

    assert request.tags[QUEUE_TAG] == "one+two"


def _rename_archive(shown: Shown, rules: str, **watch: object) -> None:
    """Another name for the archive in config.toml, and these rules, which know that one alone."""
    config = shown.site.project.config
    archive = config.archive[0].model_copy(update={"name": "disk"})
    changed = config.watch[0].model_copy(update={"archive": "disk", **watch})
    config = config.model_copy(update={"archive": (archive,), "watch": (changed,)})
    shown.site.project = shown.carbonation._project = replace(shown.site.project, config=config)
    shown.site.set_rules(rules)


def test_a_run_that_died_before_its_archive_was_renamed_strands_no_watch(shown: Shown) -> None:
    shown.site.set_rules('[single]\narchive = "main"\n')
    (request,) = ready(shown, "a.dat")
    _taken_and_dropped(shown, request, made(shown, request, Status.FAILURE))
    _rename_archive(shown, '[single]\narchive = "disk"\n')

    assert isinstance(shown.tick(), dg.SkipReason)

    assert open_batches(shown.site.project, "incoming") == []
    assert shown.site.group("a.dat").attempts == 1


def test_an_offer_made_before_its_archive_was_renamed_is_asked_for_again(shown: Shown) -> None:
    shown.site.set_rules('[single]\narchive = "main"\n')
    (request,) = ready(shown, "a.dat")
    _rename_archive(shown, '[single]\narchive = "disk"\n', hosts=("one",))

    (again,) = shown.tick().run_requests

    assert (again.run_key, again.tags[QUEUE_TAG]) == (request.run_key, "one")


def test_a_tick_does_not_join_a_look_that_hangs(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "LOOK_PATIENCE", 0.0)
    shown.tick()
    asked, answers = threading.Event(), threading.Event()

    def slow(path: Path) -> Directory:
        asked.set()
        answers.wait()
        return directory_at(path)

    with monkeypatch.context() as hung:
        hung.setattr(ownership, "directory_at", slow)
        first = threading.Thread(target=shown.tick)
        first.start()
        try:
            asked.wait()
            with pytest.raises(NoAnswer, match="a look at it does not come back; is its disk there"):
                shown.tick()
            assert any("does not come back" in problem for problem in status(shown.site.project).problems)
        finally:
            answers.set()
            first.join()

    assert shown.tick().skip_message == "no files in delivery"
    assert status(shown.site.project).problems == ()
