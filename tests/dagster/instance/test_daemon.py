"""The pace of the daemon, and how it judges runs that wait, hang on names in Dagster that are not public."""

import inspect
import logging

import dagster as dg
import pytest
from dagster._daemon import sensor
from dagster._daemon.monitoring import run_monitoring

from carbonation_dagster.instance import daemon
from tests.dagster.instance.test_launcher import run_of


def test_dagster_has_the_constant_and_reads_it_at_each_turn() -> None:
    assert sensor.MIN_INTERVAL_LOOP_TIME == 5
    assert daemon.CONSTANT in inspect.getsource(sensor.execute_sensor_iteration_loop)


def test_the_loop_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensor, daemon.CONSTANT, 5)
    daemon.hasten()
    assert sensor.MIN_INTERVAL_LOOP_TIME == daemon.LOOP


def test_a_release_without_the_constant_keeps_its_pace_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(sensor, daemon.CONSTANT)
    with caplog.at_level(logging.WARNING):
        daemon.hasten()
    assert not hasattr(sensor, daemon.CONSTANT)
    assert "at a pace of its own" in caplog.text


def test_dagster_judges_runs_that_have_not_begun_by_a_function_of_that_name() -> None:
    judge = getattr(run_monitoring, daemon.JUDGE)
    assert list(inspect.signature(judge).parameters) == ["instance", "run_record", "logger"]
    assert daemon.JUDGE in inspect.getsource(run_monitoring.execute_run_monitoring_iteration)


def test_a_release_without_it_judges_by_itself_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(run_monitoring, daemon.JUDGE)
    with caplog.at_level(logging.WARNING):
        daemon.ask_launchers()
    assert "judges runs that wait in a queue by itself" in caplog.text


def judged(monkeypatch: pytest.MonkeyPatch, knows: bool, status: dg.DagsterRunStatus) -> tuple[bool, str]:
    """Whether Dagster judged a run by its time, and what it is then; one that `knows` calls it lost."""
    by_time: list[object] = []
    monkeypatch.setattr(run_monitoring, daemon.JUDGE, lambda *of: by_time.append(of))
    daemon.ask_launchers()
    with dg.DagsterInstance.ephemeral() as instance:
        if knows:
            instance.run_launcher.why_lost = lambda run, longest: "it is lost"  # type: ignore[attr-defined]
        run = run_of("module")
        instance.add_run(run.with_status(dg.DagsterRunStatus.STARTING))
        (record,) = instance.get_run_records()
        if status is not dg.DagsterRunStatus.STARTING:
            instance.report_run_canceled(run)
        getattr(run_monitoring, daemon.JUDGE)(instance, record, logging.getLogger())
        (record,) = instance.get_run_records()
        return bool(by_time), record.dagster_run.status.value


def test_a_launcher_that_knows_is_asked_and_the_time_alone_is_no_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starting = dg.DagsterRunStatus.STARTING
    assert judged(monkeypatch, True, starting) == (False, "FAILURE")
    assert judged(monkeypatch, False, starting) == (True, "STARTING")


def test_a_run_that_ended_meanwhile_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged(monkeypatch, True, dg.DagsterRunStatus.CANCELED) == (False, "CANCELED")
