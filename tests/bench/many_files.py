"""What looking costs while 100,000 archived files lie in delivery. `make bench`.

The claims: a tick that sees, or takes up, one new pair takes under 50 ms of CPU
and lists no directory; reconciling delivery, or the archive, takes under 15 s and
under 150 MB resident, also when nearly all files of the archive are gone.
"""

import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from carbonation_core.db import components, copies
from carbonation_core.db.engine import writing
from carbonation_core.delivery.observe import observe
from carbonation_core.disk.watcher import Watcher
from carbonation_core.names import to_text
from carbonation_core.pipeline.claim import claim
from carbonation_core.project import Project
from carbonation_core.reconcile.archive import ArchiveReconciliation, reconcile_archive
from carbonation_core.reconcile.delivery import DeliveryReconciliation, reconcile_delivery
from carbonation_core.reconcile.findings import LOSSES
from tests.site import PAIRS, Site, make_site

FILES = int(os.environ.get("BENCH_FILES", "100000"))
IN_ONE_DIRECTORY = 1000
SECONDS, MEGABYTES = 15.0, 150.0  # that a reconcile may take
TICK_SECONDS = 0.05  # of CPU
DIRECTORY = Path("build/bench")  # on the disk of the project; /tmp may be memory
DIGEST = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # of "x"


def main() -> int:
    """Measure each in a process of its own, and say whether the claims hold."""
    directory = (DIRECTORY / "many_files").resolve()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    site = make_site(directory, PAIRS, watch={"recursive": "true"})
    print(f"{FILES:,} files archived, in directories of {IN_ONE_DIRECTORY:,}")
    for place in (site.incoming, site.archive):
        fill(place)
    done = [alone(lambda: prepare(site), "made ready", limited=False)]
    done += [
        alone(lambda: tick(site), "ticks", limited=False),
        alone(lambda: reconcile_delivery(site.project, "incoming"), "reconcile delivery"),
        alone(lambda: reconcile_archive(site.project, "main"), "reconcile archive"),
    ]
    for path in sorted(site.archive.rglob("*.dat"))[1:]:
        path.unlink()
    done.append(alone(lambda: lost(site), "archive, all gone", limited=False))
    shutil.rmtree(directory)
    return 0 if all(done) else 1


def tick(site: Site) -> str:
    """What the sensor does when a pair comes, and when it has settled; raises when that costs too much."""
    watcher = Watcher(site.project.config.watch_named("incoming"), poll_interval=5)
    with watcher.hints() as hints:
        observe(site.project, "incoming", hints)
    listed: list[object] = []
    sys.addaudithook(lambda event, about: listed.append(about) if event == "os.scandir" else None)
    for pair in ("first", "second"):  # with the first, statements are compiled
        told = []
        site.deliver(f"0000/{pair}.dat", f"0000/{pair}.json")
        time.sleep(0.5)  # till the events of both have come
        for seconds, what in ((0, "a new pair"), (3, "a settled one"), (3, "nothing new")):
            site.tick_clock(seconds)
            listed.clear()
            began = time.process_time()
            with watcher.hints() as hints:
                seen = observe(site.project, "incoming", hints)
            offers = claim(site.project, "incoming", "bench") if seen.ready else []
            cost = time.process_time() - began
            told.append(f"{what} {cost * 1000:.0f} ms, {len(offers)} offers")
            # That the root can be read is always tried; so that is one.
            if pair == "second" and (cost > TICK_SECONDS or len(listed) > 1):
                raise SystemExit(f"a tick costs too much: {told[-1]}, {len(listed)} listings")
    watcher.stop()
    return "; ".join(told)


def lost(site: Site) -> ArchiveReconciliation:
    """The archive reconciled when nearly all is gone; that is no more memory, but as many changes."""
    found = reconcile_archive(site.project, "main", force=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if peak > MEGABYTES:
        raise SystemExit(f"to find all gone takes too much memory: {peak:.0f} MB")
    return found


def fill(place: Path) -> None:
    """Files of one byte."""
    for number in range(FILES):
        path = place / f"{number // IN_ONE_DIRECTORY:04}" / f"{number:06}.dat"
        if number % IN_ONE_DIRECTORY == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"x")


def prepare(site: Site) -> None:
    """The database as it is when all of them were archived."""
    observe(site.project, "incoming")
    record(site.project, site.incoming, site.archive)


def record(project: Project, incoming: Path, archive: Path) -> None:
    """Take every file for archived at the same place below the archive."""
    now = datetime.now(UTC)
    with writing(project.engine) as connection:
        made = []
        for file in components.in_delivery(connection, "incoming"):
            path = to_text(str(archive / Path(file.source_path).relative_to(incoming)))
            made.append(
                {
                    "component_id": file.id,
                    "archive_name": "main",
                    "path": path,
                    "digest": DIGEST,
                    "size_bytes": 1,
                    "mtime_ns": file.stamp.mtime_ns,
                    "copied_at": now,
                    "run_id": "bench",
                }
            )
        copies.record(connection, made)
        connection.exec_driver_sql(
            "UPDATE file_components SET status = 'archived', in_archive = 1, archive_name = 'main', "
            "archive_path = (SELECT path FROM archive_copies WHERE component_id = file_components.id)"
        )


def alone(of: Callable[[], object], what: str, limited: bool = True) -> bool:
    """Whether a call in a process of its own keeps within the limits; says what it took."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        began, cpu = time.monotonic(), time.process_time()
        try:
            found = of()
        except SystemExit as error:
            print(error)
            sys.stdout.flush()
            os._exit(1)
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{what:20} {seconds:6.2f} s, {cpu:6.2f} s of CPU, {peak:4.0f} MB at most{shown(found)}")
        sys.stdout.flush()
        os._exit(0 if not limited or (seconds < SECONDS and peak < MEGABYTES) else 1)
    return os.waitpid(child, 0)[1] == 0


def shown(found: object) -> str:
    """What a measured call found, in a few words."""
    if isinstance(found, ArchiveReconciliation):
        return f": {found.number(*LOSSES)} of {found.expected} missing"
    if isinstance(found, DeliveryReconciliation):
        return f": {found.seen} files seen"
    return f": {found}" if found else ""


if __name__ == "__main__":
    sys.exit(main())
