"""Several sites on one database: each goes by its own rules.toml, and by what it accepted itself."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from carbonation_core.db import rule_versions
from carbonation_core.db.engine import reading, writing
from carbonation_core.db.models import RulesVersion
from carbonation_core.errors import ConfigError
from carbonation_core.project import rules_in_force
from carbonation_core.reports.metrics import stored
from carbonation_core.reports.status import status
from tests.core._helpers.accepting import accepted, versions
from tests.site import SINGLE, Site, SiteMaker

BIG = "[single]\n[[single.integrity]]\ntype = 'min_size'\nvalue = 100\n"
BROKEN = "[single\n"


@pytest.fixture
def north(make: SiteMaker) -> Site:
    return make(SINGLE, service={"site": '"north"'})


@pytest.fixture
def south(north: Site, tmp_path: Path) -> Site:
    """Another site on the database of the first, with a watch and rules of its own."""
    config = north.project.config
    directory = tmp_path / "south"
    (directory / "incoming").mkdir(parents=True)
    (directory / "rules.toml").write_text(BIG)
    watch = config.watch[0].model_copy(update={"name": "partner", "path": directory / "incoming"})
    config = config.model_copy(
        update={
            "watch": (watch,),
            "service": config.service.model_copy(update={"site": "south"}),
            "rules": config.rules.model_copy(update={"file": directory / "rules.toml"}),
        }
    )
    other = Site(directory, north.project, north.now)
    other.project = replace(north.project, config=config, clock=lambda: other.now)
    return other


def test_the_rules_of_one_site_are_no_change_for_another(north: Site, south: Site) -> None:
    for _ in range(3):
        rules_in_force(north.project)
        rules_in_force(south.project)
    assert versions(north) == 2
    assert (accepted(north), accepted(south)) == (SINGLE, BIG)


def test_each_change_of_a_sites_rules_is_a_version(north: Site, south: Site) -> None:
    for text in (SINGLE, BIG, SINGLE):
        north.set_rules(text)
        rules_in_force(north.project)
        rules_in_force(south.project)
    assert versions(north) == 3 + 1


def test_a_site_whose_file_is_broken_goes_on_by_its_own_rules(north: Site, south: Site) -> None:
    north.settle()
    rules_in_force(south.project)

    north.set_rules(BROKEN)
    north.deliver("small")
    north.one_pass()

    assert north.statuses() == {"small": "archived"}, "which the rules of the other site refuse"
    assert (accepted(north), accepted(south)) == (SINGLE, BIG)


def test_a_site_that_never_accepted_any_rules_says_so(north: Site, south: Site) -> None:
    rules_in_force(north.project)
    south.set_rules(BROKEN)
    with pytest.raises(ConfigError, match="site south never accepted any rules"):
        rules_in_force(south.project)
    assert accepted(south) is None


def test_what_one_site_refused_is_no_problem_of_another(north: Site, south: Site) -> None:
    rules_in_force(north.project)
    rules_in_force(south.project)
    north.set_rules(BROKEN)
    rules_in_force(north.project)
    rules_in_force(south.project)
    assert status(north.project).refused_rules
    assert status(south.project).refused_rules is None
    refused = [
        sample.value
        for site in (north, south)
        for sample in stored(site.project)
        if sample.metric.name == "carbonation_rules_refused"
    ]
    assert refused == [True, False]


def test_each_site_is_told_of_its_own_versions(north: Site, south: Site) -> None:
    for text in (SINGLE, BIG):
        north.set_rules(text)
        rules_in_force(north.project)
        rules_in_force(south.project)
    with reading(north.project.engine) as connection:
        first, second = rule_versions.since(connection, "north", 0, 9)
        (theirs,) = rule_versions.since(connection, "south", 0, 9)
        assert rule_versions.accepted_before(connection, "north", second.id) == first
        assert rule_versions.accepted_before(connection, "south", theirs.id) is None


def test_versions_from_before_are_each_sites_until_it_accepts_one(north: Site, south: Site) -> None:
    """A site whose file is as it was writes nothing; its files were judged by just these rules."""
    north.deliver("small")
    north.settle()
    with writing(north.project.engine) as connection:
        connection.execute(update(RulesVersion).values(site=""))

    south.set_rules(BROKEN)
    assert rules_in_force(south.project).text == SINGLE
    south.set_rules(BIG)
    rules_in_force(south.project)
    south.set_rules(BROKEN)
    assert rules_in_force(south.project).text == BIG

    before = versions(north)
    north.tick()
    assert versions(north) == before
    assert accepted(north) == SINGLE
    assert not [event for _, _, event in north.history("small") if event == "rules_changed"]


def test_a_batch_is_worked_on_by_rules_that_another_site_had_accepted(north: Site, south: Site) -> None:
    """As when the other takes the watch over: the same digest is the same text."""
    north.deliver("small")
    north.settle()
    (offer,) = north.claim()
    with writing(north.project.engine) as connection:
        connection.execute(update(RulesVersion).values(site="east"))
    north.run(offer)
    assert north.statuses() == {"small": "archived"}
