"""The jobs that an operator launches, and the schedule that launches one."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from carbonation_core.project import rules_in_force
from carbonation_dagster.defs.naming import LONGEST_TAG, plain, tag_value
from carbonation_dagster.defs.resources import RESOURCE
from carbonation_dagster.defs.schedules import cron_line
from carbonation_dagster.environment import STOP_FILE
from tests.dagster.conftest import PLUGIN_SECTION, Shown, show
from tests.site import PLUGIN, SiteMaker


@pytest.fixture(scope="module")
def kept_instance() -> Iterator[dg.DagsterInstance]:
    # A schedule's context does not take an ephemeral one.
    with dg.instance_for_test(set_dagster_home=False) as made:
        yield made


def output_metadata(result: Any) -> dict[str, Any]:
    """What the job's op said of what it did."""
    (output,) = [event for event in result.all_events if event.is_successful_output]
    return {name: value.value for name, value in output.step_output_data.metadata.items()}


def launch(shown: Shown, job: str, op: str, **config: Any) -> Any:
    return shown.run(job=job, run_config={"ops": {op: {"config": config}}})


def test_retry_opens_failed_groups_again(make: SiteMaker, instance: dg.DagsterInstance) -> None:
    shown = show(
        make('[single.metadata]\nextract = "broken"\n', service={"max_retries": "0"}, more=PLUGIN_SECTION),
        instance,
    )
    shown.site.deliver("bad.dat", content=b"broken")
    shown.site.one_pass()
    assert shown.site.statuses() == {"bad.dat": "failed"}

    result = launch(shown, "retry", "retry_groups", watch="incoming", group_key="bad.dat")

    assert result.success
    assert output_metadata(result) == {
        "files tried again": 1,
        "watch": "incoming",
        "group": "bad.dat",
        "failed": 1,
        "retry_pending": 0,
    }
    assert shown.site.statuses() == {"bad.dat": "detected"}


def test_retry_without_configuration_takes_all_that_failed(shown: Shown) -> None:
    result = shown.run(job="retry")

    assert result.success
    assert result.output_for_node("retry_groups") == 0


def test_retry_knows_which_statuses_there_are(shown: Shown) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="not in enum type Retryable"):
        launch(shown, "retry", "retry_groups", status="archived")


def test_retry_of_an_unknown_group_fails_with_a_sentence(shown: Shown) -> None:
    result = launch(shown, "retry", "retry_groups", group_key="nobody")

    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert 'there is no group "nobody"' in failure.step_failure_data.user_failure_data.description


