"""A service under load while its processes are killed, and whether its memory stays flat.

First the faults, in rounds: a burst of pairs, and in its middle something is
killed. Then, without any, mixed load till the end: pairs that trickle in, files
delivered again, groups whose extractor fails. In the end all must be archived
once, byte for byte, and no process may have grown.
"""

import random
import re
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import click

from tests.dagster._helpers.running import Running, make_project, running
from tests.faults._helpers.burst import VICTIMS, Bursts, hurt
from tests.site import make_site

RECOVERY = 30.0  # seconds within which all parts answer again
ARCHIVED = 120.0  # seconds within which the burst is archived after that
WARM = 120.0  # seconds of mixed load before memory is compared
GROWTH = 1.1  # of the last third's median over the first's; what is more is no accident
PAUSE = 0.5  # seconds between two deliveries


@click.command()
@click.option("--minutes", default=30.0, show_default=True, help="How long, all in all.")
@click.option("--kills", default=20, show_default=True, help="Rounds of a burst and a kill.")
@click.option("--pairs", default=1000, show_default=True, help="Pairs of a burst.")
def main(minutes: float, kills: int, pairs: int) -> None:
    """Kill, load, measure. The exit code is 1 when something did not hold."""
    end = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        site = make_project(lambda *given, **more: make_site(Path(directory), *given, **more), "pairs")
        bursts = Bursts(site)
        with running(site) as service:
            held = [_round(service, bursts, number, pairs) for number in range(1, kills + 1)]
            held += _mixed_load(service, bursts, end)
            began = time.monotonic()
            code = service.stop()
            click.echo(f"stopped after {time.monotonic() - began:.1f} s, exit code {code}")
        bursts.require_once_each()
        click.echo(f"{len(bursts.delivered) // 2} groups, each archived once, byte for byte")
    sys.exit(0 if all(held) else 1)


def _round(service: Running, bursts: Bursts, number: int, pairs: int) -> bool:
    """A burst, and a kill in its middle; each victim comes in turn, at a random moment."""
    victim = list(VICTIMS)[number % len(VICTIMS)]
    bursts.deliver(f"round{number}", pairs)
    service.wait_for(bursts.is_under_way)
    time.sleep(random.uniform(0, 3))
    recovered = hurt(service, victim)
    archived = service.wait_for(bursts.is_done, 600)
    bursts.require_once_each()
    holds = recovered <= RECOVERY and archived <= ARCHIVED
    click.echo(
        f"{number:3} {victim:12} works again after {recovered:5.1f} s, all archived {archived:5.1f} s later"
        + ("" if holds else "  TOO SLOW")
    )
    return holds


def _mixed_load(service: Running, bursts: Bursts, end: float) -> list[bool]:
    """Deliver until the end, and compare each process with itself; whether each stayed flat."""
    sizes: dict[str, list[float]] = defaultdict(list)
    warm = min(time.monotonic() + WARM, (time.monotonic() + end) / 2)
    number = 0
    while time.monotonic() < end:
        number += 1
        bursts.deliver(f"mixed{number}", 1)
        if number % 20 == 0:
            service.site.deliver(f"bad{number}.dat", f"bad{number}.json")
        if number % 50 == 0:
            service.wait_for(bursts.is_done, 300)
            bursts.deliver_again(f"mixed{number}-0")
        if time.monotonic() > warm:
            for name, pids in service.pids().items():
                if name != "run worker":
                    sizes[name].append(sum(_resident(pid) for pid in pids))
            sizes["carbonation run"].append(_resident(service.process.pid))
        time.sleep(PAUSE)
    service.wait_for(bursts.is_done, 300)
    flat = []
    click.echo("resident memory in MB: median of the first and of the last third, most")
    for name, seen in sorted(sizes.items()):
        third = max(1, len(seen) // 3)
        first, last = median(seen[:third]), median(seen[-third:])
        flat.append(last <= GROWTH * first)
        click.echo(f"  {name:16} {first:6.1f} {last:6.1f} {max(seen):6.1f}{'' if flat[-1] else '  GROWS'}")
    return flat


def _resident(pid: int) -> float:
    try:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    main()
