"""How a group's way through a batch ends, and when it begins another one."""

from pathlib import Path
from typing import Any

import pytest

from carbonation_core.lifecycle import Outcome
from tests import databases
from tests.site import PLUGIN, SINGLE, Site, SiteMaker, touch

pytestmark = databases.one  # what a look has to see first


def test_a_group_whose_file_changed_under_it_is_not_claimed_before_a_look_has_seen_that(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.settle()
    (offer,) = site.claim()
    touch(site.incoming / "run1.dat", b"other bytes")
    assert site.run(offer).groups[0].outcome is Outcome.WAITING

    assert site.claim() == []
    assert site.statuses() == {"run1.dat": "detected", "run1.json": "waiting"}
    assert site.tick().ready == 0  # which sees it, so that it settles anew
    assert site.tick(3).ready == 1
    site.run_all()
    assert site.archived() == {"run1.dat": b"other bytes", "run1.json": b"bytes"}
    assert site.history("run1.dat")[-3:] == [
        ("waiting", "detected", "changed"),
        ("detected", "waiting", "grouped"),
        ("waiting", "archived", "archived"),
    ]


def test_a_group_whose_file_left_under_it_is_cleared_by_the_next_look(make: SiteMaker) -> None:
    site = make(SINGLE)
    site.deliver("a.dat")
    site.settle()
    (offer,) = site.claim()
    (site.incoming / "a.dat").unlink()
    assert site.run(offer).groups[0].outcome is Outcome.WAITING

    assert site.claim() == []
    site.tick()
    assert site.statuses() == {"a.dat": "cleared"}


def test_an_extractor_that_rewrites_its_file_has_it_settle_anew_each_time(
    make: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rewriting(file_paths: list[Path]) -> dict[str, Any]:
        touch(file_paths[0], b"as it likes it")
        return {}

    monkeypatch.setitem(PLUGIN.extractors, "sizes", rewriting)
    site = make('[single.metadata]\nextract = "sizes"\n')
    site.deliver("a.dat")
    site.one_pass()

    assert site.claim() == []
    assert site.statuses() == {"a.dat": "detected"}
    monkeypatch.undo()
    site.one_pass()
    assert site.archived() == {"a.dat": b"as it likes it"}