def test_recheck_judges_again_what_a_mended_function_decided(
    make: SiteMaker, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = '[[single.selection]]\ntype = "plugin"\nfunction = "no_tests"\n'
    shown = show(make('[single.metadata]\nextract = "sizes"\n' + rules, more=PLUGIN_SECTION), instance)
    shown.site.deliver("a.dat", content=b"test")
    shown.site.one_pass()
    assert shown.site.statuses() == {"a.dat": "not_selected"}
    monkeypatch.setitem(PLUGIN.selection_functions, "no_tests", lambda metadata: True)

    result = launch(shown, "recheck_rules", "recheck", watch="incoming")

    assert result.success
    metadata = output_metadata(result)
    assert (metadata["files judged again"], metadata["not_selected"]) == (1, 1)
    assert metadata["digest before"] == metadata["digest"]
    shown.site.one_pass()
    assert shown.site.statuses() == {"a.dat": "archived"}


def test_recheck_of_rules_that_are_refused_fails_with_the_reason_and_says_which_go_on(shown: Shown) -> None:
    digest = rules_in_force(shown.site.project).digest
    shown.site.set_rules("[single]\nunknown = 1\n")

    result = launch(shown, "recheck_rules", "recheck")

    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    said = failure.step_failure_data.user_failure_data.description
    assert said.startswith(f"rules.toml is refused, so that rules {digest[:12]} stay in force: ")
    assert '"unknown"' in said


def test_purge_forgets_old_runs_of_ours_and_old_history_and_no_file(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dg.job(name="retry")
    def of_others() -> None:
        pass

    others = of_others.execute_in_process(instance=shown.instance).run_id
    shown.site.deliver("a.dat")
    shown.site.settle()
    ours = shown.run(shown.offers()[0]).run_id
    button = shown.run().run_id
    kept = [(row.path, row.digest) for row in shown.site.copies()]
    config = {"history_retention": "1d", "run_retention": "1d"}
    shown.site.now = datetime.now(UTC) + timedelta(days=2)

    trial = output_metadata(launch(shown, "purge_history", "purge", dry_run=True, **config))
    assert shown.instance.get_run_by_id(ours)
    done = output_metadata(launch(shown, "purge_history", "purge", **config))

    assert {name: done[name] for name in ("changes of status", "batches")} == {
        "changes of status": 2,
        "batches": 1,
    }
    assert trial["runs"] == 2
    assert done["runs"] == 3  # the trial, too
    assert shown.instance.get_run_by_id(ours) is None
    assert shown.instance.get_run_by_id(button) is None
    assert shown.instance.get_run_by_id(others)
    assert [to for _, to, _ in shown.site.history("a.dat")] == ["archived"]
    assert [(row.path, row.digest) for row in shown.site.copies()] == kept
    assert shown.site.feed() == [("a.dat", "completed")]


def test_purge_keeps_what_is_young_and_says_what_it_does_not_understand(shown: Shown) -> None:
    shown.site.now = datetime.now(UTC)
    shown.site.deliver("a.dat")
    shown.site.settle()
    shown.run(shown.offers()[0])

    metadata = output_metadata(launch(shown, "purge_history", "purge"))
    assert (metadata["runs"], metadata["changes of status"], metadata["batches"]) == (0, 0, 0)
    assert (metadata["history older than"], metadata["runs older than"]) == ("365d", "30d")

    result = launch(shown, "purge_history", "purge", run_retention="soon")
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_failure_data.user_failure_data.description == (
        'run_retention: should be a duration such as "30s", "5m", "2h" or "7d", not "soon"'
    )


def test_reconcile_delivery_says_per_watch_what_it_found(shown: Shown) -> None:
    shown.site.deliver("a.dat")

    result = launch(shown, "reconcile_delivery", "reconcile_deliveries", watch="incoming")

    assert result.success
    (seen,) = [e for e in result.all_events if e.event_type_value == "ASSET_OBSERVATION"]
    assert seen.event_specific_data.asset_observation.metadata["new"].value == 1


def test_reconcile_of_a_missing_directory_fails_after_the_others(
    make: SiteMaker, instance: dg.DagsterInstance
) -> None:
    gone = '[[watch]]\nname = "gone"\npath = "gone"\nrules = "single"\narchive = "main"\n'
    text = make("[single]\n", more=gone + PLUGIN_SECTION)
    # "gone" is configured before "incoming"
    shown = show(text, instance)
    shown.site.deliver("a.dat")

    result = shown.run(job="reconcile_delivery")

    assert not result.success
    assert shown.site.statuses() == {"a.dat": "detected"}


def test_reconcile_archive_says_what_is_missing_and_fails_the_check(shown: Shown) -> None:
    shown.site.deliver("a.dat", "b.dat")
    shown.site.one_pass()
    (shown.site.archive / "a.dat").unlink()
    (shown.site.archive / "stray").touch()

    trial = launch(shown, "reconcile_archive", "reconcile_archives", dry_run=True)
    assert shown.site.statuses()["a.dat"] == "archived"
    result = launch(shown, "reconcile_archive", "reconcile_archives")

    assert shown.site.statuses() == {"a.dat": "missing", "b.dat": "archived"}
    for one in (trial, result):
        assert one.success
        assert shown.checks(one) == {"agreement": False}
        (seen,) = [e for e in one.all_events if e.event_type_value == "ASSET_OBSERVATION"]
        metadata = seen.event_specific_data.asset_observation.metadata
        numbers = {name: metadata[name].value for name in ("compared", "missing", "unknown", "adopted")}
        assert numbers == {"compared": 2, "missing": 1, "unknown": 1, "adopted": 0}
        assert [record.data["is"] for record in metadata["table"].records] == ["missing", "unknown"]


def test_reconcile_archive_passes_the_check_when_all_is_there(shown: Shown) -> None:
    shown.site.deliver("a.dat")
    shown.site.one_pass()

    assert shown.checks(launch(shown, "reconcile_archive", "reconcile_archives")) == {"agreement": True}
    # Of a part nothing can be said of the whole.
    part = launch(shown, "reconcile_archive", "reconcile_archives", watch="incoming", paths=["a.dat"])
    assert part.success
    assert shown.checks(part) == {}


def test_reconcile_of_an_archive_that_is_gone_fails_with_a_sentence(shown: Shown) -> None:
    shown.site.deliver("a.dat")
    shown.site.one_pass()
    shown.site.archive.rename(shown.site.directory / "unmounted")

    result = launch(shown, "reconcile_archive", "reconcile_archives")

    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "is it mounted?" in failure.step_failure_data.user_failure_data.description
    assert shown.checks(result) == {"agreement": False}
    assert shown.site.statuses() == {"a.dat": "archived"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"archive": "x"}, 'there is no archive "x"'),
        ({"watch": "x"}, 'there is no watch "x"'),
        ({"paths": ["typo"]}, "nothing was archived there"),
    ],
)
def test_reconcile_archive_of_what_is_not_there_fails_with_a_sentence(
    shown: Shown, config: dict[str, Any], message: str
) -> None:
    result = launch(shown, "reconcile_archive", "reconcile_archives", **config)

    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert message in failure.step_failure_data.user_failure_data.description


