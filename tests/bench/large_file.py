"""A large file, against `cp`, `sync` and `sha256sum` of it."""

import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

from tests.bench import plain
from tests.bench.project import project
from tests.bench.table import Row

ROUNDS = 3  # of both, in turn; the medians count


def large_file(full: bool) -> Iterator[Row]:
    """Digest included, and durable; memory must not follow the size."""
    mebibytes = 2048 if full else 256
    with project() as bench:
        bench.deliver(1)
        start = bench.carbonation("run", "--once")
        by_hand, by_us, peak = [], [], 0.0
        for number in range(ROUNDS):
            source, target = bench.incoming / f"large{number}.dat", bench.directory / "copied"
            fill(source, mebibytes)
            describe(source)
            by_hand.append(plain.seconds(partial(copied, source, target)))
            cost = bench.carbonation("run", "--once")
            by_us.append(cost.seconds - start.seconds)
            peak = max(peak, cost.megabytes - start.megabytes)
            archived = next((bench.directory / "archive").rglob(source.name))
            for path in (source, archived, target):
                path.unlink()
        work, by_means = f"a file of {mebibytes:,} MiB", "`cp`, `sync`, `sha256sum`"
        floor = median(by_hand)
        yield Row(f"{work}: time beyond start-up", median(by_us), "s", floor, by_means, 1.5 * floor)
        yield Row(f"{work}: memory beyond start-up", peak, "MB", target=64)


def fill(path: Path, mebibytes: int) -> None:
    """Bytes that no file system can share or squeeze."""
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(1 << 20))
    os.sync()


def describe(path: Path) -> None:
    path.with_suffix(".json").write_text('{"instrument": "lidar-1", "start": "2026-01-01T00:00:00Z"}')


def copied(source: Path, target: Path) -> None:
    """What a person would do by hand, durable at the end."""
    subprocess.run(["cp", source, target], check=True)
    os.sync()
    subprocess.run(["sha256sum", target], check=True, stdout=subprocess.DEVNULL)
