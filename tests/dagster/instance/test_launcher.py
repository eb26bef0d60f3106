"""Who executes a run when no warm worker can, and whether a run's worker lives."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.launcher.base import LaunchRunContext, WorkerStatus
from dagster._core.origin import DEFAULT_DAGSTER_ENTRY_POINT, JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.storage.tags import GRPC_INFO_TAG

from carbonation_core.process import this_process
from carbonation_dagster.instance import launcher
from carbonation_dagster.instance.launcher import DEFINITIONS, WORKER_TAG, WarmRunLauncher

GONE = "/".join([*this_process("1").split("/")[:2], "1#1"])  # a process of this machine that has ended


def run_of(module: str, **tags: str) -> dg.DagsterRun:
    repository = RepositoryPythonOrigin(
        executable_path="python",
        code_pointer=ModuleCodePointer(module, "defs", None),
        entry_point=DEFAULT_DAGSTER_ENTRY_POINT,
    )
    return dg.DagsterRun("job", job_code_origin=JobPythonOrigin("job", repository), tags=tags)


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[WarmRunLauncher, list[str]]:
    """A launcher where nobody has warm workers, and the runs that Dagster's own launched."""
    launched: list[str] = []
    monkeypatch.setattr(launcher, "PATIENCE", 0.0)
    monkeypatch.setattr(
        DefaultRunLauncher, "launch_run", lambda self, context: launched.append(context.dagster_run.run_id)
    )
    monkeypatch.setattr(WarmRunLauncher, "_home", tmp_path)
    return WarmRunLauncher(), launched


def context(run: dg.DagsterRun) -> LaunchRunContext:
    return LaunchRunContext(run, workspace=None)


def test_without_workers_a_run_gets_a_process_of_its_own_and_the_log_says_why(
    cold: tuple[WarmRunLauncher, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    warm, launched = cold
    run = run_of(DEFINITIONS)
    with caplog.at_level(logging.WARNING):
        warm.launch_run(context(run))
    assert launched == [run.run_id]
    assert "gets a process of its own, as there is no warm worker: nobody answers" in caplog.text


def test_workers_that_cannot_load_the_definitions_say_so(
    cold: tuple[WarmRunLauncher, list[str]], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm, launched = cold
    monkeypatch.setattr(launcher, "ask", lambda *_: {"error": "the definitions cannot be loaded"})
    with caplog.at_level(logging.WARNING):
        warm.launch_run(context(run_of(DEFINITIONS)))
    assert len(launched) == 1
    assert "the definitions cannot be loaded" in caplog.text


def test_runs_of_other_code_locations_are_dagsters_own(
    cold: tuple[WarmRunLauncher, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    warm, launched = cold

    def refuse(*_: Any) -> None:
        raise AssertionError("a worker was asked")

    monkeypatch.setattr(launcher, "ask", refuse)
    warm.launch_run(context(run_of("somebody.elses")))
    assert len(launched) == 1


def test_a_launch_leaves_the_row_of_the_run_to_its_worker(
    cold: tuple[WarmRunLauncher, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    warm, launched = cold
    monkeypatch.setattr(launcher, "ask", lambda *_: {"worker": this_process("1")})
    warm.launch_run(context(run_of(DEFINITIONS)))  # an instance to write to is not there
    assert launched == []


def test_a_run_is_ended_by_its_worker_though_none_has_signed_for_it_yet(
    cold: tuple[WarmRunLauncher, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    warm, _ = cold
    run, asked = run_of(DEFINITIONS), []

    def ask(home: Path, question: dict[str, str], patience: float) -> dict[str, bool]:
        asked.append(question)
        return {"told": True}

    instance = SimpleNamespace(get_run_by_id=lambda run_id: run, report_run_canceling=lambda run: None)
    monkeypatch.setattr(WarmRunLauncher, "_instance", instance)
    monkeypatch.setattr(launcher, "ask", ask)
    assert warm.terminate(run.run_id)
    assert asked == [{"terminate": run.run_id}]


def test_a_run_is_alive_as_long_as_its_worker_and_a_run_without_one_is_not_ours_to_judge() -> None:
    warm = WarmRunLauncher()
    alive = this_process("1")
    statuses = [
        warm.check_run_worker_health(run_of(DEFINITIONS, **tags)).status
        for tags in ({WORKER_TAG: alive}, {WORKER_TAG: GONE}, {})
    ]
    assert statuses == [WorkerStatus.RUNNING, WorkerStatus.FAILED, WorkerStatus.RUNNING]


def test_a_run_that_was_launched_may_begin_as_long_as_somebody_has_it(
    cold: tuple[WarmRunLauncher, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    warm, _ = cold
    at_work, waits, lost = (run_of(DEFINITIONS) for _ in range(3))
    assert warm.may_begin(lost)  # while there is no pool nobody can say
    told = {"pid": 1, "workers": {"2": at_work.run_id, "3": None}, "waiting": [waits.run_id]}
    monkeypatch.setattr(launcher, "ask", lambda *_: told)
    assert [warm.may_begin(run) for run in (at_work, waits, lost)] == [True, True, False]
    assert warm.may_begin(run_of(DEFINITIONS, **{GRPC_INFO_TAG: "{}"}))  # in a process of its own
    assert warm.may_begin(run_of("of somebody else"))
    assert warm.may_begin(run_of(DEFINITIONS, **{WORKER_TAG: this_process("run")}))
    assert not warm.may_begin(run_of(DEFINITIONS, **{WORKER_TAG: GONE}))
