"""The pace of the daemon hangs on a name in Dagster that is not public."""

import inspect
import logging

import pytest
from dagster._daemon import sensor

from carbonation_dagster.instance import daemon


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
