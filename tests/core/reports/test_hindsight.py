"""Other rules tried on deliveries as they came."""

from datetime import timedelta
from pathlib import Path

import pytest

from carbonation_core.reports.hindsight import Change, Compared, hindsight
from carbonation_core.reports.replay import candidate_rules
from tests import databases
from tests.site import Site, SiteMaker

RULES = """
    [slots.completeness]
    group_by = "pattern"
    patterns = "{run}_{part:d}.dat"
    key = ["run"]
    timeout_minutes = 30
    on_timeout = "archive_partial"
    required = [{ part = "1-3" }]
"""
WANTED = 'required = [{ part = "1-2" }]\n    wanted = [{ part = 3 }]\n    wanted_minutes = 5\n'
ALL = 'required = [{ part = "1-3" }]\n'


def tried(site: Site, candidate: str, days: int = 30) -> dict[str, Compared]:
    file = Path(site.directory / "candidate.toml")
    file.write_text(candidate, encoding="utf-8")
    since = site.now - timedelta(days=days)
    return {one.group_key: one for one in hindsight(site.project, candidate_rules(site.project, file), since)}


@databases.each
def test_a_group_would_have_been_archived_earlier_and_without_something(make: SiteMaker) -> None:
    site = make(rules=RULES)
    site.deliver("a_1.dat", "a_2.dat", "b_1.dat", "b_2.dat")
    site.one_pass()
    site.tick_clock(10 * 60)
    site.deliver("a_3.dat")
    site.one_pass()
    site.tick_clock(60 * 60)
    site.one_pass()
    found = tried(site, RULES.replace(ALL, WANTED))
    assert {key: one.change for key, one in found.items()} == {"a": Change.EARLIER, "b": Change.EARLIER}
    assert found["a"].reason == "5 min earlier, without: 0 of 1 parts; lacks 3"
    assert found["b"].reason == "25 min earlier, without: 0 of 1 parts; lacks 3"
    assert {one.change for one in tried(site, RULES).values()} == {Change.UNCHANGED}
    assert tried(site, RULES, days=0) == {}


@databases.one
@pytest.mark.parametrize(
    ("candidate", "change", "reason"),
    [
        (RULES.replace('"1-3"', '"1-4"'), Change.LATER, "28 min later, without: 3 of 4 parts; lacks 4"),
        (RULES.replace("archive_partial", "skip"), Change.UNCHANGED, "with all that it should have"),
        (
            RULES.replace('"1-3"', '"1-4"').replace("archive_partial", "skip"),
            Change.NOT_AT_ALL,
            "would have timed out: 3 of 4 parts; lacks 4",
        ),
        (RULES + '[[slots.selection]]\nhas_keys = ["size"]\n', Change.NOT_AT_ALL, 'metadata lack "size"'),
        (RULES + '[[slots.routing]]\nmatch = "a"\narchive = "other"\n', Change.ELSEWHERE, "routing number 1"),
        ("[slots]\n", Change.NOT_AT_ALL, "its files would belong to other groups"),
    ],
)
def test_other_rules_tell_what_they_change(
    make: SiteMaker, candidate: str, change: Change, reason: str
) -> None:
    site = make(rules=RULES, more='[[archive]]\nname = "other"\ndestination = "other"\n')
    site.deliver("a_1.dat", "a_2.dat")
    site.one_pass()
    site.tick_clock(2 * 60 - 3)
    site.deliver("a_3.dat")
    site.one_pass()
    site.tick_clock(3600)
    one = tried(site, candidate)["a"]
    assert one.change is change
    assert reason in one.reason
