"""Files in an archive that nobody recorded, taken over as if they had been delivered."""

from pathlib import Path

import pytest

from carbonation_core import Plugin
from carbonation_core.db import copies
from carbonation_core.errors import QueryError
from carbonation_core.reconcile.findings import Kind
from carbonation_core.reconcile.scope import Scope
from tests import databases
from tests.core._helpers.reconciling import QUICK, between, found, reconcile
from tests.site import File, Site, SiteMaker, make_site, touch

PAIRS = '[pairs.completeness]\ngroup_by = "stem"\nexpected_extensions = [".dat", ".json"]\n'


def lay(site: Site, *names: str, content: bytes = b"found") -> None:
    for name in names:
        path = site.archive / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_adopted_files_are_groups_under_the_keys_that_delivery_gives(make: SiteMaker) -> None:
    site = make('[pairs.metadata]\nextract = "sizes"\n' + PAIRS, watch=QUICK)
    lay(site, "2026/run1.dat", "2026/run1.json", content=b"lidar\n")

    result = reconcile(site, adopt=True)

    assert set(found(result, site.archive).values()) == {Kind.ADOPTED}
    assert site.statuses() == {"run1.dat": "archived", "run1.json": "archived"}
    file = site.component("run1.dat")
    assert (file.in_delivery, file.in_archive, file.size_bytes) == (False, True, 6)
    assert file.archive_path == str(site.archive / "2026/run1.dat")
    assert site.history("run1.dat")[-1] == ("detected", "archived", "archived")
    group = site.group("run1")
    assert (group.complete, group.category, group.size) == (True, "lidar", 12)
    assert (group.archive_name, group.archive_path) == ("main", file.archive_path)
    assert group.archive_directory == str(site.archive / "2026")
    assert site.feed() == [("run1", "completed")]
    assert {copy.digest for copy in site.copies()} == {file.digest}
    assert len(reconcile(site, adopt=True).findings) == 0
    assert site.feed() == [("run1", "completed")]


def test_a_group_that_is_not_whole_is_registered_and_waits_for_its_sibling(make: SiteMaker) -> None:
    site = make(watch=QUICK)
    lay(site, "run1.dat")

    reconcile(site, adopt=True)

    assert (site.group("run1").complete, site.feed()) == (False, [])
    site.deliver("run1.json")
    site.one_pass()
    assert (site.group("run1").complete, site.feed()) == (True, [("run1", "completed")])


def test_a_late_file_joins_its_complete_group(full: Site) -> None:
    lay(full, "run1.txt")

    reconcile(full, adopt=True)

    assert full.component("run1.txt").group_id == full.component("run1.dat").group_id
    assert full.feed()[-1] == ("run1", "updated")


def test_in_a_recursive_watch_keys_bear_the_directory_below_base_path(make: SiteMaker) -> None:
    site = make(watch={**QUICK, "recursive": "true"})
    lay(site, "site_a/run1.dat", "site_a/run1.json", "site_b/run1.dat", "site_b/run1.json")

    reconcile(site, adopt=True)

    assert site.group_keys() == {"site_a/run1", "site_b/run1"}


def test_a_group_function_gives_the_key(make: SiteMaker) -> None:
    site = make(
        '[letters.completeness]\ngroup_by = "plugin"\ngroup_function = "by_first_letter"\n', watch=QUICK
    )
    lay(site, "a1", "a2", "x", "!")

    result = reconcile(site, adopt=True)

    assert found(result, site.archive) == {
        "a1": Kind.ADOPTED,
        "a2": Kind.ADOPTED,
        "x": Kind.UNKNOWN,
        "!": Kind.UNKNOWN,
    }
    assert site.group_keys() == {"a"}


def test_a_key_that_a_pass_would_refuse_is_refused(tmp_path: Path) -> None:
    rules = '[own.completeness]\ngroup_by = "plugin"\ngroup_function = "long"\n'
    plugin = Plugin(File, group_functions={"long": lambda *, file_path: "k" * 20_000})
    site = make_site(tmp_path, rules, watch=QUICK, plugin=plugin)
    lay(site, "a")

    (finding,) = reconcile(site, adopt=True).findings

    says = 'group function "long" gives a key of 20,000 characters, more than 10,000'
    assert (finding.kind, finding.reason) == (Kind.UNKNOWN, f"is not adopted: {says}")
    site.close()


def test_an_extractor_that_fails_leaves_the_group_incomplete_till_it_is_mended(make: SiteMaker) -> None:
    site = make('[single.metadata]\nextract = "broken"\n', watch=QUICK)
    lay(site, "a.dat", content=b"broken")

    result = reconcile(site, adopt=True)

    assert [one.kind for one in result.findings] == [Kind.ADOPTED, Kind.INCOMPLETE]
    assert "the file says it is broken" in list(result.findings)[1].reason
    assert (site.group("a.dat").complete, site.feed()) == (False, [])

    (site.archive / "a.dat").write_bytes(b"mended")
    reconcile(site, adopt=True)
    assert (site.group("a.dat").category, site.feed()) == ("mended", [("a.dat", "completed")])


@databases.one
def test_what_could_never_be_delivered_is_not_adopted(full: Site) -> None:
    lay(full, ".hidden", "run1.v2.dat", "elsewhere/run1.dat", "one/twin.dat", "two/twin.dat")
    (full.archive / "link.dat").symlink_to(full.archive / "run1.dat")

    result = reconcile(full, adopt=True)

    reasons = {Path(one.path).relative_to(full.archive).as_posix(): one for one in result.findings}
    adopted = {name for name, one in reasons.items() if one.kind is Kind.ADOPTED}
    assert adopted in ({"one/twin.dat"}, {"two/twin.dat"})
    assert "takes no file of that name" in reasons[".hidden"].reason
    assert "looks like another version of" in reasons["run1.v2.dat"].reason
    assert "run1.dat is known: archived" in reasons["elsewhere/run1.dat"].reason
    (twin,) = {"one/twin.dat", "two/twin.dat"} - adopted
    assert f"{full.incoming / 'twin.dat'}" in reasons[twin].reason
    assert "it is a symlink" in reasons["link.dat"].reason


