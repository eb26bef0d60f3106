"""Who only works goes by the rules that a look accepted: rules.toml on its host may be an old copy."""

from dataclasses import replace

import pytest

from carbonation_core import head
from carbonation_core.pipeline.claim import claim
from carbonation_core.pipeline.work import Stage, work
from carbonation_core.process import this_process
from carbonation_core.project import rules_in_force
from carbonation_core.reports.status import status
from tests.core._helpers.accepting import accepted, versions
from tests.site import SINGLE, Site, SiteMaker

OTHER = "[single]\n[[single.integrity]]\ntype = 'min_size'\nvalue = 100\n"
BROKEN = "[single\n"
ELSEWHERE = "elsewhere/1/1#service"


@pytest.fixture
def site(make: SiteMaker) -> Site:
    """One file waits for its run."""
    site = make(SINGLE, service={"max_retries": "0"})
    site.deliver("a")
    site.settle()
    return site


@pytest.mark.parametrize("copy", [OTHER, BROKEN])
def test_a_batch_is_claimed_and_worked_on_without_a_look_at_the_file(site: Site, copy: str) -> None:
    before = accepted(site)
    site.set_rules(copy)
    (report,) = site.run_all()
    assert [group.outcome for group in report.groups] == ["archived"]
    assert (versions(site), accepted(site)) == (1, before)


@pytest.mark.parametrize("copy", [OTHER, BROKEN])
def test_a_run_that_is_executed_again_on_a_worker_goes_by_the_rules_that_were_accepted_last(
    site: Site, copy: str
) -> None:
    site.archive.mkdir()
    (site.archive / "a").write_bytes(b"in the way")
    (report,) = site.run_all()
    (site.archive / "a").unlink()
    site.set_rules("# accepted by the head\n" + SINGLE)
    newer = rules_in_force(site.project)
    head.hold(site.project, ELSEWHERE)
    site.set_rules(copy)

    with work(site.project, report.batch_id, "run-2", again=True) as job:
        job.advance(Stage.ARCHIVE)
        again = job.finish()

    assert site.statuses() == {"a": "archived"}
    assert again.rules_digest == newer.digest
    assert (versions(site), accepted(site)) == (2, newer.text)


@pytest.mark.parametrize("copy", [OTHER, BROKEN])
def test_a_look_on_another_host_than_the_heads_accepts_and_refuses_nothing(site: Site, copy: str) -> None:
    """As "process now" and a reconcile are, which a worker may get."""
    before = accepted(site)
    head.hold(site.project, ELSEWHERE)
    site.set_rules(copy)
    site.tick(3)
    assert (versions(site), accepted(site)) == (1, before)
    assert status(site.project).refused_rules is None
    site.run_all()
    assert site.statuses() == {"a": "archived"}


def test_a_look_of_the_head_accepts_and_so_does_one_where_there_is_no_head(site: Site) -> None:
    me = this_process("service")
    head.hold(site.project, me)
    site.set_rules(OTHER)
    site.tick()
    assert accepted(site) == OTHER
    head.let_go(site.project, me)
    site.set_rules(SINGLE)
    site.tick()
    assert accepted(site) == SINGLE


def test_the_first_rules_of_a_site_are_accepted_whoever_looks(make: SiteMaker) -> None:
    site = make(SINGLE)
    head.hold(site.project, ELSEWHERE)
    site.tick()
    assert accepted(site) == SINGLE


def test_the_head_of_one_site_has_no_say_at_another(site: Site) -> None:
    service = site.project.config.service.model_copy(update={"site": "south"})
    config = site.project.config.model_copy(update={"service": service})
    head.hold(replace(site.project, config=config), ELSEWHERE)
    site.set_rules(OTHER)
    site.tick()
    assert accepted(site) == OTHER


def test_what_is_due_before_any_look_of_this_site_is_claimed_by_its_file(site: Site) -> None:
    """As after it was renamed."""
    service = site.project.config.service.model_copy(update={"site": "renamed"})
    config = site.project.config.model_copy(update={"service": service})
    (offer,) = claim(replace(site.project, config=config), "incoming", "here")
    assert offer.rules_digest == rules_in_force(site.project).digest
