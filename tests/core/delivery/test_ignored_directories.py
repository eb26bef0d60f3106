"""What another program keeps below a recursive watch is left alone, on every way in."""

import pytest

from carbonation_core.delivery.observe import observe
from carbonation_core.disk.scan import Hints
from carbonation_core.disk.watcher import Watcher
from carbonation_core.reconcile.delivery import reconcile_delivery
from carbonation_core.reconcile.findings import Kind
from carbonation_core.reconcile.scope import Scope, paths_in
from carbonation_core.reports.explain import verdict
from carbonation_core.reports.preview import preview
from tests import databases
from tests.core._helpers.reconciling import QUICK, found, reconcile
from tests.site import SINGLE, Site, SiteMaker

pytestmark = databases.one  # names of directories

KEPT = (
    ".rsync-partial/a.dat",
    "site/.~tmp~/b.dat",
    ".stversions/site/c.dat",
    ".Trash-1000/files/d.dat",
    ".snapshot/hourly.0/e.dat",
    "upload.filepart/f.dat",
)


@pytest.fixture
def deep(make: SiteMaker) -> Site:
    """A recursive watch in which other programs keep their files beside a delivered one."""
    site = make(SINGLE, watch={**QUICK, "recursive": "true"})
    site.deliver("site/good.dat", *KEPT)
    return site


def test_a_look_at_everything_leaves_them_alone(deep: Site) -> None:
    assert [(one.group_key, one.verdict) for one in preview(deep.project)] == [("site/good.dat", "archive")]
    deep.one_pass()
    assert deep.statuses() == {"site/good.dat": "archived"}


def test_hints_to_them_are_not_followed(deep: Site) -> None:
    observe(deep.project, "incoming")
    files = frozenset(KEPT)
    directories = frozenset(path.rpartition("/")[0] for path in KEPT)
    assert observe(deep.project, "incoming", Hints(files, directories)).new == 0
    assert deep.statuses() == {"site/good.dat": "detected"}


def test_a_reconcile_leaves_them_alone(deep: Site) -> None:
    (deep.incoming / ".snapshot" / "loop").symlink_to(deep.incoming)
    assert reconcile_delivery(deep.project, "incoming").seen == 1
    assert deep.statuses() == {"site/good.dat": "detected"}


def test_what_is_moved_out_of_them_is_delivered_and_what_is_moved_in_has_left(deep: Site) -> None:
    deep.one_pass()
    (deep.incoming / ".snapshot").rename(deep.incoming / "shown")
    (deep.incoming / "site").rename(deep.incoming / ".site")
    (deep.incoming / ".rsync-partial" / "a.dat").rename(deep.incoming / "a.dat")
    deep.one_pass()
    assert deep.statuses() == {
        "site/good.dat": "archived",
        "shown/hourly.0/e.dat": "archived",
        "a.dat": "archived",
    }
    assert not deep.component("site/good.dat").in_delivery


def test_files_that_were_taken_before_their_directory_was_ignored_are_let_go(make: SiteMaker) -> None:
    site = make(SINGLE, watch={**QUICK, "recursive": "true", "ignore_patterns": "[]"})
    site.deliver(".snapshot/a.dat")
    site.tick()
    site = make(SINGLE, watch={**QUICK, "recursive": "true"})
    site.tick()
    assert site.statuses() == {".snapshot/a.dat": "cleared"}
    assert site.component(".snapshot/a.dat").error_message is None
    assert site.history(".snapshot/a.dat")[-1] == ("detected", "cleared", "left")


def test_a_watch_that_itself_lies_below_such_a_directory_works(make: SiteMaker) -> None:
    site = make(SINGLE, watch={**QUICK, "recursive": "true", "path": '".hidden/incoming"'})
    top = site.directory / ".hidden" / "incoming"
    (top / "site").mkdir(parents=True)
    (top / "site" / "a.dat").write_bytes(b"x")
    site.one_pass()
    assert "site/a.dat" in {one.group_key for one in preview(site.project)}
    assert reconcile_delivery(site.project, "incoming").seen == 1
    assert site.group("site/a.dat").complete


