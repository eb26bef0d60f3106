"""`run --once`: passes over bursts, passes that find nothing, and looks among many files."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from carbonation_core.delivery.observe import observe
from carbonation_core.disk.watcher import Watcher
from carbonation_core.pipeline.claim import claim
from carbonation_core.project import open_project
from tests.bench import plain
from tests.bench.processes import alone
from tests.bench.project import SETTLE, Bench, project
from tests.bench.table import Row

SMALL, LARGE, MANY = 2_000, 10_000, 50_000  # pairs
TICKS = 5


def passes(full: bool) -> Iterator[Row]:
    """A small burst, a large one, and then looks at what lies there archived."""
    with project() as bench:
        yield small_burst(bench)
    with project() as bench:
        yield from large_burst(bench)
        if full:
            bench.deliver(MANY - bench.delivered)
            bench.carbonation("run", "--once")
        yield from nothing_new(bench)
        yield tick(bench)
        yield from reconciled(bench)


def small_burst(bench: Bench) -> Row:
    cpu = plain.start("dagster").cpu + SMALL * plain.pair(bench.directory)[1]
    bench.deliver(SMALL)
    os.sync()
    cost = bench.carbonation("run", "--once")
    bench.require_archived()
    work = f"`run --once`, {SMALL:,} pairs, start-up included: CPU"
    return Row(work, cost.cpu, "s", cpu, "`import dagster`, plain calls", 4)


def large_burst(bench: Bench) -> Iterator[Row]:
    """What a group costs beyond start-up, which a pass over one pair shows."""
    _, cpu = plain.pair(bench.directory)
    bench.deliver(1)
    start = bench.carbonation("run", "--once")
    bench.deliver(LARGE)
    os.sync()
    copied = plain.copy(bench.incoming, bench.directory / "copied")
    cost = bench.carbonation("run", "--once")
    bench.require_archived()
    work = f"`run --once`, {LARGE:,} pairs"
    yield Row(
        f"{work}: CPU a group beyond start-up",
        (cost.cpu - start.cpu) / LARGE * 1000,
        "ms",
        cpu * 1000,
        "plain calls",
        1.2,
    )
    yield Row(
        f"{work}: rate",
        LARGE / cost.seconds,
        "groups/s",
        LARGE / copied,
        "`cp -r`, `sync`",
        500,
        at_least=True,
    )
    yield Row(f"{work}: time", cost.seconds, "s", copied, "`cp -r`, `sync`", 5 * copied)


def nothing_new(bench: Bench) -> Iterator[Row]:
    files = 2 * bench.delivered
    found = plain.find(bench.incoming)
    costs = [bench.carbonation("run", "--once") for _ in range(plain.ROUNDS)]
    work = f"`run --once`, nothing new among {files:,} archived files"
    yield Row(f"{work}: time", median(cost.seconds for cost in costs), "s", found, "`find`", 3 * found + 1)
    memory = max(cost.megabytes for cost in costs)
    yield Row(f"{work}: peak", memory, "MB", plain.start("sqlalchemy").megabytes, "`import sqlalchemy`", 150)


def tick(bench: Bench) -> Row:
    """What the sensor does when a pair has come, and when it has settled."""
    work = f"a tick with one pair new or settled, {2 * bench.delivered:,} files archived in delivery: CPU"
    cost = alone(_ticks, bench.config, bench.delivered)
    bench.delivered += TICKS
    return Row(work, cost * 1000, "ms", target=50)


def _ticks(config: Path, first: int) -> float:
    """CPU seconds of the median tick, which may list no directory but the root, to see that it is there."""
    opened = open_project(config)
    watcher = Watcher(opened.config.watch_named("incoming"), poll_interval=5)
    with watcher.hints() as hints:
        observe(opened, "incoming", hints)
    root = str(opened.config.watch_named("incoming").path)
    listed: list[str] = []

    def note(event: str, about: tuple[object, ...]) -> None:
        if event == "os.scandir" and str(about[0]).startswith(root):
            listed.append(str(about[0]))

    sys.addaudithook(note)
    costs = []
    sender = Bench(config.parent, {}, first)
    for _ in range(TICKS):
        sender.deliver(1)
        for _ in ("new", "settled"):
            time.sleep(SETTLE + 0.1)  # till the events of both files have come, too
            listed.clear()
            began = time.process_time()
            with watcher.hints() as hints:
                seen = observe(opened, "incoming", hints)
            if seen.ready:
                claim(opened, "incoming", "bench")
            costs.append(time.process_time() - began)
    watcher.stop()
    if len(listed) > 1:
        raise RuntimeError(f"a tick listed {len(listed)} directories")
    return median(costs)


def reconciled(bench: Bench) -> Iterator[Row]:
    """Disk and database compared."""
    bench.carbonation("run", "--once")  # what the ticks have left
    for what, root in (("delivery", bench.incoming), ("archive", bench.directory / "archive")):
        cost = bench.carbonation("reconcile", what)
        work = f"`reconcile {what}`, {2 * bench.delivered:,} files"
        yield Row(f"{work}: time", cost.seconds, "s", plain.find(root), "`find`", 15)
        yield Row(f"{work}: peak", cost.megabytes, "MB", target=150)
