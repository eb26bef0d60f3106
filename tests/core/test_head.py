"""Of the services of one site one works, by a lease in the database."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from carbonation_core import head
from carbonation_core.config.sections import ServiceSection
from carbonation_core.db.engine import writing
from carbonation_core.db.models import Lease
from carbonation_core.process import this_process
from carbonation_core.project import Project
from tests.site import Site

HERE, THERE = "elsewhere/1/1#service", "elsewhere/2/2#service"


def shift(site: Site, by: timedelta) -> None:
    """Have the lease end at another time."""
    with writing(site.project.engine) as connection:
        until = connection.execute(select(Lease.until)).scalar_one()
        connection.execute(update(Lease).values(until=until + by))


@pytest.fixture
def project(site: Site) -> Project:
    return site.project


def test_one_holds_it_until_it_lets_go(project: Project) -> None:
    assert head.current(project) is None
    first = head.hold(project, HERE)
    assert first.holder == HERE
    assert head.hold(project, THERE) == first
    assert head.hold(project, HERE) == first  # since it began
    head.let_go(project, THERE)
    assert head.current(project) == first
    head.let_go(project, HERE)
    assert head.hold(project, THERE).holder == THERE


@pytest.mark.parametrize("seconds", [-46, +5])
def test_a_lease_that_ended_or_is_of_a_wrong_clock_is_anybodys(site: Site, seconds: int) -> None:
    begun = head.hold(site.project, HERE)
    shift(site, timedelta(seconds=seconds))
    assert head.current(site.project) is None
    taken = head.hold(site.project, THERE)
    assert (taken.holder, taken.since > begun.since) == (THERE, True)
    assert head.hold(site.project, HERE) == taken


def test_a_process_that_has_ended_here_holds_nothing(project: Project) -> None:
    head.hold(project, this_process("service").replace("#", "0#"))  # that pid began at another time
    assert head.hold(project, THERE).holder == THERE


def test_each_site_has_its_own(project: Project) -> None:
    south = project.config.model_copy(update={"service": ServiceSection(site="south")})
    assert head.hold(project, HERE).holder == HERE
    assert head.hold(replace(project, config=south), THERE).holder == THERE