def test_the_agreement_of_an_archive_can_be_checked_alone(shown: Shown) -> None:
    shown.site.deliver("a.dat", "b.dat")
    shown.site.one_pass()
    (shown.site.archive / "a.dat").unlink()
    (check,) = [one for one in shown.defs.asset_checks or () if one.node_def.name == "agreement_of_main"]

    result = dg.materialize(
        [check],
        selection=dg.AssetSelection.checks(check),
        instance=shown.instance,
        resources={RESOURCE: shown.carbonation},
    )

    (evaluation,) = result.get_asset_check_evaluations()
    assert (evaluation.passed, evaluation.description) == (False, "2 files compared: 1 missing")
    assert shown.site.statuses()["a.dat"] == "archived"


def scheduled(shown: Shown, name: str) -> dg.ScheduleDefinition:
    found = {one.name: one for one in shown.defs.schedules or ()}[name]
    assert isinstance(found, dg.ScheduleDefinition)
    return found


def due(shown: Shown, after: timedelta = timedelta(0), name: str = "reconcile_delivery") -> Any:
    last = shown.instance.get_run_records(limit=1)
    start = last[0].create_timestamp if last else shown.site.now
    context = dg.build_schedule_context(
        instance=shown.instance,
        resources={RESOURCE: shown.carbonation},
        scheduled_execution_time=start + after,
    )
    return scheduled(shown, name)(context)


@pytest.mark.parametrize(
    ("minutes", "line"),
    [
        (1, "*/1 * * * *"),
        (15, "*/15 * * * *"),
        (60, "0 * * * *"),
        (360, "0 */6 * * *"),
        (24 * 60, "0 0 * * *"),
        (7 * 24 * 60, "0 0 * * 0"),
        (0.5, None),
        (7, None),
        (90, None),
        (36 * 60, None),
    ],
)
def test_an_interval_that_the_clock_can_say_is_a_cron_line(minutes: float, line: str | None) -> None:
    assert cron_line(timedelta(minutes=minutes)) == line


def test_a_schedule_with_a_cron_line_launches_at_each_tick(shown: Shown) -> None:
    assert scheduled(shown, "reconcile_delivery").cron_schedule == "0 0 * * *"
    shown.run(job="reconcile_delivery")

    assert isinstance(due(shown), dg.RunRequest)


def test_an_interval_without_a_cron_line_is_due_at_once_and_then_so_long_after_its_last_run(
    make: SiteMaker, instance: dg.DagsterInstance
) -> None:
    shown = show(make(service={"reconcile_interval": '"36h"'}, more=PLUGIN_SECTION), instance)
    assert isinstance(due(shown), dg.RunRequest)
    shown.run(job="reconcile_delivery")

    assert due(shown, timedelta(hours=35)).skip_message == "due in 60 min"
    assert isinstance(due(shown, timedelta(hours=36)), dg.RunRequest)
    assert isinstance(due(shown, name="reconcile_archive"), dg.RunRequest)


def test_nothing_is_due_while_the_service_stops(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = shown.site.directory / "stopping"
    mark.touch()
    monkeypatch.setenv(STOP_FILE, str(mark))

    assert due(shown).skip_message == "the service is stopping"


def test_long_and_odd_keys_become_tags_that_stay_apart() -> None:
    long = "k" * 5000
    assert len(tag_value(long)) <= LONGEST_TAG
    assert tag_value(long + "a") != tag_value(long + "b")
    assert tag_value("run1") == "run1"
    assert plain("a\udcff\0") == "a\\udcff\\x00"