@databases.one
def test_a_file_that_still_changes_is_not_adopted(make: SiteMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    site = make("[single]\n", watch=QUICK)
    lay(site, "a.dat", "b.dat")
    between(monkeypatch, lambda: touch(site.archive / "a.dat", b"more of it"))

    result = reconcile(site, adopt=True)

    assert found(result, site.archive) == {"a.dat": Kind.UNKNOWN, "b.dat": Kind.ADOPTED}
    assert site.statuses() == {"b.dat": "archived"}


def test_a_missing_file_that_was_moved_within_the_archive_is_adopted_where_it_is(full: Site) -> None:
    (full.archive / "run1.dat").rename(full.archive / "moved")
    (full.archive / "sub").mkdir()
    (full.archive / "moved").rename(full.archive / "sub" / "run1.dat")
    reconcile(full)
    assert full.statuses()["run1.dat"] == "missing"

    reconcile(full, adopt=True)

    file = full.component("run1.dat")
    assert (file.status, file.archive_path) == ("archived", str(full.archive / "sub" / "run1.dat"))
    assert full.group("run1").archive_path == file.archive_path
    assert [event for key, event in full.feed() if key == "run1"] == ["completed", "retracted", "completed"]
    assert len(reconcile(full).findings) == 0


def test_other_bytes_do_not_stand_in_for_a_missing_file(full: Site) -> None:
    (full.archive / "run1.dat").unlink()
    reconcile(full)
    lay(full, "sub/run1.dat", content=b"other")

    result = reconcile(full, adopt=True)

    assert found(result, full.archive)["sub/run1.dat"] is Kind.UNKNOWN
    assert full.statuses()["run1.dat"] == "missing"


def test_a_move_whose_record_was_lost_is_adopted(make: SiteMaker) -> None:
    """As when the database was restored from an earlier copy: its file left delivery unrecorded."""
    site = make("[single]\n", watch=QUICK, archive={"action": '"move"'})
    site.deliver("a.dat")
    site.settle()
    lay(site, "a.dat", content=b"bytes")
    (site.incoming / "a.dat").unlink()
    site.tick(1)
    assert site.statuses() == {"a.dat": "cleared"}

    reconcile(site, adopt=True)

    assert site.statuses() == {"a.dat": "archived"}
    assert site.feed() == [("a.dat", "completed")]


@databases.one
def test_an_archive_of_several_watches_asks_whose_files_they_are(make: SiteMaker) -> None:
    other = '[[watch]]\nname = "other"\npath = "other"\nrules = "single"\narchive = "main"\n'
    more = '[[watch]]\nname = "aside"\npath = "aside"\nrules = "single"\narchive = "spare"\n'
    spare = '[[archive]]\nname = "spare"\ndestination = "spare"\n'
    nobody = '[[archive]]\nname = "nobody"\ndestination = "nobody"\n'
    site = make("[single]\n", watch=QUICK, more=other + more + spare + nobody)
    lay(site, "a.dat")

    with pytest.raises(QueryError, match='fed by several watches: "incoming", "other"; say by --watch'):
        reconcile(site, adopt=True)
    with pytest.raises(QueryError, match='no file of watch "aside" comes to archive "main"'):
        reconcile(site, adopt=True, scope=Scope(watch_name="aside"))
    with pytest.raises(QueryError, match='no watch feeds archive "nobody"'):
        reconcile(site, "nobody", adopt=True)

    reconcile(site, adopt=True, scope=Scope(watch_name="incoming"))
    assert site.statuses() == {"a.dat": "archived"}


@pytest.mark.skipif(databases.SQLITE, reason="one transaction writes at a time")
def test_a_file_that_another_watch_adopts_at_the_same_time_is_left_to_it(
    make: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = '[[watch]]\nname = "other"\npath = "other"\nrules = "single"\narchive = "main"\n'
    site = make("[single]\n", watch=QUICK, more=other + "settle_seconds = 0.01\n")
    # Of no other test: beside a key whose row was deleted just now MariaDB locks all that may follow it.
    lay(site, "of_two_watches.dat")
    record = copies.record

    def recorded(*arguments: object) -> None:
        monkeypatch.setattr(copies, "record", record)
        reconcile(site, adopt=True, scope=Scope(watch_name="other"))
        record(*arguments)  # type: ignore[arg-type]  # as they were given

    monkeypatch.setattr(copies, "record", recorded)
    mine = reconcile(site, adopt=True, scope=Scope(watch_name="incoming"))

    assert found(mine, site.archive) == {}
    assert [copy.path for copy in site.copies()] == [str(site.archive / "of_two_watches.dat")]
    assert site.statuses() == {str(site.directory / "other" / "of_two_watches.dat"): "archived"}


def test_an_adopted_file_that_is_delivered_again_is_the_same_file(make: SiteMaker) -> None:
    site = make("[single]\n", watch=QUICK)
    lay(site, "a.dat", content=b"bytes")
    reconcile(site, adopt=True)

    site.deliver("a.dat")
    site.one_pass()

    assert site.statuses() == {"a.dat": "archived"}
    assert set(site.archived()) == {"a.dat"}
    assert site.feed() == [("a.dat", "completed")]
