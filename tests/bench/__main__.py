"""`make bench`: one table of what the work costs, with floors from the same run.

Each part is a function that yields rows. Two minutes by default; FULL=1 measures
all. ONLY=name, as the parts are called, measures some.
"""

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.bench.expected import expected
from tests.bench.growth import growth
from tests.bench.hands import hands
from tests.bench.large_file import large_file
from tests.bench.once import passes
from tests.bench.processes import Others
from tests.bench.project import DIRECTORY
from tests.bench.service import deliveries, slots, watches
from tests.bench.storage import storage
from tests.bench.table import HEAD, Row, as_json, line, markdown

PARTS: tuple[Callable[[bool], Iterator[Row]], ...] = (
    deliveries,
    watches,
    slots,
    hands,
    passes,
    growth,
    expected,
    large_file,
    storage,
)
SHORT = 0.5  # seconds
BUSY = 0.2  # cores that others may use before figures are not to be trusted


def main() -> int:
    """Prints the rows as they come, and writes the table; 1 when a target is missed."""
    full = os.environ.get("FULL", "") not in ("", "0")
    only = os.environ.get("ONLY", "").replace(",", " ").split()
    if unknown := set(only) - {part.__name__ for part in PARTS}:
        sys.exit(f"ONLY knows {', '.join(part.__name__ for part in PARTS)}, not {', '.join(unknown)}")
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    DIRECTORY.mkdir(parents=True)
    began = time.monotonic()
    print(HEAD, flush=True)
    rows: list[Row] = []
    for part in PARTS:
        if not only or part.__name__ in only:
            rows += measured(part(full))
    machine = said_of(rows, time.monotonic() - began)
    (DIRECTORY / "table.md").write_text(markdown(rows, machine))
    (DIRECTORY / "table.json").write_text(as_json(rows, machine))
    print(f"\n{machine}\nIt stands in {DIRECTORY}/table.md and table.json.")
    return 1 if any(row.holds is False for row in rows) else 0


def measured(rows: Iterator[Row]) -> Iterator[Row]:
    """Each row with what others used of the machine since the one before."""
    others, cores = Others(), 0.0
    for row in rows:
        if others.seconds() > SHORT:  # figures that come together were measured together
            if (used := others.cores()) is not None:
                cores = used
            others = Others()
        seen = replace(row, others=cores)
        print(line(seen), flush=True)
        yield seen


def said_of(rows: list[Row], seconds: float) -> str:
    """On what, and how quiet it was."""
    missed = sum(row.holds is False for row in rows)
    most = max((row.others for row in rows), default=0.0)
    quiet = (
        "The machine was otherwise idle."
        if most < BUSY
        else f"Others used up to {most:.1f} cores meanwhile, so the figures are worse than they would be."
    )
    return (
        f"{len(rows)} figures in {seconds:.0f} s, {missed} miss their target. "
        f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}. {quiet}"
    )


if __name__ == "__main__":
    sys.exit(main())
