"""How long reconciling takes, and how much memory, with 100,000 files archived and in delivery. `make bench`.

The claim: each of both under 15 s and under 150 MB resident.
"""

import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from carbonation_core.db import components
from carbonation_core.db.engine import writing
from carbonation_core.names import to_text
from carbonation_core.observe import observe
from carbonation_core.project import Project
from carbonation_core.reconcile import reconcile_delivery
from carbonation_core.reconcile_archive import reconcile_archive
from tests.site import Site, make_site

FILES = int(os.environ.get("BENCH_FILES", "100000"))
IN_ONE_DIRECTORY = 1000
SECONDS, MEGABYTES = 15.0, 150.0  # that either may take
DIRECTORY = Path("build/bench")  # on the disk of the project; /tmp may be memory
DIGEST = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # of "x"


def main() -> int:
    """Measure both, each in a process of its own, and say whether the claim holds."""
    directory = (DIRECTORY / "reconcile").resolve()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    site = make_site(directory, "[single]\n", watch={"recursive": "true"})
    print(f"{FILES:,} files archived, in directories of {IN_ONE_DIRECTORY:,}")
    for place in (site.incoming, site.archive):
        fill(place)
    done = [alone(lambda: prepare(site), "made ready", limited=False)]
    done += [
        alone(lambda: reconcile_delivery(site.project, "incoming"), "reconcile delivery"),
        alone(lambda: reconcile_archive(site.project, "main"), "reconcile archive"),
    ]
    shutil.rmtree(directory)
    return 0 if all(done) else 1


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
        copies = []
        for file in components.in_delivery(connection, "incoming"):
            path = to_text(str(archive / Path(file.source_path).relative_to(incoming)))
            copies.append(
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
        components.record_copies(connection, copies)
        connection.exec_driver_sql(
            "UPDATE file_components SET status = 'archived', in_archive = 1, archive_name = 'main', "
            "archive_path = (SELECT path FROM archive_copies WHERE component_id = file_components.id)"
        )


def alone(of: Callable[[], object], what: str, limited: bool = True) -> bool:
    """Whether a call in a process of its own keeps within the limits; says what it took."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        began = time.monotonic()
        found = of()
        seconds = time.monotonic() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{what:20} {seconds:6.2f} s, {peak:4.0f} MB at most" + (f": {found}" if found else ""))
        sys.stdout.flush()
        os._exit(0 if not limited or (seconds < SECONDS and peak < MEGABYTES) else 1)
    return os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    sys.exit(main())
