"""Attempts that fail: when the next one comes, and what gives a group another chance."""

from carbonation_core.delivery.retry import retry
from carbonation_core.pipeline.work import Outcome, Stage, work
from tests.site import PAIRS, SiteMaker, touch


def test_one_groups_failure_never_touches_another(make: SiteMaker) -> None:
    site = make(PAIRS + '[pairs.metadata]\nextract = "broken"\n', service={"single_group_runs": "0"})
    for number in range(20):
        site.deliver(f"run{number}.dat", content=b"broken" if number == 7 else b"fine")
        site.deliver(f"run{number}.json")
    site.one_pass()
    (report,) = site.reports
    assert [group.group_key for group in report.with_outcome(Outcome.RETRY_PENDING)] == ["run7"]
    assert len(report.with_outcome(Outcome.ARCHIVED)) == 19
    assert "the file says it is broken" in site.component("run7.dat").error_message


def test_a_failed_attempt_is_repeated_at_its_time_and_given_up_in_the_end(make: SiteMaker) -> None:
    site = make(
        PAIRS + '[pairs.metadata]\nextract = "broken"\n',
        service={"max_retries": "2", "retry_delay": '"10m"'},
    )
    site.deliver("run1.dat", "run1.json", content=b"broken")
    site.one_pass()
    assert site.tick(60).ready == 0
    assert site.tick(11 * 60).ready == 1
    site.run_all()
    assert site.component("run1.dat").retry_count == 2
    assert site.tick(23 * 60).ready == 1
    site.run_all()
    assert site.statuses() == {"run1.dat": "failed", "run1.json": "failed"}
    assert site.tick(86_400).ready == 0


def test_a_retry_by_hand_takes_effect_at_the_next_look(make: SiteMaker) -> None:
    site = make(PAIRS + '[pairs.metadata]\nextract = "broken"\n', service={"max_retries": "0"})
    site.deliver("run1.dat", "run1.json", content=b"broken")
    site.one_pass()
    assert site.statuses()["run1.dat"] == "failed"
    site.set_rules(PAIRS + '[pairs.metadata]\nextract = "sizes"\n')
    site.deliver("other.dat")
    assert retry(site.project, group_key="run1") == 2
    site.tick()
    site.run_all()
    assert site.statuses()["run1.dat"] == "archived"
    assert site.component("run1.dat").error_message is None


def test_changed_bytes_give_a_failed_group_another_chance(make: SiteMaker) -> None:
    site = make(PAIRS + '[pairs.metadata]\nextract = "broken"\n', service={"max_retries": "0"})
    site.deliver("run1.dat", "run1.json", content=b"broken")
    site.one_pass()
    touch(site.incoming / "run1.dat", b"fine now")
    touch(site.incoming / "run1.json", b"fine now")
    site.one_pass()
    assert site.statuses() == {"run1.dat": "archived", "run1.json": "archived"}


def test_a_mended_file_takes_its_failed_siblings_along(make: SiteMaker) -> None:
    site = make(PAIRS + '[pairs.metadata]\nextract = "broken"\n', service={"max_retries": "0"})
    site.deliver("run1.dat", content=b"broken")
    site.deliver("run1.json", content=b"fine")
    site.one_pass()
    touch(site.incoming / "run1.dat", b"fine now")
    site.one_pass()
    assert site.statuses() == {"run1.dat": "archived", "run1.json": "archived"}


def test_a_run_executed_again_takes_its_failed_groups_at_once(make: SiteMaker) -> None:
    site = make(PAIRS + '[pairs.metadata]\nextract = "broken"\n')
    site.deliver("run1.dat", "run1.json", content=b"broken")
    site.settle()
    (offer,) = site.claim()
    site.run(offer)
    assert site.tick().ready == 0
    site.set_rules(PAIRS)  # the cause is repaired
    for run_id, archived in (("run-2", 1), ("run-3", 1)):
        with work(site.project, offer.batch_id, run_id, again=True) as job:
            assert len(job.advance(Stage.ARCHIVE).with_outcome(Outcome.ARCHIVED)) == archived
            job.finish()
    assert site.feed() == [("run1", "completed")]
