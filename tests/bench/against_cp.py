"""How long one pass over a burst takes, against `cp -r` and `sync` of the same tree. `make bench`.

The claim: less than three times cp and sync, and ten seconds, which hold the
start of the process, the wait till the files have settled, and the run.
"""

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from carbonation_dagster.cli.scaffold import scaffold

PAIRS = 2000
DATA, DESCRIPTION = 4096, 200  # bytes
ROUNDS = 3  # of cp and sync; the median counts
FACTOR, EXTRA = 3, 10.0  # what a pass may take: times cp and sync, and seconds
CARBONATION = Path(sys.executable).with_name("carbonation")
DIRECTORY = Path("build/bench")  # on the disk of the project; /tmp may be memory


def main() -> int:
    """Measure both in the same session and say whether the claim holds."""
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    DIRECTORY.mkdir(parents=True)
    project = (DIRECTORY / "project").resolve()
    list(scaffold(project))
    deliver(project / "incoming")
    os.sync()
    command = [str(CARBONATION), "-c", str(project / "config.toml")]
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    subprocess.run([*command, "db", "init"], env=environment, check=True)
    rounds = [seconds(lambda: copy(project / "incoming")) for _ in range(ROUNDS)]
    plain = statistics.median(rounds)
    whole = seconds(lambda: subprocess.run([*command, "run", "--once"], env=environment, check=True))
    require_equal(project / "incoming", project / "archive")
    allowed = FACTOR * plain + EXTRA
    print(f"{PAIRS:,} pairs of {DATA:,} and {DESCRIPTION:,} bytes")
    print(f"cp -r and sync          {plain:6.2f} s  (of {ROUNDS}: {min(rounds):.2f} to {max(rounds):.2f})")
    print(
        f"carbonation run --once  {whole:6.2f} s  ({PAIRS / whole:,.0f} groups/s, {whole / plain:.1f} times)"
    )
    print(f"allowed                 {allowed:6.2f} s  ({FACTOR} times and {EXTRA:.0f} s)")
    shutil.rmtree(DIRECTORY)
    return 0 if whole < allowed else 1


def deliver(directory: Path) -> None:
    """A burst of pairs, always the same."""
    bytes_of = random.Random(1).randbytes
    for number in range(PAIRS):
        described = {"instrument": f"lidar-{number % 4}", "start": f"2026-01-01T{number % 24:02}:00:00Z"}
        (directory / f"run{number:05}.dat").write_bytes(bytes_of(DATA))
        (directory / f"run{number:05}.json").write_text(json.dumps(described).ljust(DESCRIPTION))


def copy(source: Path) -> None:
    """What a person would do by hand, durable at the end."""
    target = DIRECTORY / "copied"
    subprocess.run(["cp", "-r", source, target], check=True)
    os.sync()


def seconds(of: Callable[[], object]) -> float:
    """How long a call takes."""
    shutil.rmtree(DIRECTORY / "copied", ignore_errors=True)
    os.sync()
    began = time.monotonic()
    of()
    return time.monotonic() - began


def require_equal(delivered: Path, archive: Path) -> None:
    """Stop if the archive does not hold what was delivered."""
    copies = {path.name: path.read_bytes() for path in archive.rglob("*") if path.is_file()}
    if copies != {path.name: path.read_bytes() for path in delivered.iterdir()}:
        sys.exit("the archive does not hold what was delivered")


if __name__ == "__main__":
    sys.exit(main())
