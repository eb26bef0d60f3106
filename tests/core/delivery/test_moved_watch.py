"""A watch gets another path in config.toml: nothing waits for the path of before."""

from dataclasses import replace
from pathlib import Path

import pytest

from carbonation_core.delivery.observe import observe
from carbonation_core.disk.scan import Hints
from tests import databases
from tests.site import PAIRS, Site, SiteMaker

pytestmark = databases.one  # what a look concludes


def looks_at(site: Site, path: Path) -> None:
    """The same site, with another path of its watch in config.toml."""
    config = site.project.config
    watch = config.watch[0].model_copy(update={"path": path})
    site.project = replace(site.project, config=config.model_copy(update={"watch": (watch,)}))


def moved(site: Site) -> Path:
    there = site.directory / "moved"
    site.incoming.rename(there)
    looks_at(site, there)
    return there


@databases.each
def test_what_was_archived_keeps_its_copies(make: SiteMaker) -> None:
    site = make(PAIRS)
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    there = moved(site)

    site.one_pass()

    assert {path: status for path, status in site.statuses().items() if status != "archived"} == {
        "run1.dat": "cleared",
        "run1.json": "cleared",
    }
    assert not site.component("run1.dat").in_delivery
    assert site.component(str(there / "run1.dat")).archive_path == str(site.archive / "run1.dat")
    assert site.group("run1").complete
    assert len(site.copies()) == 2


@pytest.mark.parametrize("waits", [True, False], ids=["waits", "has not settled"])
def test_a_group_that_waited_is_archived_when_it_is_whole(make: SiteMaker, waits: bool) -> None:
    site = make(PAIRS)
    site.deliver("run1.dat")
    if waits:
        site.settle()
    else:
        site.tick()
    there = moved(site)
    (there / "run1.json").write_bytes(b"bytes")

    site.one_pass()

    assert site.statuses()["run1.dat"] == "cleared"
    assert site.group("run1").complete
    assert set(site.archived()) == {"run1.dat", "run1.json"}


def test_a_path_that_is_as_it_was_again_has_its_files_back(make: SiteMaker) -> None:
    site = make(PAIRS)
    site.deliver("run1.dat")
    site.settle()
    other = site.directory / "other"
    other.mkdir()
    looks_at(site, other)
    site.tick()
    assert site.statuses() == {"run1.dat": "cleared"}

    looks_at(site, site.incoming)
    site.deliver("run1.json")
    site.one_pass()

    assert site.statuses() == {"run1.dat": "archived", "run1.json": "archived"}


def test_the_first_look_at_another_path_is_at_everything(make: SiteMaker) -> None:
    site = make(PAIRS)
    site.deliver("run1.dat")
    site.tick()
    there = moved(site)
    observe(site.project, "incoming", Hints())
    assert site.statuses() == {"run1.dat": "cleared", str(there / "run1.dat"): "detected"}


def test_what_waits_has_the_key_that_the_path_gives_now(make: SiteMaker) -> None:
    site = make(PAIRS, watch={"recursive": "true"})
    deep = site.incoming / "deep"
    deep.mkdir()
    looks_at(site, deep)
    site.deliver("deep/run1.dat")
    site.settle()
    assert site.group_keys() == {"run1"}

    looks_at(site, site.incoming)
    site.deliver("deep/run1.json")
    site.settle()
    site.run_all()

    assert site.statuses() == {"deep/run1.dat": "archived", "deep/run1.json": "archived"}
    assert site.group("deep/run1").complete
