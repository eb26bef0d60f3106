"""A database as it is after a year of deliveries, filled by statements."""

import hashlib
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, text

from carbonation_core.db import tallies
from carbonation_core.db.engine import writing
from carbonation_core.project import Project

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Functions that the two databases call alike.
POSTGRESQL = """
    CREATE FUNCTION hash_of(of text) RETURNS text IMMUTABLE
        RETURN encode(sha256(convert_to(of, 'UTF8')), 'hex');
    CREATE FUNCTION time_of(seconds numeric) RETURNS timestamptz IMMUTABLE RETURN to_timestamp(seconds);
    CREATE FUNCTION json_of(of text) RETURNS json IMMUTABLE RETURN of::json;
"""
NUMBERED = """
    SELECT setval(pg_get_serial_sequence('files', 'id'), (SELECT max(id) FROM files)),
        setval(pg_get_serial_sequence('file_components', 'id'), (SELECT max(id) FROM file_components))
"""
# Over a year, the last at :now; one of a hundred groups is not selected. All is gone from delivery.
FILL = (
    """
    WITH RECURSIVE number(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM number WHERE i < :groups)
    INSERT INTO files (
        id, watch_name, group_key, group_key_sha256, complete, archive_path, archive_name, archive_directory,
        metadata, created_at, completed_at, modified_at, attempts, instrument, quality, start
    ) SELECT
        i, 'incoming', 'run' || i, hash_of('run' || i), i % 100 <> 0,
        CASE WHEN i % 100 <> 0 THEN :archive || '/run' || i || '.dat' END,
        CASE WHEN i % 100 <> 0 THEN 'main' END,
        CASE WHEN i % 100 <> 0 THEN :archive END,
        json_of('{"instrument": "lidar-' || (i % 20) || '", "quality": ' || (i % 1000) || '}'),
        time_of(:now - (:groups - i) * :step), time_of(:now - (:groups - i) * :step),
        time_of(:now - (:groups - i) * :step), 0,
        'lidar-' || (i % 20), i % 1000, time_of(:now - (:groups - i) * :step)
    FROM number
    """,
    """
    INSERT INTO file_components (
        id, watch_name, filename, source_path, source_path_sha256, archive_name, archive_path, size_bytes,
        mtime_ns, ctime_ns, inode, quiet_since, digest, status, status_since, in_delivery, in_archive,
        group_id, retry_count, detected_at, archived_at
    ) SELECT
        2 * id - part, 'incoming', group_key || extension, '/delivery/' || group_key || extension,
        hash_of('/delivery/' || group_key || extension), archive_name,
        :archive || '/' || group_key || extension, 1000 + id % 1000, 1, 1, '1:' || (2 * id - part),
        created_at, hash_of(group_key || extension),
        CASE WHEN complete THEN 'archived' ELSE 'not_selected' END,
        created_at, :gone, complete, id, 0, created_at, completed_at
    FROM files, (SELECT 0 AS part, '.dat' AS extension UNION ALL SELECT 1, '.json') AS parts
    """,
    """
    INSERT INTO status_changes (component_id, at, from_status, to_status, event)
    SELECT id, detected_at, before, after, event FROM file_components, (
        SELECT NULL AS before, 'detected' AS after, 'seen' AS event
        UNION ALL SELECT 'detected', 'waiting', 'grouped'
        UNION ALL SELECT 'waiting', 'archived', 'archived'
    ) AS steps WHERE status = 'archived' OR event <> 'archived'
    """,
    """
    INSERT INTO archive_copies (
        component_id, archive_name, path, path_key, digest, size_bytes, mtime_ns, copied_at, run_id
    ) SELECT id, archive_name, archive_path, hash_of(archive_path), digest, size_bytes, mtime_ns,
        archived_at, 'bench'
    FROM file_components WHERE status = 'archived'
    """,
    """
    INSERT INTO feed (sequence, group_id, watch_name, event, at)
    SELECT row_number() OVER (ORDER BY id), id, watch_name, 'completed', completed_at
    FROM files WHERE complete
    """,
    "INSERT INTO counters (name, value) SELECT 'feed', count(*) FROM feed",
)


def fill(project: Project, groups: int) -> None:
    """All tables, for so many pairs."""
    now = datetime.now(UTC)
    values = {
        "groups": groups,
        "gone": False,
        "archive": str(project.config.directory / "archive"),
        "now": int(now.timestamp()),
        "step": timedelta(days=365).total_seconds() / groups,
    }
    with writing(project.engine) as connection:
        is_sqlite = connection.dialect.name == "sqlite"
        if is_sqlite:
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.create_function("hash_of", 1, lambda of: hashlib.sha256(of.encode()).hexdigest())
            raw.create_function("time_of", 1, time_of)
            raw.create_function("json_of", 1, str)
        else:
            connection.exec_driver_sql(POSTGRESQL)
        for statement in FILL:
            asked = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(text(statement), asked)
        if not is_sqlite:
            connection.exec_driver_sql(NUMBERED)
        tallies.recount(connection, ["incoming"])
    analyse(project.engine)


def time_of(seconds: float) -> str:
    """A time as SQLite holds it."""
    return (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S.%f")


def analyse(engine: Engine) -> None:
    """What PostgreSQL does by itself, sooner or later; SQLite does so only when it is asked to."""
    if engine.dialect.name == "sqlite":
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
