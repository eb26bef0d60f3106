"""A project as release 0.0.11 left it: its tables, and files that it archived."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, text

BEGUN = datetime(2025, 6, 1, tzinfo=UTC)
_TIME = {"postgresql": "TIMESTAMP WITH TIME ZONE", "sqlite": "DATETIME", "mariadb": "DATETIME(6)"}
_STATUSES = (
    "detected",
    "integrity_failed",
    "waiting",
    "timed_out",
    "not_selected",
    "archived",
    "retry_pending",
    "failed",
    "cleared",
    "missing",
)


class Earlier:
    """A database of 0.0.11 with the plugin's columns of `tests.site.File`, which tests fill by hand."""

    def __init__(self, engine: Engine, incoming: Path, archive: Path) -> None:
        self.engine, self.incoming, self.archive = engine, incoming, archive
        self._ids = 0
        self._open: Connection | None = None
        self._make_tables()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """What is filled in meanwhile, in one transaction."""
        with self.engine.begin() as self._open:
            yield
        self._open = None

    def _make_tables(self) -> None:
        dialect = self.engine.dialect.name
        time, status = _TIME[dialect], "VARCHAR(16)"
        with self.engine.begin() as connection:
            if dialect == "postgresql":
                status = "filestatus"
                values = ", ".join(f"'{one}'" for one in _STATUSES)
                connection.execute(text(f"CREATE TYPE filestatus AS ENUM ({values})"))
            connection.execute(
                text(
                    "CREATE TABLE files (id INTEGER NOT NULL PRIMARY KEY, watch_name VARCHAR(32) NOT NULL, "
                    "file_type VARCHAR(255), group_key VARCHAR(256) NOT NULL, complete BOOLEAN NOT NULL, "
                    f"archive_path VARCHAR(4096), metadata JSON, created_at {time} NOT NULL, "
                    f"completed_at {time}, modified_at {time} NOT NULL, retention_date {time}, "
                    f"category VARCHAR(64), size BIGINT, start {time}, "
                    "CONSTRAINT uq_files_watch_group UNIQUE (watch_name, group_key))"
                )
            )
            connection.execute(
                text(
                    "CREATE TABLE file_components (id INTEGER NOT NULL PRIMARY KEY, watch_name VARCHAR(32), "
                    "filename VARCHAR(256) NOT NULL, source_path VARCHAR(4096) NOT NULL, "
                    f"archive_path VARCHAR(4096), size_bytes BIGINT, status {status} NOT NULL, "
                    "in_delivery BOOLEAN NOT NULL, in_archive BOOLEAN NOT NULL, "
                    "group_id INTEGER REFERENCES files (id), error_message TEXT, "
                    f"retry_count SMALLINT NOT NULL, last_retry_at {time}, detected_at {time} NOT NULL, "
                    f"archived_at {time}, cleared_at {time}, metadata JSON)"
                )
            )
            connection.execute(
                text(
                    f"CREATE TABLE service_state (id INTEGER PRIMARY KEY, started_at {time}, "
                    f"last_heartbeat {time}, queue_depth INTEGER, workers_active INTEGER)"
                )
            )
            connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
            connection.execute(text("INSERT INTO alembic_version VALUES ('p001')"))

    def group(self, key: str, **given: Any) -> int:
        """A complete group of watch "incoming", one minute after the last one."""
        self._ids += 1
        at = given.pop("completed_at", BEGUN + timedelta(minutes=self._ids))
        values: dict[str, Any] = {
            "id": self._ids,
            "watch_name": "incoming",
            "group_key": key,
            "complete": True,
            "created_at": BEGUN,
            "completed_at": at,
            "modified_at": at or BEGUN,
            "category": "old",
            "size": 5,
            "metadata": {"category": "old", "size": 5},
            **given,
        }
        self._insert("files", {**values, "metadata": json.dumps(values["metadata"])})
        return self._ids

    def file(
        self,
        name: str,
        group_id: int | None = None,
        status: str = "archived",
        *,
        content: bytes | None = b"bytes",
        is_left: bool = True,
        **given: Any,
    ) -> None:
        """A delivered file; an archived one lies in the archive, and in delivery still unless `is_left`."""
        self._ids += 1
        source, copy = self.incoming / name, self.archive / Path(name).name
        archived = status in ("archived", "missing")
        if is_left and content is not None:
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_bytes(content)
        if status == "archived" and content is not None and "archive_path" not in given:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
            if is_left:
                found = source.stat()
                os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))
        values: dict[str, Any] = {
            "id": self._ids,
            "watch_name": "incoming",
            "filename": source.name,
            "source_path": str(source.resolve()),
            "archive_path": str(copy.resolve()) if archived else None,
            "size_bytes": len(content or b""),
            "status": status,
            "in_delivery": is_left,
            "in_archive": status == "archived",
            "group_id": group_id,
            "retry_count": 0,
            "detected_at": BEGUN,
            "archived_at": BEGUN if archived else None,
            **given,
        }
        self._insert("file_components", values)

    def pair(self, stem: str, directory: str = "", **of_group: Any) -> int:
        """A complete group of two files."""
        id_ = self.group(stem, **of_group)
        self.file(f"{directory}{stem}.dat", id_)
        self.file(f"{directory}{stem}.json", id_)
        return id_

    def new_files(self, cursor: str | None, limit: int = 1000) -> tuple[list[str], str | None]:
        """What `get_new_files` of 0.0.11 gave: keys by `completed_at, id`, and the next cursor."""
        query = "SELECT completed_at, id, group_key FROM files WHERE complete ORDER BY completed_at, id"
        with self.engine.connect() as connection:
            rows = [(_aware(at), id_, key) for at, id_, key in connection.execute(text(query))]
        if cursor is not None:
            at, _, id_ = cursor.rpartition(":")
            rows = [row for row in rows if row[:2] > (datetime.fromisoformat(at), int(id_))]
        rows = rows[:limit]
        return [key for *_, key in rows], f"{rows[-1][0].isoformat()}:{rows[-1][1]}" if rows else cursor

    def _insert(self, table: str, values: Mapping[str, Any]) -> None:
        naive = {
            name: value.replace(tzinfo=None)
            if isinstance(value, datetime) and self.engine.dialect.name != "postgresql"
            else value
            for name, value in values.items()
        }
        if self.engine.dialect.name == "sqlite":  # as SQLAlchemy writes them there
            naive = {
                name: value.isoformat(" ", "microseconds") if isinstance(value, datetime) else value
                for name, value in naive.items()
            }
        names, marks = ", ".join(naive), ", ".join(f":{name}" for name in naive)
        statement = text(f"INSERT INTO {table} ({names}) VALUES ({marks})")
        if self._open is not None:
            self._open.execute(statement, naive)
            return
        with self.engine.begin() as connection:
            connection.execute(statement, naive)


def _aware(at: Any) -> datetime:
    time = datetime.fromisoformat(at) if isinstance(at, str) else at
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def in_sqlite(file: Path, incoming: Path, archive: Path) -> Earlier:
    """One in a file."""
    return Earlier(create_engine(f"sqlite:///{file}"), incoming, archive)