def test_file_events_in_them_are_not_asked_for(deep: Site) -> None:
    watcher = Watcher(deep.project.config.watch_named("incoming"), 5.0)
    try:
        with watcher.hints() as hints:
            assert hints.everything
        for path in KEPT:
            (deep.incoming / path).write_bytes(b"changed")
        (deep.incoming / ".made").mkdir()
        (deep.incoming / ".stversions").rename(deep.incoming / ".moved")
        (deep.incoming / "last.dat").touch()
        seen: set[str] = set()
        while "last.dat" not in seen:
            assert watcher.wait(10)
            with watcher.hints() as hints:
                seen |= hints.files | hints.directories
        assert seen == {"last.dat"}
        # Once such a directory has a wanted name, it is listened to; and no more when it has not.
        (deep.incoming / ".moved").rename(deep.incoming / "shown")
        (deep.incoming / "shown" / "site" / "new.dat").touch()
        (deep.incoming / "site").rename(deep.incoming / ".site")
        (deep.incoming / ".site" / "unheard.dat").touch()
        (deep.incoming / "end.dat").touch()
        while "end.dat" not in seen:
            assert watcher.wait(10)
            with watcher.hints() as hints:
                seen |= hints.files | hints.directories
        assert {"shown", "site"} <= seen
        assert not {path for path in seen if path.startswith(".")}
    finally:
        watcher.stop()


def test_the_verdict_names_directory_and_pattern(deep: Site) -> None:
    watch = deep.project.config.watch_named("incoming")
    assert verdict(watch, "site/.~tmp~/b.dat") == (
        False,
        'leaves it alone: directory ".~tmp~" matches ".*" of ignore_patterns',
    )


def lay(site: Site, *names: str) -> None:
    for name in names:
        path = site.archive / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"found")


def test_in_an_archive_they_are_nobodys_files(deep: Site) -> None:
    lay(deep, "strange.dat", *KEPT)
    assert found(reconcile(deep), deep.archive) == {"strange.dat": Kind.UNKNOWN}
    assert found(reconcile(deep, adopt=True), deep.archive) == {"strange.dat": Kind.ADOPTED}
    for path in (".snapshot", ".snapshot/hourly.0", ".rsync-partial/a.dat"):
        scope = paths_in(deep.project, ["main"], [str(deep.archive / path)])["main"]
        assert len(reconcile(deep, scope=scope, adopt=True).findings) == 0


def test_of_a_watch_that_is_not_recursive_too(make: SiteMaker) -> None:
    site = make(SINGLE, watch=QUICK)
    lay(site, "2026/strange.dat", *KEPT)
    assert found(reconcile(site, adopt=True), site.archive) == {"2026/strange.dat": Kind.ADOPTED}


OTHER = """
    [[watch]]
    name = "other"
    path = "other"
    rules = "single"
    archive = "main"
    ignore_patterns = []
"""


def test_where_one_watch_takes_them_they_are_unknown_and_only_that_one_adopts_them(make: SiteMaker) -> None:
    site = make(SINGLE, watch=QUICK, more=OTHER)
    lay(site, ".snapshot/a.dat")
    assert found(reconcile(site), site.archive) == {".snapshot/a.dat": Kind.UNKNOWN}
    of_incoming = Scope(watch_name="incoming")
    assert len(reconcile(site, scope=of_incoming, adopt=True).findings) == 0
    of_other = Scope(watch_name="other")
    assert found(reconcile(site, scope=of_other, adopt=True), site.archive) == {
        ".snapshot/a.dat": Kind.ADOPTED
    }


def test_a_destination_that_names_such_a_directory_itself_is_looked_through(make: SiteMaker) -> None:
    archive = {"destination": '".kept/{size}"', "base_path": '"archive"'}
    site = make('[single.metadata]\nextract = "sizes"\n', watch=QUICK, archive=archive)
    site.deliver("a.dat")
    site.one_pass()
    lay(site, ".kept/5/strange.dat", ".kept/.snapshot/b.dat", ".other/c.dat")
    assert found(reconcile(site), site.archive) == {".kept/5/strange.dat": Kind.UNKNOWN}
