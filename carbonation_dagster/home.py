"""DAGSTER_HOME of the service: `.dagster/` beside config.toml, made once, whoever comes first."""

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from carbonation_core.config import Config

HOME_VARIABLE = "DAGSTER_HOME"
TICKS_AT_ONCE = 16  # sensor ticks in the daemon beyond the number of watches
HEADER = "# Written anew by each `carbonation run`. To have your own, set DAGSTER_HOME to its directory.\n"


def prepare_home(config: Config, environment: MutableMapping[str, str] = os.environ) -> Path:
    """The home, with its dagster.yaml and an initialised storage; DAGSTER_HOME is set to it.

    A DAGSTER_HOME that is set is somebody else's to configure and to migrate.
    """
    given = environment.get(HOME_VARIABLE)
    home = Path(given).absolute() if given else config.directory / ".dagster"
    home.mkdir(parents=True, exist_ok=True)
    # Two processes that find a fresh storage would both create its tables.
    with _locked(home / "carbonation.lock"):
        if not given:
            _write(home / "dagster.yaml", HEADER + json.dumps(dagster_yaml(config), indent=2))
        environment[HOME_VARIABLE] = str(home)
        _initialise(home, ours=not given)
    return home


def dagster_yaml(config: Config) -> dict[str, object]:
    """How Dagster is set up when we start it; SQLite in its home."""
    ticks = TICKS_AT_ONCE + len(config.watch)
    return {
        "concurrency": {"runs": {"max_concurrent_runs": max(4, os.cpu_count() or 1)}},
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
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
    }


def _initialise(home: Path, ours: bool) -> None:
    import dagster as dg

    marker = home / "carbonation.initialised"
    version = f"dagster {dg.__version__}\n"
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
