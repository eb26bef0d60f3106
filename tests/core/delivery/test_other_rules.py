"""Another rules.toml: what the old rules decided is decided anew, in the service and from pass to pass."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from carbonation_core.errors import ConfigError
from carbonation_core.reports.status import status
from tests.site import PAIRS, Site, SiteMaker, open_site

KEYED = """
    [[archive]]
    name = "keyed"
    destination = "archive/{category}/{start}"
"""


@dataclass(frozen=True)
class Case:
    """Files that the first rules leave in a status, and other rules that let them through."""

    status: str
    first: str
    then: str
    files: tuple[str, ...] = ("a.dat", "a.json")
    wait: float = 0
    archive: str = 'archive = "main"\n'  # of the watch


CASES = [
    Case("waiting", PAIRS, PAIRS.replace('[".dat", ".json"]', '[".dat"]'), ("a.dat",)),
    Case("integrity_failed", PAIRS.replace("value = 1", "value = 100"), PAIRS),
    Case(
        "timed_out",
        PAIRS.replace("[[pairs.integrity]]", 'on_timeout = "skip"\n[[pairs.integrity]]'),
        PAIRS.replace('[".dat", ".json"]', '[".dat"]'),
        ("a.dat",),
        wait=7201,
    ),
    Case(
        "not_selected",
        PAIRS + '[pairs.metadata]\nextract = "sizes"\n[[pairs.selection]]\nlacks_keys = ["category"]\n',
        PAIRS,
    ),
    Case(
        "failed",  # as it leads nowhere
        PAIRS + '[[pairs.routing]]\nmatch = "*"\narchive = "keyed"\n',
        PAIRS,
    ),
    Case(
        "failed",  # as no archive is named
        PAIRS + '[[pairs.routing]]\nmatch = "b*"\narchive = "main"\n',
        PAIRS + '[[pairs.routing]]\nmatch = "*"\narchive = "main"\n',
        archive="",
    ),
]


def as_the_service(site: Site) -> Site:
    return site


def as_another_pass(site: Site) -> Site:
    """A process of its own, which knows only what the database holds."""
    again = open_site(site.directory)
    again.now = site.now
    return again


@pytest.mark.parametrize("next_look", [as_the_service, as_another_pass])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.status)
def test_what_the_old_rules_decided_is_decided_anew(
    make: SiteMaker, case: Case, next_look: Callable[[Site], Site]
) -> None:
    site = make(case.first, more=KEYED)
    config = site.directory / "config.toml"
    config.write_text(config.read_text().replace('archive = "main"\n', case.archive, 1))
    site = as_another_pass(site)
    site.deliver(*case.files)
    site.one_pass()
    site.tick(case.wait)
    assert set(site.statuses().values()) == {case.status}
    site.tick(60)
    assert set(site.statuses().values()) == {case.status}, "nothing but the rules changes that"

    site.set_rules(case.then)
    site = next_look(site)
    site.one_pass()

    assert set(site.statuses().values()) == {"archived"}
    assert "rules_changed" in [event for _, _, event in site.history("a.dat")]


def test_what_is_archived_and_what_is_at_work_is_left_alone(site: Site) -> None:
    site.deliver("a.dat", "a.json")
    site.one_pass()
    site.deliver("b.dat", "b.json")
    site.settle()
    (offer,) = site.claim()
    site.set_rules(PAIRS + "# other\n")
    site.tick()
    assert site.statuses() == dict.fromkeys(("a.dat", "a.json"), "archived") | dict.fromkeys(
        ("b.dat", "b.json"), "waiting"
    )
    site.run(offer)
    assert set(site.statuses().values()) == {"archived"}
    assert site.group("b").rules_digest == site.group("a").rules_digest


def test_refused_rules_are_told_and_the_earlier_ones_go_on(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.deliver("a.dat")
    in_force = site.settle().rules_digest
    site.set_rules(PAIRS.replace("stem", "stam"))
    for _ in range(2):
        assert site.tick().rules_digest == in_force
    assert caplog.text.count("rules refused") == 1
    found = status(site.project)
    assert found.refused_rules
    assert [problem for problem in found.problems if "rules.toml was refused" in problem]
    assert [problem for problem in found.problems if '"stam"' in problem]
    site.deliver("a.json")
    site.one_pass()
    assert set(site.statuses().values()) == {"archived"}

    site.set_rules(PAIRS)
    site.tick()
    assert status(site.project).refused_rules is None


def test_without_any_accepted_rules_a_fault_is_an_error(make: SiteMaker) -> None:
    site = make(PAIRS.replace("stem", "stam"))
    with pytest.raises(ConfigError, match="stam"):
        site.tick()
