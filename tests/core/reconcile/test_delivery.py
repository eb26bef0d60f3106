"""What lies in delivery against what the database says of it: only what differs is looked at again."""

import os

import pytest
from sqlalchemy import update

from carbonation_core.db.engine import writing
from carbonation_core.db.models import FileComponent, Group
from carbonation_core.delivery.observe import Observation, observe
from carbonation_core.disk.scan import Hints
from carbonation_core.errors import ScanError
from carbonation_core.project import Project
from carbonation_core.reconcile import delivery as module
from carbonation_core.reconcile.delivery import DeliveryReconciliation, reconcile_delivery
from tests import databases
from tests.site import Site, SiteMaker, open_site, touch


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """The paths that each look was pointed to."""
    looks: list[set[str]] = []

    def noted(project: Project, watch_name: str, hints: Hints) -> Observation:
        looks.append(set(hints.files))
        return observe(project, watch_name, hints)

    monkeypatch.setattr(module, "observe", noted)
    return looks


@pytest.fixture
def single(make: SiteMaker) -> Site:
    """A recursive watch of groups of one."""
    return make("[single]\n", watch={"recursive": "true"})


def reconcile(site: Site) -> DeliveryReconciliation:
    return reconcile_delivery(site.project, "incoming")


def test_only_what_differs_is_looked_at_again(single: Site, looked_at: list[set[str]]) -> None:
    single.deliver("same", "gone", "changed", "deep/kept", "deep/lost", os.fsdecode(b"odd\xff"))
    single.one_pass()
    (single.incoming / "gone").unlink()
    (single.incoming / "deep" / "lost").unlink()
    touch(single.incoming / "changed", b"other bytes")
    single.deliver("new", "deeper/still/new")

    found = reconcile(single)

    assert looked_at == [{"gone", "deep/lost", "changed", "new", "deeper/still/new"}, set()]
    assert (found.seen, found.new, found.cleared) == (6, 2, 2)
    gone = single.component("gone")
    assert (gone.status, gone.in_delivery) == ("archived", False)
    assert single.statuses()["changed"] == "detected"


def test_where_nothing_differs_nothing_is_looked_at(single: Site, looked_at: list[set[str]]) -> None:
    single.deliver("a", "b/c")
    single.one_pass()

    assert reconcile(single).seen == 2
    assert looked_at == [set(), set()]


def test_the_first_reconciliation_of_all_records_what_is_there(single: Site) -> None:
    single.deliver("a", "b/c")

    assert (reconcile(single).new, single.statuses()) == (2, {"a": "detected", "b/c": "detected"})


def test_a_file_is_back(single: Site, looked_at: list[set[str]]) -> None:
    single.deliver("a", "b")
    single.settle()
    (single.incoming / "a").rename(single.directory / "away")
    single.tick()
    assert single.statuses()["a"] == "cleared"
    (single.directory / "away").rename(single.incoming / "a")

    assert reconcile(single).returned == 1
    assert looked_at[0] == {"a"}


@databases.one
def test_a_directory_that_cannot_be_read_changes_nothing(
    single: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    single.deliver("a", "deep/b")
    single.settle()
    (single.incoming / "a").unlink()
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("/deep"):
            raise OSError(5, "Input/output error")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ScanError, match="deep: cannot be looked at: Input/output error"):
        reconcile(single)
    assert single.statuses() == {"a": "waiting", "deep/b": "waiting"}


@databases.one
def test_a_closed_lost_and_found_is_no_error(single: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    single.deliver("a", "lost+found/b")
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("/lost+found"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert reconcile(single).seen == 1


@databases.one
def test_a_watch_that_is_gone_loses_nothing(single: Site) -> None:
    single.deliver("a")
    single.settle()
    single.incoming.rename(single.directory / "unmounted")

    with pytest.raises(ScanError):
        reconcile(single)
    assert single.statuses() == {"a": "waiting"}


@databases.one
def test_a_symlink_that_is_followed_agrees_when_its_target_does(
    make: SiteMaker, looked_at: list[set[str]]
) -> None:
    site = make("[single]\n", watch={"symlinks": '"follow_inside"'})
    site.deliver("target")
    (site.incoming / "link").symlink_to("target")
    site.one_pass()

    reconcile(site)
    assert looked_at[0] == set()

    touch(site.incoming / "target", b"other bytes")
    reconcile(site)
    assert looked_at[2] == {"target", "link"}


def test_what_the_patterns_no_longer_take_is_cleared(single: Site) -> None:
    single.deliver("a.dat", "b.txt")
    single.settle()
    config = single.directory / "config.toml"
    config.write_text(
        config.read_text().replace('rules = "single"', 'rules = "single"\npatterns = ["*.dat"]')
    )
    narrower = open_site(single.directory)
    narrower.now = single.now
    assert reconcile(narrower).cleared == 1
    assert narrower.statuses() == {"a.dat": "waiting", "b.txt": "cleared"}
    narrower.project.engine.dispose()


def moved(make: SiteMaker) -> Site:
    """A moved file whose source is there again, as after a crash before it was removed."""
    site = make("[single]\n", archive={"action": '"move"'})
    site.deliver("a")
    keep = site.directory / "kept"
    os.link(site.incoming / "a", keep)
    site.one_pass()
    assert site.statuses() == {"a": "archived"}
    keep.rename(site.incoming / "a")
    found = (site.incoming / "a").stat()
    with writing(site.project.engine) as connection:
        connection.execute(update(FileComponent).values(in_delivery=True, ctime_ns=found.st_ctime_ns))
    return site


def test_a_source_that_a_move_left_behind_is_taken_up_again(make: SiteMaker) -> None:
    site = moved(make)

    reconcile(site)
    assert site.statuses() == {"a": "detected"}

    site.one_pass()
    assert (site.statuses(), site.delivered()) == ({"a": "archived"}, set())


def test_a_source_that_somebody_works_on_is_left_to_them(make: SiteMaker) -> None:
    site = moved(make)
    with writing(site.project.engine) as connection:
        connection.execute(update(Group).values(batch_id="somebody"))

    reconcile(site)

    assert site.statuses() == {"a": "archived"}


def test_files_outside_of_the_watch_are_not_its_business(single: Site) -> None:
    single.deliver("a")
    single.settle()
    with writing(single.project.engine) as connection:
        connection.execute(update(FileComponent).values(source_path="/elsewhere/a", source_path_sha256="x"))

    assert reconcile(single).cleared == 0
