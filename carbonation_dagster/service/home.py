"""DAGSTER_HOME of the service: `.dagster/` beside config.toml, made once, whoever comes first."""

import contextlib
import fcntl
import functools
import importlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from carbonation_core.config.loading import Config
from carbonation_core.errors import CarbonationError
from carbonation_dagster.environment import DAGSTER_HOME

log = logging.getLogger(__name__)

MODE = 0o700  # of its directory: events hold paths, metadata and what plugins say
TICKS_AT_ONCE = 16  # sensor ticks in the daemon beyond the number of watches
LEAST_ROOM = 64 * 1024  # bytes on its disk, without which SQLite cannot write, and may not be able to read
NO_ROOM = "no room is left on its disk"
HEADER = "# Written anew by each `carbonation run`. To have your own, set DAGSTER_HOME to its directory.\n"


class HomeError(CarbonationError):
    """DAGSTER_HOME cannot be used."""


def own_directory(config: Config) -> Path:
    """The home that a project has of its own."""
    return config.directory / ".dagster"


def make_directory(path: Path) -> None:
    """The directory, for us alone if it is made now; raises `HomeError`."""
    try:
        path.mkdir(mode=MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise HomeError(f'directory "{path}" cannot be made: {error.strerror}') from error


def prepare_home(config: Config, environment: MutableMapping[str, str] = os.environ) -> Path:
    """The home, with its dagster.yaml and an initialised storage; DAGSTER_HOME is set to it.

    A DAGSTER_HOME that is set is somebody else's to configure and to migrate.
    Raises `HomeError`.
    """
    given = environment.get(DAGSTER_HOME)
    home = Path(given).absolute() if given else own_directory(config)
    make_directory(home)
    try:
        # Two processes that find a fresh storage would both create its tables.
        with _locked(home / "carbonation.lock"):
            if not given:
                _write(home / "dagster.yaml", HEADER + json.dumps(dagster_yaml(config, home), indent=2))
            environment[DAGSTER_HOME] = str(home)
            _initialise(home, ours=not given)
    except Exception as error:
        raise HomeError(unusable(home, error)) from error
    return home


def unusable(home: Path, error: Exception) -> str:
    """A sentence for what a storage of Dagster raises."""
    cause = getattr(error, "orig", None) or error  # SQLAlchemy wraps what a driver raises
    why = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause).partition("\n")[0]
    with contextlib.suppress(OSError):
        if not _has_room(home):
            why = NO_ROOM
    return _unusable(home, why or type(error).__name__)


def require_room(home: Path) -> None:
    """Raise `HomeError` when its disk is full: SQLite may read on, so that a question does not tell."""
    try:
        has_room = _has_room(home)
    except OSError as error:
        raise HomeError(unusable(home, error)) from error
    if not has_room:
        raise HomeError(_unusable(home, NO_ROOM))


def _has_room(home: Path) -> bool:
    return shutil.disk_usage(home).free >= LEAST_ROOM


def _unusable(home: Path, why: str) -> str:
    return f'Dagster\'s storage in "{home}" cannot be used: {why}'


def dagster_yaml(config: Config, home: Path) -> dict[str, object]:
    """How Dagster is set up when we start it; SQLite in its home."""
    ticks = TICKS_AT_ONCE + len(config.watch)
    return {
        **_fitted(home),
        "run_monitoring": {
            "enabled": True,
            "start_timeout_seconds": 180,
            "max_runtime_seconds": int(config.service.max_runtime.total_seconds()),
            "poll_interval_seconds": 30,
        },
        "run_retries": {"enabled": False},
        # A tick that waits for a slow directory holds up no other watch.
        "sensors": {"use_threads": True, "num_workers": ticks},
        "schedules": {"use_threads": True, "num_workers": 4},
        # Days. Ticks are the only thing that Dagster clears away by itself.
        "retention": {
            kind: {"purge_after_days": {"skipped": 1, "success": 7, "failure": 7, "started": 1}}
            for kind in ("sensor", "schedule")
        },
        # Without it each run tells some forty events to standard error, at DEBUG.
        "python_logs": {"python_log_level": "INFO"},
        # What a run prints goes to the service's log. To keep it in files, Dagster
        # starts four processes a run, and loses the last second of what they copy.
        "compute_logs": {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
        },
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
    }


def _fitted(home: Path) -> dict[str, object]:
    """Parts of Dagster that are ours, or its own where ours do not go with its release.

    All events are in one file. By default each run has its own, which takes
    110 kB before the first event and stays when the run is deleted.
    """
    if not is_fitted():
        return {
            "event_log_storage": {
                "module": "dagster._core.storage.event_log",
                "class": "ConsolidatedSqliteEventLogStorage",
                "config": {"base_dir": str(home / "history")},
            },
        }
    ours = "carbonation_dagster.instance"
    return {
        "storage": {
            "custom": {
                "module": f"{ours}.storages",
                "class": "SqliteStorage",
                "config": {"base_dir": str(home)},
            }
        },
        "run_launcher": {"module": f"{ours}.launcher", "class": "WarmRunLauncher"},
        # Dagster's queue looks for runs every five seconds. How many there are at
        # once is decided where they are asked for: `[service] runs_at_once`.
        "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"},
    }


@functools.cache
def is_fitted() -> bool:
    """Whether our parts of Dagster go with its release, parts of which are not public."""
    try:
        for ours in ("pool", "code_server"):
            importlib.import_module(f"carbonation_dagster.instance.{ours}")
    except (ImportError, AttributeError) as error:
        log.warning("Dagster runs with its own storage and launcher, which are slower: %s", error)
        return False
    return True


def _initialise(home: Path, ours: bool) -> None:
    import dagster as dg

    marker = home / "carbonation.initialised"
    version = f"dagster {dg.__version__}, one file of events\n"
    before = marker.read_text(encoding="utf-8") if marker.exists() else None
    if before == version:
        return
    with dg.DagsterInstance.from_config(str(home)) as instance:
        # Opening it made the tables that were missing. This is not public, but
        # it is what `dagster instance migrate` does, at the price of a process.
        if ours and before is not None:
            with contextlib.redirect_stdout(sys.stderr):
                instance.upgrade()
    _write(marker, version)


def _write(path: Path, text: str) -> None:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
