"""config.toml and rules.toml change while a batch is open: it ends, and its groups come again."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from carbonation_core.db.batches import UNKNOWN
from carbonation_core.db.engine import writing
from carbonation_core.db.models import Batch
from carbonation_core.errors import LostOwnership
from carbonation_core.lifecycle import GivenBack
from carbonation_core.pipeline.claim import Offer, give_back, open_batches, recall
from carbonation_core.pipeline.work import Stage, Work, work
from tests.site import PAIRS, Site, SiteMaker

BEFORE = '[single]\narchive = "main"\n'


@pytest.fixture
def offer(make: SiteMaker) -> tuple[Site, Offer]:
    """A site with an offered batch."""
    site = make(BEFORE)
    site.deliver("a.dat")
    site.settle()
    (offer,) = site.claim()
    return site, offer


def rename_archive(site: Site) -> None:
    """Another name and place for the archive, and none of that name any more."""
    there = site.directory / "elsewhere"
    config = site.project.config
    archive = config.archive[0].model_copy(
        update={"name": "disk", "destination": str(there), "base_path": there}
    )
    watch = config.watch[0].model_copy(update={"archive": "disk"})
    config = config.model_copy(update={"archive": (archive,), "watch": (watch,)})
    site.project = replace(site.project, config=config)
    site.set_rules('[single]\narchive = "disk"\n')


def rename_rule_set(site: Site) -> None:
    config = site.project.config
    watch = config.watch[0].model_copy(update={"rules": "one_by_one"})
    site.project = replace(site.project, config=config.model_copy(update={"watch": (watch,)}))
    site.set_rules("[one_by_one]\n")


CHANGES = pytest.mark.parametrize("change", [rename_archive, rename_rule_set])


def is_archived_by_what_is_in_force(site: Site, seconds: float = 5) -> bool:
    site.tick(seconds)  # on other rules all is judged again, and settled for the next look
    site.tick()
    site.run_all()
    return site.statuses() == {"a.dat": "archived"} and open_batches(site.project, "incoming") == []


@CHANGES
def test_an_offer_is_taken_back_whose_archive_or_rule_set_has_another_name_now(
    offer: tuple[Site, Offer], change: Callable[[Site], None]
) -> None:
    site, _ = offer
    change(site)
    assert recall(site.project) == 0
    assert open_batches(site.project, "incoming") == []
    assert is_archived_by_what_is_in_force(site)


@CHANGES
def test_a_run_gives_back_what_was_made_when_archive_or_rule_set_had_another_name(
    offer: tuple[Site, Offer], change: Callable[[Site], None]
) -> None:
    site, made = offer
    change(site)
    with (
        pytest.raises(LostOwnership, match="made with another configuration"),
        work(site.project, made.batch_id, "run-1"),
    ):
        pass
    assert is_archived_by_what_is_in_force(site)


@CHANGES
def test_so_it_does_with_a_batch_of_a_release_that_did_not_say_what_it_was_made_with(
    offer: tuple[Site, Offer], change: Callable[[Site], None]
) -> None:
    site, made = offer
    with writing(site.project.engine) as connection:
        connection.execute(update(Batch).values(UNKNOWN._asdict()))
    change(site)
    with pytest.raises(LostOwnership, match="was given back: "), work(site.project, made.batch_id, "run-1"):
        pass
    assert is_archived_by_what_is_in_force(site)


def test_what_a_batch_that_died_left_in_an_archive_of_another_name_is_cleared(
    offer: tuple[Site, Offer], monkeypatch: pytest.MonkeyPatch
) -> None:
    site, made = offer

    def dies(*_: object) -> None:
        raise LostOwnership("here the process was killed")

    with monkeypatch.context() as patch:
        patch.setattr(Work, "_record_archived", dies)
        with pytest.raises(LostOwnership), work(site.project, made.batch_id, "run-1") as job:
            job.advance(Stage.ARCHIVE)
    left = site.archived()
    assert "a.dat" in left
    assert len(left) == 2  # with its temporary name

    rename_archive(site)
    assert give_back(site.project, made.batch_id, "killed", GivenBack.DIED) == 1

    assert site.archived() == {}
    assert site.group("a.dat").attempts == 1
    assert is_archived_by_what_is_in_force(site, timedelta(hours=3).total_seconds())
    assert {path.name for path in Path(site.directory / "elsewhere").iterdir()} == {"a.dat"}


def test_the_halves_of_a_batch_that_died_come_to_their_end_too(make: SiteMaker) -> None:
    site = make(BEFORE, service={"single_group_runs": "0"})
    site.deliver("a.dat", "b.dat")
    site.settle()
    (made,) = site.claim()
    rename_archive(site)
    give_back(site.project, made.batch_id, "killed", GivenBack.DIED)
    assert recall(site.project) == 0
    site.tick(5)
    site.tick()
    site.run_all()
    assert site.statuses() == {"a.dat": "archived", "b.dat": "archived"}


def test_a_batch_of_a_watch_that_is_configured_no_more_can_be_given_back(
    offer: tuple[Site, Offer],
) -> None:
    site, made = offer
    with_it = site.project.config
    other = with_it.watch[0].model_copy(update={"name": "other"})
    site.project = replace(site.project, config=with_it.model_copy(update={"watch": (other,)}))
    with pytest.raises(LostOwnership), work(site.project, made.batch_id, "run-1"):
        pass
    assert open_batches(site.project, "incoming") == []

    site.project = replace(site.project, config=with_it)
    assert is_archived_by_what_is_in_force(site)


def test_groups_that_are_given_back_wait_for_what_the_rules_in_force_ask(make: SiteMaker) -> None:
    site = make()
    site.deliver("run1.dat", "run1.json")
    site.settle()
    (made,) = site.claim()
    site.set_rules(PAIRS.replace('".json"]', '".json", ".xml"]'))
    assert site.tick().ready == 0  # it is in a batch
    give_back(site.project, made.batch_id, "its run was cancelled")
    assert site.claim() == []
    site.deliver("run1.xml")
    site.one_pass()
    assert site.feed() == [("run1", "completed")]
