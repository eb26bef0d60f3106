"""Dagster's storages with kept connections, and the private names of Dagster that they lean on."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
import yaml
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from sqlalchemy import event

from carbonation_dagster.instance import storages
from carbonation_dagster.instance.storages import KeptEvents, KeptRuns, KeptSchedules

NAMED = {"module": "carbonation_dagster.instance.storages", "class": "SqliteStorage"}


@dg.op
def work() -> None:
    """A step."""


@dg.job
def small() -> None:
    """One step."""
    work()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance whose dagster.yaml names our storage."""
    settings = {
        "storage": {"custom": {**NAMED, "config": {"base_dir": str(tmp_path)}}},
        "telemetry": {"enabled": False},
    }
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def test_what_dagster_opens_is_ours(instance: dg.DagsterInstance) -> None:
    assert type(instance.run_storage) is KeptRuns
    assert type(instance.event_log_storage) is KeptEvents
    assert type(instance.schedule_storage) is KeptSchedules


def test_what_was_opened_before_is_not_looked_through_again_until_it_is_another_file(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("it looks")

    for module in (sqlite_run_storage, sqlite_schedule_storage):
        monkeypatch.setattr(module, "check_alembic_revision", refuse)
    result = small.execute_in_process(instance=instance)
    with dg.DagsterInstance.from_config(str(tmp_path)) as again:
        assert again.get_run_by_id(result.run_id)
        assert type(again.schedule_storage) is KeptSchedules

    other = tmp_path / "schedules" / "schedules.db"
    other.rename(tmp_path / "gone")
    other.touch()
    with pytest.raises(AssertionError, match="it looks"):
        dg.DagsterInstance.from_config(str(tmp_path))


def test_a_run_opens_few_connections_and_is_recorded_whole(instance: dg.DagsterInstance) -> None:
    engine = storages._sqlite(instance.event_log_storage._conn_string)
    opened: list[object] = []
    event.listen(engine, "connect", lambda connection, _: opened.append(connection))

    result = small.execute_in_process(instance=instance)

    record = instance.get_run_record_by_id(result.run_id)
    assert record is not None
    assert record.dagster_run.is_success
    assert len(instance.all_logs(result.run_id)) > 5
    assert len(opened) <= storages.KEPT


def test_the_files_lie_where_dagsters_own_lie(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    small.execute_in_process(instance=instance)
    found = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.db")}
    assert found == {"history/runs.db", "history/event_log.db", "schedules/schedules.db"}


def test_a_run_is_followed_live_though_its_file_does_not_change(instance: dg.DagsterInstance) -> None:
    run_id = str(uuid4())
    told: list[str] = []
    ended = threading.Event()

    def tell(entry: dg.EventLogEntry, cursor: str) -> None:
        told.append(entry.dagster_event_type.value if entry.dagster_event_type else "")
        if told[-1] == "PIPELINE_SUCCESS":
            ended.set()

    instance.watch_event_logs(run_id, None, tell)
    try:
        small.execute_in_process(instance=instance, run_id=run_id)
        assert ended.wait(20)
    finally:
        instance.end_watch_event_logs(run_id, tell)
    assert "STEP_SUCCESS" in told


def test_a_fork_has_connections_of_its_own(instance: dg.DagsterInstance) -> None:
    url = instance.run_storage._conn_string
    before = storages._sqlite(url)
    child = os.fork()
    if child == 0:
        os._exit(0 if storages._sqlite(url) is not before else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_connection_that_met_a_broken_disk_is_not_used_again(instance: dg.DagsterInstance) -> None:
    engine = storages._sqlite(instance.run_storage._conn_string)
    with engine.connect() as connection:
        driver = connection.connection.dbapi_connection
        with pytest.raises(Exception, match="no such table"):
            connection.exec_driver_sql("SELECT * FROM nowhere")
        assert connection.invalidated
    with engine.connect() as connection:
        assert connection.connection.dbapi_connection is not driver
