"""The example of a sensor in another code location, as the documentation has it."""

import importlib.util
import os
import re
from pathlib import Path
from types import ModuleType

import dagster as dg
import pytest

from carbonation_core.reconcile.archive import reconcile_archive
from tests.docs.pages import DOCS
from tests.site import Site, SiteMaker, touch


@pytest.fixture
def site(make: SiteMaker) -> Site:
    return make(more='[plugins]\npackage = "tests.site:PLUGIN"\n')


@pytest.fixture
def location(site: Site, tmp_path: Path) -> ModuleType:
    """The example, loaded from its own file."""
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / "api.md").read_text(encoding="utf-8"), re.M | re.S)
    (block,) = [block for block in blocks if block.startswith("# feed_sensor.py")]
    file = tmp_path / "feed_sensor.py"
    file.write_text(block.replace("/srv/instrument", str(site.directory)), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("feed_sensor", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def complete(site: Site, *keys: str) -> None:
    for key in keys:
        site.deliver(f"{key}.dat", f"{key}.json")
        site.one_pass()


def tick(location: ModuleType, cursor: str | None) -> tuple[list[dg.RunRequest], str]:
    with dg.build_sensor_context(cursor=cursor, definitions=location.defs) as context:
        found = location.carbonation_feed(context)
    assert isinstance(found, dg.SensorResult)
    assert found.cursor is not None
    return list(found.run_requests or ()), found.cursor


def told(requests: list[dg.RunRequest]) -> list[tuple[str, str]]:
    found = [request.run_config["ops"]["take_up"]["config"] for request in requests]
    return [(config["group_key"], config["event"]) for config in found]


def test_each_entry_of_the_feed_becomes_a_run_once_and_in_order(site: Site, location: ModuleType) -> None:
    assert tick(location, None) == ([], "feed:0")
    complete(site, "run1", "run2")
    requests, cursor = tick(location, "feed:0")
    assert told(requests) == [("run1", "completed"), ("run2", "completed")]
    assert [request.run_key for request in requests] == ["carbonation-1", "carbonation-2"]
    assert tick(location, cursor) == ([], cursor)
    for request in requests:
        assert location.group_arrived.execute_in_process(run_config=request.run_config).success


def test_a_tick_whose_cursor_was_not_kept_asks_for_the_same_runs(site: Site, location: ModuleType) -> None:
    complete(site, "run1")
    first, _ = tick(location, None)
    complete(site, "run2")
    again, _ = tick(location, None)
    assert [request.run_key for request in again][:1] == [request.run_key for request in first]


def test_a_long_pause_is_made_up_for_in_ticks_of_a_portion(site: Site, location: ModuleType) -> None:
    site.deliver(*(f"run{number}.{end}" for number in range(30) for end in ("dat", "json")))
    site.one_pass()
    first, cursor = tick(location, None)
    second, _ = tick(location, cursor)
    assert (len(first), len(second)) == (25, 5)


def test_the_location_hears_of_what_was_replaced_and_retracted(site: Site, location: ModuleType) -> None:
    complete(site, "run1")
    _, cursor = tick(location, None)
    touch(site.incoming / "run1.dat", b"other bytes")
    site.one_pass()
    requests, cursor = tick(location, cursor)
    assert told(requests) == [("run1", "replaced")]
    (site.archive / "run1.json").unlink()
    reconcile_archive(site.project, "main")
    requests, cursor = tick(location, cursor)
    assert told(requests) == [("run1", "retracted")]
    assert location.group_arrived.execute_in_process(run_config=requests[0].run_config).success


def test_the_example_is_a_code_location_by_itself(location: ModuleType) -> None:
    dg.Definitions.validate_loadable(location.defs)
    assert "carbonation_dagster" not in (Path(location.__file__ or os.devnull)).read_text(encoding="utf-8")
