"""A part of an archive is reconciled: some paths, or the files of one watch."""

import pytest

from carbonation_core.errors import ConfigError, QueryError
from carbonation_core.reconcile.findings import Kind
from carbonation_core.reconcile.scope import Scope, archives_of, paths_in
from tests import databases
from tests.core._helpers.reconciling import found, reconcile
from tests.site import Site, SiteMaker


def test_only_the_given_paths_are_looked_at(routed: Site) -> None:
    for name in ("a", "b", "A"):
        (routed.archive / name / f"{name}.dat").unlink()
        (routed.archive / name / "stray").touch()

    scopes = paths_in(routed.project, ["main"], ["a"])
    result = reconcile(routed, scope=scopes["main"])

    assert (result.compared, result.expected) == (1, 3)
    assert found(result, routed.archive) == {"a/a.dat": Kind.MISSING, "a/stray": Kind.UNKNOWN}
    assert routed.statuses() == {"a.dat": "missing", "b.dat": "archived", "A.dat": "archived"}


def test_a_single_file_may_be_given_even_when_it_has_gone(routed: Site) -> None:
    path = routed.archive / "a" / "a.dat"
    path.unlink()

    scopes = paths_in(routed.project, ["main"], [str(path)])

    assert found(reconcile(routed, scope=scopes["main"]), routed.archive) == {"a/a.dat": Kind.MISSING}


def test_a_path_from_here_comes_before_one_below_the_archive(
    routed: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(routed.directory)
    expected = {"main": Scope(paths=(str(routed.archive / "a"),))}
    assert paths_in(routed.project, ["main"], ["archive/a"]) == expected
    assert paths_in(routed.project, ["main"], ["a"]) == expected
    assert paths_in(routed.project, ["main"], []) == {"main": Scope()}


@databases.one
def test_the_archive_is_found_whichever_way_of_symlinks_leads_there(make: SiteMaker) -> None:
    site = make("[single]\n", archive={"destination": '"link"'})
    site.archive.mkdir()
    (site.directory / "link").symlink_to("archive")
    (site.directory / "other").symlink_to("link")
    site.deliver("a.dat", "b.dat")
    site.one_pass()
    (site.archive / "a.dat").unlink()
    expected = {"main": Scope(paths=(str(site.directory / "link" / "a.dat"),))}
    for way in ("archive", "link", "other", "incoming/../archive"):
        assert paths_in(site.project, ["main"], [str(site.directory / way / "a.dat")]) == expected
    assert paths_in(site.project, ["main"], [str(site.archive)])["main"].paths == (
        str(site.directory / "link"),
    )

    assert reconcile(site, scope=expected["main"], dry_run=True).number(Kind.MISSING) == 1
    (site.archive / "stray").touch()
    assert found(reconcile(site), site.directory / "link") == {"a.dat": Kind.MISSING, "stray": Kind.UNKNOWN}


@databases.one
def test_a_real_base_is_found_by_a_path_with_a_symlink(routed: Site) -> None:
    (routed.directory / "way").symlink_to("archive/a")
    assert paths_in(routed.project, ["main"], [str(routed.directory / "way" / "a.dat")]) == {
        "main": Scope(paths=(str(routed.archive / "a" / "a.dat"),))
    }


def test_a_path_that_leads_to_nothing_is_refused(routed: Site) -> None:
    with pytest.raises(QueryError, match="lies in no archive; they are below"):
        paths_in(routed.project, ["main"], ["/elsewhere"])
    with pytest.raises(QueryError, match="nothing was archived there"):
        paths_in(routed.project, ["main"], ["typo"])


def test_only_files_of_the_watch_are_looked_at(make: SiteMaker) -> None:
    other = '[[watch]]\nname = "other"\npath = "other"\nrules = "single"\narchive = "spare"\n'
    spare = '[[archive]]\nname = "spare"\ndestination = "spare"\n'
    site = make("[single]\n", more=other + spare)
    site.deliver("a.dat", "b.dat")
    site.one_pass()
    (site.archive / "a.dat").unlink()

    assert reconcile(site, scope=Scope(watch_name="other")).compared == 0
    assert set(site.statuses().values()) == {"archived"}
    assert reconcile(site, scope=Scope(watch_name="incoming")).number(Kind.MISSING) == 1
    assert archives_of(site.project) == ["main", "spare"]
    assert archives_of(site.project, "other") == ["spare"]
    with pytest.raises(ConfigError, match='no watch "x"'):
        reconcile(site, scope=Scope(watch_name="x"))
