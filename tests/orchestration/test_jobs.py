"""The jobs that an operator launches, and the schedule that launches one."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from carbonation_dagster.naming import LONGEST_TAG, plain, tag_value
from carbonation_dagster.resources import RESOURCE, STOP_VARIABLE
from tests.orchestration.conftest import PLUGIN_SECTION, Shown, show
from tests.site import SiteMaker


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    # A schedule's context does not take an ephemeral one.
    with dg.instance_for_test() as made:
        yield made


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
    assert result.output_for_node("retry_groups") == 1
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


def due(shown: Shown, after: timedelta = timedelta(0), name: str = "reconcile_delivery") -> Any:
    (schedule,) = [one for one in shown.defs.schedules or () if one.name == name]
    last = shown.instance.get_run_records(limit=1)
    start = last[0].create_timestamp if last else shown.site.now
    context = dg.build_schedule_context(
        instance=shown.instance,
        resources={RESOURCE: shown.carbonation},
        scheduled_execution_time=start + after,
    )
    return schedule(context)


def test_reconciliation_is_due_at_once_and_then_each_interval(shown: Shown) -> None:
    assert isinstance(due(shown), dg.RunRequest)
    shown.run(job="reconcile_delivery")

    waiting = due(shown, timedelta(hours=23))
    assert waiting.skip_message == "due in 60 min"
    assert isinstance(due(shown, timedelta(hours=24)), dg.RunRequest)
    assert isinstance(due(shown, name="reconcile_archive"), dg.RunRequest)


def test_nothing_is_due_while_the_service_stops(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = shown.site.directory / "stopping"
    mark.touch()
    monkeypatch.setenv(STOP_VARIABLE, str(mark))

    assert due(shown).skip_message == "the service is stopping"


def test_long_and_odd_keys_become_tags_that_stay_apart() -> None:
    long = "k" * 5000
    assert len(tag_value(long)) <= LONGEST_TAG
    assert tag_value(long + "a") != tag_value(long + "b")
    assert tag_value("run1") == "run1"
    assert plain("a\udcff\0") == "a\\udcff\\x00"
