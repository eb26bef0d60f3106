"""A SQLite database whose file is moved away under the service, and comes back."""

import pytest

from tests import databases
from tests.dagster._helpers.running import make_project, running
from tests.site import SiteMaker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200), databases.of_sqlite]


def test_a_service_whose_file_is_gone_says_so_concludes_nothing_and_goes_on_when_it_is_back(
    make: SiteMaker,
) -> None:
    site = make_project(make)
    file = site.directory / "carbonation.db"
    with running(site, "--no-ui") as service:
        site.deliver("before.dat")
        service.wait_for(lambda: set(site.archived()) == {"before.dat"})
        service.wait_for(lambda: site.statuses() == {"before.dat": "archived"})

        away = file.rename(site.directory / "away.db")
        site.deliver("meanwhile.dat")
        service.wait_for(lambda: "SensorDaemon" in service.said())
        service.wait_for(lambda: "could not say that it lives" in service.said())
        said = service.said()
        assert f'database "{file}" is gone; nothing is done until it is back' in said
        assert not file.exists()
        assert set(site.archived()) == {"before.dat"}

        away.rename(file)
        service.wait_for(lambda: set(site.archived()) == {"before.dat", "meanwhile.dat"})
        service.wait_for(lambda: set(site.statuses().values()) == {"archived"})
        assert service.stop() == 0
        said = service.said()
    assert "Traceback" not in said
    assert [key for key, _ in site.feed()] == ["before.dat", "meanwhile.dat"]
