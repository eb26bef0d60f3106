"""Dagster's storage on PostgreSQL, with connections that are kept; see `storages`."""

from collections.abc import Mapping
from typing import Any, Self

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import get_token_provider_from_config, pg_url_from_config

from carbonation_core.db.lifelines import with_bounds
from carbonation_dagster.instance.storages import kept_engine

RECYCLED = 1800  # seconds; a firewall forgets a connection that is silent for longer


class PostgresStorage(DagsterPostgresStorage):
    """Dagster's storage on PostgreSQL, with the configuration of Dagster's own."""

    def __init__(self, postgres_url: str, *arguments: Any, **options: Any) -> None:
        # A daemon or a worker must not hang for a quarter of an hour when the server loses its power.
        postgres_url = with_bounds(postgres_url)
        super().__init__(postgres_url, *arguments, **options)
        if options.get("token_provider") is None:  # a token may be another with each connection
            engine = kept_engine(
                postgres_url, isolation_level="AUTOCOMMIT", pool_pre_ping=True, pool_recycle=RECYCLED
            )
            for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
                storage._engine = engine

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """As dagster.yaml says."""
        return cls(
            inst_data=inst_data,
            postgres_url=pg_url_from_config(config_value),
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
            token_provider=get_token_provider_from_config(config_value),
        )
