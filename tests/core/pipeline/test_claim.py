"""Batches and their leases: one owner each, and none that a dead process keeps."""

import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from carbonation_core.db.batches import LEASE
from carbonation_core.db.engine import writing
from carbonation_core.db.models import Batch
from carbonation_core.disk import probe
from carbonation_core.disk.source import BLOCK
from carbonation_core.errors import LostOwnership
from carbonation_core.lifecycle import GivenBack
from carbonation_core.pipeline import claim as claims
from carbonation_core.pipeline import rollback
from carbonation_core.pipeline.claim import claim, give_back, open_batches, recall
from carbonation_core.pipeline.work import Outcome, Stage, work
from carbonation_core.project import Project
from tests.site import PLUGIN, SINGLE, Site, SiteMaker


def test_a_batch_has_one_owner(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.settle()
    (offer,) = site.claim()
    assert site.claim() == []
    with work(site.project, offer.batch_id, "run-1") as job:
        with pytest.raises(LostOwnership), work(site.project, offer.batch_id, "run-2"):
            pass
        job.advance(Stage.ARCHIVE)
        job.finish()
    assert site.feed() == [("run1", "completed")]


def test_whoever_lost_its_batch_records_nothing_and_leaves_nothing(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.settle()
    (offer,) = site.claim()
    with work(site.project, offer.batch_id, "run-1") as job:
        job.advance(Stage.ROUTE)
        give_back(site.project, offer.batch_id, "taken away")
        with pytest.raises(LostOwnership):
            job.advance(Stage.ARCHIVE)
    assert site.archived() == {}
    site.run_all()
    assert site.feed() == [("run1", "completed")]


@pytest.mark.parametrize("off_by", [-LEASE, 2 * LEASE])
def test_a_lease_that_ended_is_dead_and_so_is_one_from_a_wrong_clock(site: Site, off_by: timedelta) -> None:
    site.deliver("run1.dat", "run1.json")
    site.settle()
    (offer,) = site.claim()
    with work(site.project, offer.batch_id, "run-1"):
        assert not open_batches(site.project, "incoming")[0].lease_is_dead
        with writing(site.project.engine) as connection:
            connection.execute(update(Batch).values(lease_until=datetime.now(UTC) + off_by))
        assert open_batches(site.project, "incoming")[0].lease_is_dead


def test_a_batch_that_died_is_halved_and_a_lone_group_has_used_an_attempt(make: SiteMaker) -> None:
    site = make(service={"single_group_runs": "0"})
    for number in range(3):
        site.deliver(f"run{number}.dat", f"run{number}.json")
    site.settle()
    (offer,) = site.claim()
    give_back(site.project, offer.batch_id, "killed", GivenBack.DIED)
    halves = open_batches(site.project, "incoming")
    assert sorted(half.offer.size for half in halves) == [1, 2]
    alone = next(half.offer for half in halves if half.offer.size == 1)
    give_back(site.project, alone.batch_id, "killed", GivenBack.DIED)
    assert site.group(alone.group_key or "").attempts == 1
    assert "the process died" in site.component(f"{alone.group_key}.dat").error_message


def other_project(site: Site, /, **service: object) -> Project:
    """The project with other keys of `[service]`."""
    config = site.project.config
    return replace(
        site.project, config=config.model_copy(update={"service": config.service.model_copy(update=service)})
    )


def test_a_run_with_another_configuration_gives_the_batch_back_and_says_so(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.settle()
    (offer,) = site.claim()
    with (
        pytest.raises(LostOwnership, match="was given back: it was made with another configuration"),
        work(other_project(site, max_retries=7), offer.batch_id, "run-1"),
    ):
        pass
    assert open_batches(site.project, "incoming") == []
    assert site.group("run1").attempts == 0
    assert site.claim() == []  # at once, as hosts that differ would pass it to and fro
    site.tick_clock(5)
    site.run_all()
    assert site.feed() == [("run1", "completed")]


def test_what_differs_from_host_to_host_is_no_other_configuration(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.settle()
    (offer,) = site.claim()
    theirs = other_project(site, site="south", workers=9, runs_at_once=9)
    with work(theirs, offer.batch_id, "run-1") as job:
        job.advance(Stage.ARCHIVE)
        job.finish()
    assert site.feed() == [("run1", "completed")]


@pytest.mark.parametrize(
    ("lacks", "says"),
    [
        ({"release": "0.0.9"}, "it was made by release 0.0.9, and host "),
        ({"plugin_digest": "0" * 64}, "it was made with other files of the plugin than"),
    ],
)
def test_a_run_with_another_release_or_plugin_gives_it_back(
    site: Site, lacks: dict[str, str], says: str
) -> None:
    site.deliver("run1.dat", "run1.json")
    site.settle()
    (offer,) = site.claim()
    with writing(site.project.engine) as connection:
        connection.execute(update(Batch).values(lacks))
    with pytest.raises(LostOwnership, match=says), work(site.project, offer.batch_id, "run-1"):
        pass
    assert site.archived() == {}
    site.tick_clock(5)
    site.run_all()
    assert site.feed() == [("run1", "completed")]


def test_a_batch_of_an_earlier_release_that_did_not_say_is_worked_on(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.settle()
    (offer,) = site.claim()
    with writing(site.project.engine) as connection:
        connection.execute(update(Batch).values(config_digest=None, release=None, plugin_digest=None))
    site.run(offer)
    assert site.feed() == [("run1", "completed")]


def test_offers_of_an_earlier_configuration_are_taken_back_and_its_runs_are_counted(make: SiteMaker) -> None:
    site = make(SINGLE)
    site.deliver("a", "b")
    site.settle()
    begun, waits = claim(site.project, "incoming", "here")
    now = other_project(site, max_retries=7)
    with work(site.project, begun.batch_id, "run-1"):
        assert recall(site.project) == 0
        assert recall(now) == 1
        (left,) = open_batches(site.project, "incoming")
        assert left.offer.batch_id == begun.batch_id
        (again,) = claim(now, "incoming", "here")  # at once, as no run was made in vain
        assert again.group_key == waits.group_key
    with pytest.raises(LostOwnership), work(site.project, waits.batch_id, "run-2"):
        pass


def test_few_ready_groups_get_a_batch_each_and_a_burst_is_packed(make: SiteMaker) -> None:
    site = make(service={"single_group_runs": "2", "groups_per_run": "3"})
    for number in range(2):
        site.deliver(f"run{number}.dat", f"run{number}.json")
    site.settle()
    assert sorted(str(offer.group_key) for offer in site.claim()) == ["run0", "run1"]
    for number in range(2, 7):
        site.deliver(f"run{number}.dat", f"run{number}.json")
    site.settle()
    assert [offer.size for offer in site.claim()] == [3]
    assert [offer.size for offer in site.claim()] == [2]


def test_watches_that_some_hosts_see_have_no_more_batches_than_these_have_slots(make: SiteMaker) -> None:
    site = make(SINGLE, service={"groups_per_run": "1", "single_group_runs": "0"})
    site.deliver("a.dat", "b.dat", "c.dat")
    site.settle()
    here, elsewhere = frozenset({"incoming", "camera"}), frozenset({"camera"})
    assert len(claim(site.project, "incoming", "here", slots=9, apart={here: 2, elsewhere: 0})) == 2
    assert claim(site.project, "incoming", "here", slots=9, apart={here: 2}) == []
    assert len(claim(site.project, "incoming", "here", slots=9)) == 1


def test_an_instance_has_as_many_batches_as_slots_and_another_when_one_ends(make: SiteMaker) -> None:
    site = make(service={"single_group_runs": "0", "groups_per_run": "2"})
    for number in range(7):
        site.deliver(f"run{number}.dat", f"run{number}.json")
    site.settle()
    offers = claim(site.project, "incoming", "here", slots=2)
    assert [offer.size for offer in offers] == [2, 2]
    assert claim(site.project, "incoming", "here", slots=2) == []
    assert [offer.size for offer in claim(site.project, "incoming", "elsewhere", slots=1)] == [2]

    site.run(offers[0])
    assert [offer.size for offer in claim(site.project, "incoming", "here", slots=2)] == [1]


def test_a_single_group_waits_for_a_slot_like_a_burst(make: SiteMaker) -> None:
    site = make()
    for number in range(3):
        site.deliver(f"run{number}.dat", f"run{number}.json")
    site.settle()
    first, second = claim(site.project, "incoming", "here", slots=2)
    assert claim(site.project, "incoming", "here", slots=2) == []
    site.run(first)
    (third,) = claim(site.project, "incoming", "here", slots=2)
    assert {first.group_key, second.group_key, third.group_key} == {"run0", "run1", "run2"}


def test_a_run_that_died_holds_no_slot(make: SiteMaker) -> None:
    site = make(service={"single_group_runs": "0", "groups_per_run": "1"})
    for number in range(2):
        site.deliver(f"run{number}.dat", f"run{number}.json")
    site.settle()
    (offer,) = claim(site.project, "incoming", "here", slots=1)
    with work(site.project, offer.batch_id, "run-1"):
        assert claim(site.project, "incoming", "here", slots=1) == []
        with writing(site.project.engine) as connection:
            connection.execute(update(Batch).values(lease_until=datetime.now(UTC) - LEASE))
        assert len(claim(site.project, "incoming", "here", slots=1)) == 1


def test_the_first_batch_of_a_burst_is_small(make: SiteMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "FIRST", 1)
    site = make(service={"single_group_runs": "0", "groups_per_run": "3"})
    for number in range(6):
        site.deliver(f"run{number}.dat", f"run{number}.json")
    site.settle()
    offers = claim(site.project, "incoming", "here", slots=3)
    assert [offer.size for offer in offers] == [1, 3, 2]


def test_a_claim_leaves_what_was_in_the_batches_that_it_is_told_of(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.settle()
    (first,) = site.claim()
    give_back(site.project, first.batch_id, "it comes again as it is")
    site.deliver("run2.dat", "run2.json")
    site.settle()

    (second,) = claim(site.project, "incoming", "here", tried=[first.batch_id])
    assert second.group_key == "run2"
    assert claim(site.project, "incoming", "here", tried=[first.batch_id, second.batch_id]) == []
    assert [offer.group_key for offer in site.claim()] == ["run1"]


def test_a_file_is_given_back_in_its_middle_without_an_attempt(make: SiteMaker) -> None:
    site = make(SINGLE)
    site.deliver("large.dat", content=b"x" * 3 * BLOCK)
    site.settle()
    (offer,) = site.claim()
    asked: list[int] = []

    def stop() -> bool:  # each stage asks, then the transfer, then each block of the file
        asked.append(1)
        return len(asked) > 8

    with work(site.project, offer.batch_id, "run-1", stop) as job:
        report = job.advance(Stage.ARCHIVE)
        job.finish()
    assert len(asked) == 9
    assert [group.outcome for group in report.groups] == [Outcome.GIVEN_BACK]
    assert site.archived() == {}
    assert site.group("large.dat").attempts == 0
    assert [offer.attempt for offer in site.claim()] == [1]


def test_work_that_is_told_to_stop_gives_its_groups_back(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.settle()
    (offer,) = site.claim()
    with work(site.project, offer.batch_id, "run-1", stop=lambda: True) as job:
        job.advance(Stage.ARCHIVE)
        assert job.finish().groups[0].outcome is Outcome.GIVEN_BACK
    assert site.tick().ready == 1
    site.run_all()
    assert site.group("run1").complete


def test_work_that_is_told_to_stop_asks_no_plugin_any_more(make: SiteMaker) -> None:
    asked: list[str] = []

    def extract(file_paths: list[Path]) -> dict[str, object]:
        asked.append(file_paths[0].name)
        return {}

    plugin = replace(PLUGIN, extractors={"extract": extract})
    rules = '[single]\n[single.metadata]\nextract = "extract"\n'
    site = make(rules, plugin=plugin, service={"single_group_runs": "0"})
    site.deliver("a.bin", "b.bin", "c.bin")
    site.settle()
    (offer,) = site.claim()
    with work(site.project, offer.batch_id, "run-1", stop=lambda: bool(asked)) as job:
        job.advance(Stage.ARCHIVE)
        outcomes = {group.outcome for group in job.finish().groups}
    assert (len(asked), outcomes) == (1, {Outcome.GIVEN_BACK})
    site.tick()
    site.run_all()
    assert set(site.archived()) == {"a.bin", "b.bin", "c.bin"}


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.site import open_site
from carbonation_core.pipeline.work import Stage, work
site = open_site(Path({directory!r}))
site.settle()
(offer,) = site.claim()
with work(site.project, offer.batch_id, "run-1") as job:
    job.advance(Stage.ROUTE)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_killed_owner_is_known_to_be_dead_at_once(site: Site, tmp_path: Path) -> None:
    site.deliver("run1.dat", "run1.json")
    root = Path(__file__).parents[3]
    code = KILLED.format(directory=str(tmp_path))
    killed = subprocess.run([sys.executable, "-c", code], cwd=root, check=False)
    assert killed.returncode == -9
    (batch,) = open_batches(site.project, "incoming")
    assert batch.lease_is_dead
    give_back(site.project, batch.offer.batch_id, "its process was killed", GivenBack.DIED)
    site.tick(3600)
    site.run_all()
    assert site.group("run1").complete


def test_a_batch_is_not_given_back_while_the_disk_does_not_answer_that_it_may_have_left_something_on(
    make: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make(SINGLE)
    site.deliver("a")
    site.settle()
    (offer,) = site.claim()
    answers, asked = threading.Event(), probe._look

    def slow(path: Path) -> probe.Probe:
        if path == site.archive:
            answers.wait()
        return asked(path)

    monkeypatch.setattr(probe, "_look", slow)
    monkeypatch.setattr(rollback, "ANSWER_WITHIN", 0.1)
    with work(site.project, offer.batch_id, "run-1") as job:
        job.advance(Stage.ROUTE)
        try:
            assert give_back(site.project, offer.batch_id, "it died", GivenBack.DIED) == 0
            assert len(open_batches(site.project, "incoming")) == 1
        finally:
            answers.set()
        monkeypatch.setattr(rollback, "ANSWER_WITHIN", 30)
        assert give_back(site.project, offer.batch_id, "it died", GivenBack.DIED) == 1
    assert open_batches(site.project, "incoming") == []
