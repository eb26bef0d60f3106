"""How the service does: what its parts last said, what waits, and what is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from carbonation_core.db import census, migrate, rules_log, service
from carbonation_core.db.census import OldestGroup, RetryQueue, Totals
from carbonation_core.db.engine import database_now, reading
from carbonation_core.db.migrate import SchemaStatus
from carbonation_core.db.rules_log import Version
from carbonation_core.db.service import PartState
from carbonation_core.errors import DatabaseError
from carbonation_core.lifecycle import FileStatus
from carbonation_core.observe import part_name
from carbonation_core.project import Project

WINDOWS: Mapping[str, timedelta] = MappingProxyType(
    {
        "1h": timedelta(hours=1),
        "4h": timedelta(hours=4),
        "1d": timedelta(days=1),
        "7d": timedelta(days=7),
        "30d": timedelta(days=30),
    }
)
ALL = "all"
_MISSED_BEATS = 3  # so many heartbeats may fail to come before something is wrong


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the service; `age` is the time since its last heartbeat."""

    name: str
    started_at: datetime
    last_heartbeat: datetime
    age: timedelta
    is_late: bool


@dataclass(frozen=True, slots=True)
class WatchHealth:
    """A watch; `last_look` is None before the first."""

    name: str
    path: str
    last_look: datetime | None
    files: int | None
    error: str | None


@dataclass(frozen=True)
class Status:
    """Everything that `carbonation status` tells. `problems` has a sentence for each thing that is wrong."""

    at: datetime
    problems: tuple[str, ...]
    parts: tuple[Part, ...]
    watches: tuple[WatchHealth, ...]
    components: Mapping[FileStatus, Mapping[str, int]]  # by the windows' names, and ALL
    totals: Totals
    queue_depth: int
    workers_active: int
    retry_queue: RetryQueue
    oldest_group: OldestGroup | None
    oldest_is_stale: bool
    rules: Version | None
    refused_rules: Version | None

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def require_database(project: Project) -> None:
    """Raise `DatabaseError`, saying what to run, unless the database is there and current."""
    if _is_absent(project):
        raise DatabaseError(
            f"database {project.config.database.name} is not initialised; run: carbonation db init"
        )
    migrate.require_current(project.engine, project.plugin.migrations_path)


def schema(project: Project) -> SchemaStatus:
    """Where the schema stands, also of a database that is not there."""
    if _is_absent(project):
        return SchemaStatus((), (), ())
    return migrate.status(project.engine, project.plugin.migrations_path)


def _is_absent(project: Project) -> bool:
    # To connect would make the file, for whoever happened to ask and as its owner.
    database = project.config.database
    return database.drivername == "sqlite" and not Path(database.name).exists()


def status(project: Project) -> Status:
    """How the service does now; raises `DatabaseError` when the database cannot tell."""
    require_database(project)
    now = project.clock()
    names = [watch.name for watch in project.config.watch]
    with reading(project.engine) as connection:
        parts = service.parts(connection)
        current = census.by_status(connection)
        reached = census.reached_since(connection, now, tuple(WINDOWS.values()))
        totals = census.totals(connection)
        queue_depth = census.due_groups(connection, names, now)
        workers = census.running_batches(connection, names, database_now(connection))
        retries = census.retry_queue(connection, names)
        oldest = census.oldest_open_group(connection, names)
        rules, last = rules_log.accepted(connection), rules_log.latest(connection)
    watches = tuple(_watch(project, name, parts.get(part_name(name))) for name in names)
    # A watch that is configured no more says nothing more, and need not.
    known = {part_name(name) for name in names}
    heard = [p for p in parts.values() if p.part in known or not p.part.startswith(part_name(""))]
    told = tuple(_part(project, part, now) for part in sorted(heard, key=lambda part: part.part))
    refused = last if last is not None and not last.accepted else None
    return Status(
        at=now,
        problems=tuple(_problems(told, watches, refused)),
        parts=told,
        watches=watches,
        components={
            status: {**dict(zip(WINDOWS, reached[status], strict=True)), ALL: current[status]}
            for status in FileStatus
        },
        totals=totals,
        queue_depth=queue_depth,
        workers_active=workers,
        retry_queue=retries,
        oldest_group=oldest,
        oldest_is_stale=oldest is not None and now - oldest.since > project.config.service.stale_threshold,
        rules=rules,
        refused_rules=refused,
    )


def service_state(project: Project) -> dict[str, object] | None:
    """What programs ask of the service, of the state that its parts keep; None before the first start."""
    now = project.clock()
    names = [watch.name for watch in project.config.watch]
    with reading(project.engine) as connection:
        parts = service.parts(connection)
        if not parts:
            return None
        return {
            "started_at": min(part.started_at for part in parts.values()),
            "last_heartbeat": max(part.last_heartbeat for part in parts.values()),
            "queue_depth": census.due_groups(connection, names, now),
            "workers_active": census.running_batches(connection, names, database_now(connection)),
            "parts": {
                part.part: {
                    "started_at": part.started_at,
                    "last_heartbeat": part.last_heartbeat,
                    **part.details,
                }
                for part in parts.values()
            },
        }


def _part(project: Project, part: PartState, now: datetime) -> Part:
    settings = project.config.service
    age = now - part.last_heartbeat
    late = age > _MISSED_BEATS * max(settings.heartbeat_interval, settings.poll_interval)
    return Part(part.part, part.started_at, part.last_heartbeat, age, late)


def _watch(project: Project, name: str, part: PartState | None) -> WatchHealth:
    details = part.details if part else {}
    return WatchHealth(
        name,
        str(project.config.watch_named(name).path),
        part.last_heartbeat if part else None,
        details.get("files"),
        details.get("error"),
    )


def _problems(
    parts: tuple[Part, ...], watches: tuple[WatchHealth, ...], refused: Version | None
) -> list[str]:
    if not parts:
        return ["the service has never run"]
    found = [
        f"{part.name}: no heartbeat for {part.age.total_seconds():.0f} s" for part in parts if part.is_late
    ]
    found += [f"watch {watch.name}: {watch.error}" for watch in watches if watch.error]
    found += [f"watch {watch.name}: was never looked at" for watch in watches if watch.last_look is None]
    if refused is not None:
        found.append(f"rules.toml was refused, earlier rules stay in force: {refused.reason}")
    return found
