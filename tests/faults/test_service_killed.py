"""A service whose processes are killed, or which is stopped, in the middle of a burst."""

import random
import signal
import time

import pytest

from tests.dagster._helpers.running import make_project, running
from tests.faults._helpers.burst import VICTIMS, Bursts, hurt
from tests.site import SiteMaker

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

PAIRS = 200  # of each burst


def test_nothing_is_lost_or_doubled_whatever_is_killed(make: SiteMaker) -> None:
    site = make_project(make, "pairs", service={"groups_per_run": "100"})
    bursts = Bursts(site)
    with running(site) as service:
        for number, victim in enumerate(random.sample(list(VICTIMS), 3)):
            bursts.deliver(f"killed{number}", PAIRS)
            service.wait_for(lambda: bursts.is_under_way() or bursts.is_done())
            print(f"{victim}: works again after {hurt(service, victim):.0f} s")
        service.wait_for(bursts.is_done, 150)
        bursts.require_once_each()

        bursts.deliver("stopped", PAIRS)
        service.wait_for(bursts.is_under_way)
        began = time.monotonic()
        assert service.stop() == 0
        print(f"stopped after {time.monotonic() - began:.0f} s")
        assert service.pids() == {}

    with running(site, "--no-ui") as service:
        service.wait_for(lambda: bursts.is_under_way() or bursts.is_done())
        service.process.send_signal(signal.SIGKILL)
        service.process.wait()
        deadline = time.monotonic() + 10
        while service.pids():
            assert time.monotonic() < deadline, service.pids()
            time.sleep(0.1)

    with running(site, "--no-ui") as service:
        service.wait_for(bursts.is_done, 150)
    bursts.require_once_each()
