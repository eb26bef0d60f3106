"""What a home's dagster.yaml names."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from carbonation_dagster.service import home
from tests.site import SiteMaker


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    home.is_fitted.cache_clear()
    yield
    home.is_fitted.cache_clear()


def test_runs_go_to_warm_workers_without_a_queue(make: SiteMaker, tmp_path: Path) -> None:
    written = home.dagster_yaml(make().project.config, tmp_path)
    assert written["run_launcher"]["class"] == "WarmRunLauncher"  # type: ignore[index]
    assert written["run_coordinator"]["class"] == "DefaultRunCoordinator"  # type: ignore[index]


def test_where_ours_do_not_fit_dagsters_own_parts_are_used_and_the_log_says_so(
    make: SiteMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "carbonation_dagster.instance.pool", None)
    with caplog.at_level(logging.WARNING):
        written = home.dagster_yaml(make().project.config, tmp_path)
    assert not written.keys() & {"run_launcher", "run_coordinator", "storage"}
    assert "event_log_storage" in written
    assert "with its own storage and launcher" in caplog.text
