"""The disk with Dagster's storage fills while the service runs."""

import json
import subprocess

import pytest

from tests.dagster._helpers.running import COMMAND, make_project, running
from tests.faults._helpers.disks import fill, mounted
from tests.site import SiteMaker

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def test_the_service_says_that_there_is_no_room_and_goes_on_when_there_is(make: SiteMaker) -> None:
    site = make_project(make)
    home = site.directory / ".dagster"
    command = [*COMMAND, "-c", str(site.directory / "config.toml"), "status", "--json"]
    with mounted(home, "size=40m"), running(site, "--no-ui") as service:
        site.deliver("before.dat")
        service.wait_for(lambda: "before.dat" in site.archived())
        hog = fill(home)
        site.deliver("meanwhile.dat")
        trouble = f'the daemon cannot work: Dagster\'s storage in "{home}" cannot be used: no room is left'
        service.wait_for(lambda: trouble in service.said())
        service.wait_for(lambda: any(trouble in problem for problem in service.status().problems))
        told = subprocess.run(command, check=False, capture_output=True, text=True)
        assert told.returncode == 1
        assert any(trouble in problem for problem in json.loads(told.stdout)["problems"])

        hog.unlink()
        service.wait_for(lambda: "the daemon can work again" in service.said())
        service.wait_for(lambda: "meanwhile.dat" in site.archived())
        service.wait_for(lambda: not service.status().problems)
        site.deliver("after.dat")
        service.wait_for(lambda: "after.dat" in site.archived())
        assert service.stop() == 0
    assert "OperationalError" not in service.said()  # what Dagster says of it is a sentence
