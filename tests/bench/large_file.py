"""How long a large file takes into the archive, against `cp`, `sync` and `sha256sum` of it. `make bench`.

The claim: at most 1.5 times as long, and 64 MiB of memory more than before.
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.site import SINGLE, make_site

MEBIBYTES = int(os.environ.get("BENCH_MEBIBYTES", "2048"))
ROUNDS = 3  # of both, in turn; the medians count
FACTOR, GROWTH = 1.5, 64.0  # what archiving may take: times cp and sha256sum, and MiB
DIRECTORY = Path("build/bench")  # on the disk of the project; /tmp may be memory


def main() -> int:
    """Measure both in turn and say whether the claim holds."""
    directory = (DIRECTORY / "large").resolve()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    site = make_site(directory, SINGLE)
    site.archive.mkdir()
    (site.archive / "another file").touch()  # an empty archive would be taken for a mount that is gone
    by_hand, by_us = [], []
    memory = peak()
    for number in range(ROUNDS):
        delivered, archived = site.incoming / f"{number}.bin", site.archive / f"{number}.bin"
        fill(delivered)
        site.settle()
        by_hand.append(seconds(lambda source=delivered: copy(source, directory / "copied")))
        by_us.append(seconds(site.run_all))
        if site.statuses()[delivered.name] != "archived":
            sys.exit(f"{delivered.name} was not archived: {site.component(delivered.name).error_message}")
        for path in (delivered, archived, directory / "copied"):
            path.unlink()
    growth = peak() - memory
    ratio = statistics.median(by_us) / statistics.median(by_hand)
    print(f"a file of {MEBIBYTES:,} MiB")
    print(f"cp, sync, sha256sum     {told(by_hand)}")
    print(f"archived                {told(by_us)}, {ratio:.2f} times, {growth:.0f} MiB of memory")
    shutil.rmtree(directory)
    return 0 if ratio < FACTOR and growth < GROWTH else 1


def fill(path: Path) -> None:
    """Bytes that no file system can share or squeeze."""
    with path.open("wb") as file:
        for _ in range(MEBIBYTES):
            file.write(os.urandom(1 << 20))
    os.sync()


def copy(source: Path, target: Path) -> None:
    """What a person would do by hand, durable at the end."""
    subprocess.run(["cp", source, target], check=True)
    os.sync()
    subprocess.run(["sha256sum", target], check=True, stdout=subprocess.DEVNULL)


def peak() -> float:
    """The most memory that this process ever had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def seconds(of: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.monotonic()
    of()
    return time.monotonic() - began


def told(rounds: Sequence[float]) -> str:
    """The median, and between what all of them were."""
    return f"{statistics.median(rounds):6.2f} s  (of {len(rounds)}: {min(rounds):.2f} to {max(rounds):.2f})"


if __name__ == "__main__":
    sys.exit(main())
