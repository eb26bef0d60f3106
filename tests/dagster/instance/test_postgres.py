"""Dagster's storage on PostgreSQL with kept connections, and the private names that it leans on."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from sqlalchemy import event

from carbonation_core.db.lifelines import with_bounds
from carbonation_dagster.instance.postgres import PostgresStorage
from carbonation_dagster.instance.storages import KEPT, close_kept, kept_engine
from tests import databases

ON_POSTGRESQL = databases.SERVER is not None and databases.SERVER.get_backend_name() == "postgresql"

pytestmark = pytest.mark.skipif(
    not ON_POSTGRESQL, reason="is about PostgreSQL; tests/on_server postgresql make test starts one"
)

BOUNDS = {"connect_timeout": "10", "keepalives_idle": "30", "tcp_user_timeout": "60000"}


@dg.op
def work() -> None:
    """A step."""


@dg.job
def small() -> None:
    """One step."""
    work()


def test_a_run_is_recorded_by_few_connections(on_each_database: None, tmp_path: Path) -> None:
    made = databases.fresh(tmp_path)
    url = f"postgresql+psycopg2://{made.username}@{made.host}:{made.port}/{made.name}"
    bounded = with_bounds(url)
    storage = {
        "module": PostgresStorage.__module__,
        "class": PostgresStorage.__name__,
        "config": {"postgres_url": url},
    }
    settings = {"storage": {"custom": storage}, "telemetry": {"enabled": False}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    opened: list[object] = []
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        engine = kept_engine(bounded)
        event.listen(engine, "connect", lambda connection, _: opened.append(connection))
        assert instance.run_storage._engine is engine
        assert instance.event_log_storage._engine is engine
        assert instance.schedule_storage._engine is engine

        with engine.connect() as connection:
            driver: Any = connection.connection.dbapi_connection
            said = driver.get_dsn_parameters()
        assert {name: said[name] for name in BOUNDS} == BOUNDS

        result = small.execute_in_process(instance=instance)

        record = instance.get_run_record_by_id(result.run_id)
        assert record is not None
        assert record.dagster_run.is_success
        assert len(instance.all_logs(result.run_id)) > 5
    assert 0 < len(opened) <= KEPT
    close_kept()
