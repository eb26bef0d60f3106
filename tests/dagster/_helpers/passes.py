"""Passes as a user starts them: `carbonation run --once`."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
from click.testing import CliRunner

from carbonation_dagster.cli import main
from tests.site import Site

ROOT = Path(__file__).parents[3]
QUICK = {"settle_seconds": "0.2"}


def run_once(site: Site) -> tuple[int, str]:
    """Exit code and standard error; standard output is for results, of which there are none."""
    done = CliRunner().invoke(main, ["-c", str(site.directory / "config.toml"), "run", "--once"])
    assert done.stdout == ""
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stderr


def last_word(site: Site) -> tuple[int, str]:
    """Exit code and the message of the last line."""
    code, said = run_once(site)
    return code, said.splitlines()[-1].partition("carbonation_dagster.cli.run: ")[2]


def statuses_of_runs(site: Site) -> list[str]:
    with dg.DagsterInstance.from_config(str(site.directory / ".dagster")) as instance:
        return [record.dagster_run.status.value for record in instance.get_run_records()]


def started(site: Site, *before: str) -> subprocess.Popen[str]:
    code = "from carbonation_dagster.cli import main; main()"
    config = str(site.directory / "config.toml")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*before, sys.executable, "-c", code, "-c", config, "run", "--once"]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
