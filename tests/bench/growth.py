"""How cost grows with what the database remembers: the same work after 1,000 components and after a million.

The rows are filled in by statements; then pairs are really delivered, looked at,
claimed, archived and polled for.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from carbonation_core.api import Database
from carbonation_core.delivery.observe import observe
from carbonation_core.lifecycle import Stage
from carbonation_core.pipeline.claim import claim
from carbonation_core.pipeline.work import Outcome, work
from carbonation_core.project import Project, open_project
from carbonation_core.reports.status import status
from tests.bench.filled import fill
from tests.bench.plain import seconds
from tests.bench.processes import alone
from tests.bench.project import SETTLE, Bench, databases, project
from tests.bench.table import Row

BURST = 250  # pairs that are delivered
ROUNDS = 3  # of bursts, and TIMES of questions, at each size; the medians count
TIMES = 9
WORSE = 2.0  # times what it takes at the smallest size
LIMITS = {  # seconds; what reads more where there is more
    "status": 0.1,
    "page: newest": 0.1,
    "page: by a column": 0.1,
    "count: by a column": 1.0,
}


def growth(full: bool) -> Iterator[Row]:
    """Each step at each size, beside the smallest; and each question in its limit."""
    sizes = (1_000, 10_000, 100_000, 1_000_000) if full else (1_000, 100_000)
    for database in databases() if full else ["SQLite"]:
        base: dict[str, float] = {}
        for size in sizes:
            with project(database) as bench:
                took = alone(measured, bench.config, size)
            for name, figure in took.items():
                base.setdefault(name, figure)
                if size == sizes[0]:
                    continue
                target = LIMITS[name] if name in LIMITS else WORSE * base[name]
                yield Row(
                    f"{name}, after {size:,} components, {database}",
                    figure * 1000,
                    "ms",
                    base[name] * 1000,
                    f"after {sizes[0]:,}",
                    target * 1000,
                )


def measured(config: Path, components: int) -> dict[str, float]:
    """Seconds of each step with so many components in the database."""
    opened = open_project(config)
    another = config.parent / "archive" / "another file"  # an empty archive is taken for a lost mount
    another.parent.mkdir()
    another.touch()
    fill(opened, components // 2)
    # With the first burst statements are compiled.
    bursts = [one_burst(opened, Bench(config.parent, {}, number * BURST)) for number in range(ROUNDS + 1)]
    took = {name: median(one[name] for one in bursts[1:]) for name in bursts[0]}
    with Database(opened) as database:
        end = database.get_new_files("feed:0", limit=1)[1]
        asked: dict[str, Callable[[], Any]] = {
            "status": lambda: status(opened),
            "poll: 250 in the middle": lambda: database.get_new_files(end, limit=BURST),
            "page: newest": lambda: database.query_files(
                {"complete": True}, order_by="-created_at", limit=100
            ),
            "page: by a column": lambda: database.query_files({"instrument": "lidar-7"}, limit=100),
            "count: by a column": lambda: database.query_files({"instrument": "lidar-7"}, count_only=True),
        }
        for name, question in asked.items():
            took[name] = median(seconds(question) for _ in range(TIMES))
    opened.engine.dispose()
    return took


def one_burst(opened: Project, sender: Bench) -> dict[str, float]:
    """Looks, claim and stages of 250 pairs."""
    sender.deliver(BURST)
    os.sync()
    looks = f"tick: {BURST} new pairs, then settled"
    took = {looks: seconds(lambda: observe(opened, "incoming"))}
    time.sleep(SETTLE + 0.1)
    took[looks] += seconds(lambda: observe(opened, "incoming"))
    began = time.monotonic()
    offers = claim(opened, "incoming", "bench")
    took[f"claim: {BURST} groups"] = time.monotonic() - began
    began = time.monotonic()
    for offer in offers:
        run(opened, offer.batch_id)
    took[f"six stages: {BURST} groups"] = time.monotonic() - began
    return took


def run(opened: Project, batch_id: str) -> None:
    with work(opened, batch_id, "bench") as held:
        for stage in Stage:
            held.advance(stage)
        report = held.finish()
    if len(report.with_outcome(Outcome.ARCHIVED)) != len(report.groups):
        raise RuntimeError(f"not all was archived: {report}")
