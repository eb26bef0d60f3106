"""Destinations that are taken: by somebody else's file, by another watch, by the same batch."""

from collections.abc import Sequence
from typing import Any

import pytest

from carbonation_core.delivery.observe import observe
from carbonation_core.pipeline import publish
from carbonation_core.pipeline.claim import claim
from tests import databases
from tests.site import SINGLE, Site, SiteMaker

BOTH = ("incoming", "other")
ONE_BATCH = {"single_group_runs": "0"}


@pytest.fixture
def two_watches(make: SiteMaker) -> Any:
    """Makes a site with a second watch, "other", that feeds the same archive."""

    def made(on_conflict: str) -> Site:
        site: Site = make(
            SINGLE,
            archive={"on_conflict": f'"{on_conflict}"'},
            more="""
                [[watch]]
                name = "other"
                path = "other"
                rules = "single"
                archive = "main"
            """,
        )
        (site.directory / "other").mkdir()
        return site

    return made


def deliver(site: Site, *contents: bytes) -> None:
    """The same name to both watches, settled in both."""
    for watch, content in zip(BOTH, contents, strict=True):
        (site.directory / watch / "same.bin").write_bytes(content)
    for seconds in (0, 3):
        site.tick_clock(seconds)
        for watch in BOTH:
            observe(site.project, watch)


def work_on(site: Site, watches: Sequence[str] = BOTH) -> None:
    for watch in watches:
        for offer in claim(site.project, watch, "here"):
            site.run(offer)


@databases.one
def test_other_bytes_at_the_destination_are_never_touched(site: Site) -> None:
    site.archive.mkdir()
    (site.archive / "run1.dat").write_bytes(b"somebody else's")
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    assert site.archived() == {"run1.dat": b"somebody else's"}
    assert site.statuses()["run1.dat"] == "retry_pending"
    assert 'on_conflict = "error"' in site.component("run1.dat").error_message


@databases.one
def test_a_conflict_under_version_gets_a_name_of_its_own(make: SiteMaker) -> None:
    site = make(archive={"on_conflict": '"version"'})
    site.archive.mkdir()
    (site.archive / "run1.dat").write_bytes(b"somebody else's")
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    assert site.archived() == {
        "run1.dat": b"somebody else's",
        "run1.v2.dat": b"bytes",
        "run1.json": b"bytes",
    }


@databases.one
def test_equal_bytes_at_the_destination_count_as_archived(site: Site) -> None:
    site.archive.mkdir()
    (site.archive / "run1.dat").write_bytes(b"bytes")
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    assert site.statuses()["run1.dat"] == "archived"


def test_two_files_never_share_an_archive_path(make: SiteMaker) -> None:
    site = make(SINGLE, watch={"recursive": "true"})
    site.deliver("a/same.bin", content=b"one")
    site.deliver("b/same.bin", content=b"one")
    site.one_pass()
    assert sorted(site.statuses().values()) == ["archived", "retry_pending"]


def test_equal_names_in_one_batch_get_versions(make: SiteMaker) -> None:
    site = make(SINGLE, watch={"recursive": "true"}, archive={"on_conflict": '"version"'}, service=ONE_BATCH)
    for number, directory in enumerate("abc"):
        site.deliver(f"{directory}/same.bin", content=b"%d" % number)
    site.one_pass()
    assert sorted(site.archived()) == ["same.bin", "same.v2.bin", "same.v3.bin"]
    assert sorted(site.archived().values()) == [b"0", b"1", b"2"]


def test_equal_names_in_one_batch_fail_all_but_one(make: SiteMaker) -> None:
    site = make(SINGLE, watch={"recursive": "true"}, service=ONE_BATCH)
    for number, directory in enumerate("abc"):
        site.deliver(f"{directory}/same.bin", content=b"%d" % number)
    site.one_pass()
    assert len(site.archived()) == 1
    assert sorted(site.statuses().values()) == ["archived", "retry_pending", "retry_pending"]


@pytest.mark.parametrize(
    "contents", [(b"one", b"two"), (b"same", b"same")], ids=["other bytes", "equal bytes"]
)
@pytest.mark.parametrize("on_conflict", ["error", "version"])
def test_two_watches_never_share_an_archive_path(
    two_watches: Any, on_conflict: str, contents: tuple[bytes, bytes]
) -> None:
    site = two_watches(on_conflict)
    deliver(site, *contents)
    work_on(site)
    if on_conflict == "version":
        assert site.archived() == dict(zip(("same.bin", "same.v2.bin"), contents, strict=True))
        return
    assert site.archived() == {"same.bin": contents[0]}
    assert sorted(site.statuses().values()) == ["archived", "retry_pending"]


@pytest.mark.parametrize(
    "contents", [(b"one", b"two"), (b"same", b"same")], ids=["other bytes", "equal bytes"]
)
@pytest.mark.parametrize("moment", ["write", "publish"])
def test_a_path_that_another_watch_takes_meanwhile_is_left_to_it(
    two_watches: Any, monkeypatch: pytest.MonkeyPatch, moment: str, contents: tuple[bytes, bytes]
) -> None:
    site = two_watches("version")
    deliver(site, *contents)
    original = getattr(publish, moment)

    def overtaken(*arguments: Any) -> Any:
        monkeypatch.setattr(publish, moment, original)
        work_on(site, ["other"])
        return original(*arguments)

    monkeypatch.setattr(publish, moment, overtaken)
    work_on(site)
    for _ in range(2):
        site.tick_clock(3600)
        work_on(site)
    assert sorted(site.archived()) == ["same.bin", "same.v2.bin"]
    assert sorted(site.archived().values()) == sorted(contents)
    recorded = {copy.path: copy.digest for copy in site.copies() if copy.path_key is not None}
    assert len(recorded) == 2
