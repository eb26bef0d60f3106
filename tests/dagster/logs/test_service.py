"""The log of a real service: whatever process speaks, each line is in the one form."""

import json

import pytest

from tests.dagster._helpers.running import make_project, running
from tests.site import SiteMaker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_all_processes_of_the_service_speak_in_one_form_and_failed_runs_are_sentences(
    make: SiteMaker,
) -> None:
    site = make_project(make)
    config = site.directory / "config.toml"
    logging = '[logging]\nfile = "log/c.log"\nformat = "json"\n'
    config.write_text(config.read_text(encoding="utf-8") + logging, encoding="utf-8")
    with running(site, "--no-ui") as service:
        site.deliver("good.dat", "bad.dat")
        service.wait_for(lambda: '"group_key": "good.dat"' in service.said())
        service.wait_for(lambda: '"group_key": "bad.dat"' in service.said())
        assert service.stop() == 0
        said = service.said()

    assert (site.directory / "log/c.log").read_text(encoding="utf-8") == said
    lines = [json.loads(line) for line in said.splitlines()]
    assert not [line for line in lines if "exception" in line]
    (good,) = [line for line in lines if line["level"] == "SUCCESS"]
    assert (good["watch"], good["group_key"]) == ("incoming", "good.dat")
    failed = [line for line in lines if line["level"] in ("WARNING", "ERROR") and "group_key" in line]
    assert [(line["level"], line["group_key"]) for line in failed] == [("WARNING", "bad.dat")]
    assert failed[0]["run_id"] != good["run_id"]
