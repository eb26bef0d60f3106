"""What Dagster's storage leaves in a process each time it is opened."""

import subprocess
import sys
from pathlib import Path

import alembic
import pytest
from alembic import util

from carbonation_dagster.service.alembic_memory import locate_scripts_once

# How many things are registered for the end of the process after each of some openings.
OPENED = """
import atexit, sys
import dagster as dg
from carbonation_dagster.service.alembic_memory import locate_scripts_once

if "once" in sys.argv:
    locate_scripts_once()
with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    reference = instance.get_ref()
for _ in range(3):
    with dg.DagsterInstance.from_ref(reference):
        print(atexit._ncallbacks())
"""


def kept(home: Path, *arguments: str) -> list[int]:
    (home / "dagster.yaml").touch()
    command = [sys.executable, "-c", OPENED, str(home), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(line) for line in done.stdout.splitlines()]


def test_a_storage_that_is_opened_again_leaves_nothing_behind(tmp_path: Path) -> None:
    assert len(set(kept(tmp_path, "once"))) == 1


def test_it_would_without_our_doing_or_that_can_go(tmp_path: Path) -> None:
    assert len(set(kept(tmp_path))) == 3, f"Alembic {alembic.__version__} needs it no more"


def test_without_the_function_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(util, "coerce_resource_to_filename")
    locate_scripts_once()
    assert not hasattr(util, "coerce_resource_to_filename")
