""" "Reload" in the UI, clicked in a real browser."""

import pytest

from tests.dagster._helpers.browser import opened
from tests.dagster._helpers.running import make_project, running
from tests.site import SiteMaker

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]


def test_a_changed_plugin_holds_after_the_button_and_no_tick_is_missed(make: SiteMaker) -> None:
    site = make_project(make)
    plugin = site.directory / "careful_plugin.py"
    with running(site) as service, opened() as browser:
        browser.go(f"http://127.0.0.1:{service.port}/locations/carbonation/definitions")
        browser.wait_for("Code locations", "watch_incoming")
        before = service.pids()
        text = plugin.read_text(encoding="utf-8")
        plugin.write_text(text.replace('"category": "x"', '"category": "y"'), encoding="utf-8")
        browser.click("Reload")
        service.wait_for(lambda: "read again: config.toml is as it was" in service.said())
        site.deliver("new.dat")
        service.wait_for(lambda: "new.dat" in site.archived())
        assert site.group("new.dat").metadata["category"] == "y"

        service.wait_for(lambda: len(service.pids()["code server"]) == 1)
        after = service.pids()
        assert after["code server"] != before["code server"]
        assert (after["daemon"], after["web server"]) == (before["daemon"], before["web server"])
        assert "UserCodeUnreachable" not in service.said()
