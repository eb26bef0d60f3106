"""How long questions take with a million components in the database. `make bench-database`.

The claim, on PostgreSQL: a claim, a poll of the feed, `status` and a filtered
page of `query files` each under 100 ms, a count by a plugin's column under 1 s.
SQLite's figures stand beside it. BENCH_SERVER is a URL of SQLAlchemy, of somebody
who may make databases; without a server there is SQLite alone.
"""

import hashlib
import os
import shutil
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateColumn

from carbonation_core.api import Database
from carbonation_core.config.sections import DatabaseSection
from carbonation_core.db import migrate, tallies
from carbonation_core.db.engine import make_engine, writing
from carbonation_core.pipeline.claim import claim
from carbonation_core.plugin import own_columns
from carbonation_core.reports.status import status
from tests.site import PLUGIN, Site, make_site

GROUPS = int(os.environ.get("BENCH_GROUPS", "500000"))  # of two components each
SERVER = os.environ.get("BENCH_SERVER", "postgresql+psycopg2://postgres@127.0.0.1:5432/postgres")
DUE = 2000  # groups that wait for a run
TIMES = 15
SHORT, LONG = 0.1, 1.0  # seconds that a question, and a count, may take
DIRECTORY = Path("build/bench")  # on the disk of the project; /tmp may be memory
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Functions that the two databases call alike.
POSTGRESQL = """
    CREATE FUNCTION hash_of(of text) RETURNS text IMMUTABLE
        RETURN encode(sha256(convert_to(of, 'UTF8')), 'hex');
    CREATE FUNCTION time_of(seconds numeric) RETURNS timestamptz IMMUTABLE RETURN to_timestamp(seconds);
    CREATE FUNCTION json_of(of text) RETURNS json IMMUTABLE RETURN of::json;
"""
# Over a year, the last at :now; of each hundred groups one is not selected, the last are due.
FILL = (
    """
    WITH RECURSIVE number(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM number WHERE i < :groups)
    INSERT INTO files (
        id, watch_name, group_key, group_key_sha256, complete, archive_path, archive_name, archive_directory,
        metadata, created_at, completed_at, modified_at, attempts, due_at, category, size, start
    ) SELECT
        i, 'incoming', 'run' || i, hash_of('run' || i), i <= :done AND i % 100 <> 0,
        CASE WHEN i <= :done AND i % 100 <> 0 THEN :archive || '/run' || i || '.dat' END,
        CASE WHEN i <= :done AND i % 100 <> 0 THEN 'main' END,
        CASE WHEN i <= :done AND i % 100 <> 0 THEN :archive END,
        json_of('{"category": "instrument-' || (i % 20) || '", "size": ' || (i % 1000) || '}'),
        time_of(:now - (:groups - i) * :step), time_of(:now - (:groups - i) * :step),
        time_of(:now - (:groups - i) * :step), 0,
        CASE WHEN i > :done THEN time_of(:now) END,
        'instrument-' || (i % 20), i % 1000, time_of(:now - (:groups - i) * :step)
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
        CASE WHEN complete THEN 'archived' WHEN due_at IS NULL THEN 'not_selected' ELSE 'waiting' END,
        created_at, NOT complete, complete, id, 0, created_at, completed_at
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


def main() -> int:
    """Measure both databases, and say whether the claim holds."""
    directory = (DIRECTORY / "million").resolve()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    print(f"{2 * GROUPS:,} components in {GROUPS:,} groups, over a year")
    site = make_site(directory)
    measured = measure("SQLite", site)
    shutil.rmtree(directory)
    if not there():
        print(f"PostgreSQL: no server at {SERVER}; another: BENCH_SERVER=…")
        return 0
    directory.mkdir()
    name = f"carbonation_bench_{uuid.uuid4().hex[:8]}"
    server = create_engine(SERVER, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        measured = measure("PostgreSQL", on_server(make_site(directory), name))
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        shutil.rmtree(directory)
    return 0 if measured else 1


def there() -> bool:
    """Whether the server answers."""
    try:
        with create_engine(SERVER, poolclass=NullPool).connect():
            return True
    except OperationalError:
        return False


def on_server(site: Site, name: str) -> Site:
    """The same project on a database of the server."""
    url = make_url(SERVER)
    section = DatabaseSection.model_validate(
        {
            "drivername": url.drivername,
            "username": url.username,
            "password": url.password,
            "host": url.host,
            "port": url.port,
            "name": name,
        }
    )
    config = site.project.config.model_copy(update={"database": section})
    site.project = replace(site.project, config=config, engine=make_engine(section))
    migrate.upgrade(site.project.engine, None)
    with writing(site.project.engine) as connection:
        for column in own_columns(PLUGIN):
            definition = CreateColumn(column).compile(dialect=site.project.engine.dialect)
            connection.exec_driver_sql(f"ALTER TABLE files ADD COLUMN {definition}")
        connection.exec_driver_sql(POSTGRESQL)
    return site


def measure(what: str, site: Site) -> bool:
    """Fill a database and ask it everything; whether each answer came in time."""
    site.now = datetime.now(UTC)
    began = time.monotonic()
    fill(site)
    print(f"{what}, filled in {time.monotonic() - began:.0f} s")
    database = Database(site.project)
    recent = site.now - timedelta(days=30)
    end = GROUPS - DUE - (GROUPS - DUE) // 100
    asked: list[tuple[str, float, Callable[[], object]]] = [
        ("status", SHORT, lambda: status(site.project)),
        ("feed: nothing new", SHORT, lambda: database.get_new_files(f"feed:{end}")),
        ("feed: the last 1000", SHORT, lambda: database.get_new_files(f"feed:{end - 1000}")),
        ("feed: 1000 in the middle", SHORT, lambda: database.get_new_files("feed:1000", "incoming")),
        ("feed: lag of a consumer at the beginning", SHORT, lambda: database.lag("bench")),
        ("page: by key", SHORT, lambda: database.query_files({"group_key": "run4711"})),
        ("page: by a plugin's column", SHORT, lambda: page(database, {"category": "instrument-7"}, None)),
        ("page: the newest", SHORT, lambda: page(database, {"complete": True}, "-created_at")),
        (
            "page: recent, by pattern, newest first",
            SHORT,
            lambda: page(database, {"created_after": recent, "category": "%-7"}, "-created_at"),
        ),
        ("count: by a plugin's column", LONG, lambda: count(database, {"category": "instrument-7"})),
        ("count: by pattern and range", LONG, lambda: count(database, {"category": "%-1%", "size_min": 500})),
    ]
    database.ack("bench", "feed:0")
    took = [timed(name, seconds, question) for name, seconds, question in asked]
    database.forget("bench")
    took.append(timed("claim", SHORT, lambda: claim(site.project, "incoming", "here"), times=1))
    database.close()
    return all(took)


def page(database: Database, filters: dict[str, object], order_by: str | None) -> object:
    """What `query files --limit 100` asks."""
    return database.query_files(filters, order_by=order_by, limit=100)


def count(database: Database, filters: dict[str, object]) -> int:
    """What `query files --count` asks."""
    return database.query_files(filters, count_only=True)


def timed(name: str, limit: float, question: Callable[[], object], times: int = TIMES) -> bool:
    """Whether the answer came in time, more often than not; says how long it took."""
    seconds = []
    for _ in range(times):
        began = time.monotonic()
        question()
        seconds.append(time.monotonic() - began)
    middle = statistics.median(seconds)
    late = "" if middle < limit else f"  more than {limit * 1000:.0f} ms"
    best = min(seconds)
    print(f"  {name:42} {middle * 1000:7.1f} ms, at best {best * 1000:.1f}{late}")
    sys.stdout.flush()
    return middle < limit


def fill(site: Site) -> None:
    """All tables as they are after a year of deliveries."""
    values = {
        "groups": GROUPS,
        "done": GROUPS - DUE,
        "archive": str(site.archive),
        "now": int(site.now.timestamp()),
        "step": timedelta(days=365).total_seconds() / GROUPS,
    }
    with writing(site.project.engine) as connection:
        if connection.dialect.name == "sqlite":
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.create_function("hash_of", 1, lambda of: hashlib.sha256(of.encode()).hexdigest())
            raw.create_function("time_of", 1, time_of)
            raw.create_function("json_of", 1, str)
        for statement in FILL:
            asked = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(text(statement), asked)
        tallies.recount(connection, ["incoming"])
    analyse(site.project.engine)


def time_of(seconds: float) -> str:
    """A time as SQLite holds it."""
    return (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S.%f")


def analyse(engine: Engine) -> None:
    """What the databases do by themselves, sooner or later."""
    statement = "ANALYZE" if engine.dialect.name == "sqlite" else "VACUUM ANALYZE"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(statement)


if __name__ == "__main__":
    sys.exit(main())
