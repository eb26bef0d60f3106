"""An archive that is full: what fits is archived, the rest waits for room and loses no attempt."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from carbonation_core.pipeline import placement
from tests.faults._helpers.disks import fill, mounted, remount
from tests.site import PAIRS, SINGLE, Site, SiteMaker

ONE_BATCH = {"single_group_runs": "0"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts the archive of a site that is made later, with options of mount(8)."""
    directory = tmp_path / "archive"
    with mounted(directory, "size=1m"):

        def options(text: str) -> Path:
            remount(directory, text)
            return directory

        yield options


def deliver(site: Site, count: int, size: int) -> dict[str, bytes]:
    content = {f"f{number:02}.bin": bytes([number]) * size for number in range(count)}
    for name, one in content.items():
        site.deliver(name, content=one)
    return content


def waits_for_room(site: Site, content: dict[str, bytes], archived: int, why: str) -> bool:
    """So many files are in the archive, whole; the others wait, and say why."""
    assert len(site.archived()) == archived
    assert site.archived().items() <= content.items()  # neither torn nor temporary
    statuses = site.statuses()
    waiting = [name for name in content if statuses[name] == "retry_pending"]
    assert {name for name in content if statuses[name] == "archived"} == set(site.archived())
    assert len(waiting) == len(content) - archived
    for name in waiting:
        component = site.component(name)
        assert why in component.error_message
        assert component.retry_count == 0
        assert site.group(name).attempts == 0
    return True


def later(site: Site) -> None:
    site.tick(3600)
    site.run_all()


def test_groups_that_do_not_fit_wait_for_room(make: SiteMaker, small_disk: Any) -> None:
    small_disk("size=64k")
    site = make(SINGLE, service=ONE_BATCH)
    content = deliver(site, count=5, size=20_000)
    site.one_pass()
    why = f'no space for 20000 bytes in "{site.archive}"'
    assert waits_for_room(site, content, 3, why)
    later(site)
    assert waits_for_room(site, content, 3, why)
    small_disk("size=1m")
    later(site)
    assert site.archived() == content


def test_the_disk_may_be_full_before_the_sum_of_bytes_says_so(make: SiteMaker, small_disk: Any) -> None:
    page = os.sysconf("SC_PAGESIZE")  # every file takes at least one
    small_disk(f"size={10 * page}")
    site = make(SINGLE, service=ONE_BATCH)
    content = deliver(site, count=16, size=100)
    site.one_pass()
    assert waits_for_room(site, content, 10, "No space left on device")
    small_disk("size=1m")
    later(site)
    assert site.archived() == content


def test_room_that_vanishes_in_the_middle_of_a_write_leaves_nothing_torn(
    make: SiteMaker, small_disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_disk("size=16m")
    site = make(SINGLE, service={**ONE_BATCH, "workers": "1"})
    content = deliver(site, count=2, size=5_000_000)
    prepare = placement.prepare

    def prepare_then_fill(*arguments: Any) -> placement.Archived:
        planned = prepare(*arguments)
        fill(site.archive)
        os.truncate(site.archive / "hog", (site.archive / "hog").stat().st_size - 8_000_000)
        return planned

    with monkeypatch.context() as patch:
        patch.setattr(placement, "prepare", prepare_then_fill)
        site.one_pass()
    (site.archive / "hog").unlink()
    assert waits_for_room(site, content, 1, "No space left on device")
    later(site)
    assert site.archived() == content


def test_a_disk_without_free_inodes_is_a_full_disk(make: SiteMaker, small_disk: Any) -> None:
    small_disk("nr_inodes=6")  # the root has one
    site = make(SINGLE, service=ONE_BATCH)
    content = deliver(site, count=9, size=10)
    site.one_pass()
    assert 1 <= len(site.archived()) <= 5
    assert waits_for_room(site, content, len(site.archived()), "No space left on device")
    small_disk("nr_inodes=100")
    later(site)
    assert site.archived() == content


def test_a_group_that_does_not_fit_whole_leaves_no_part_of_it(make: SiteMaker, small_disk: Any) -> None:
    page = os.sysconf("SC_PAGESIZE")
    small_disk(f"size={3 * page}")
    site = make(PAIRS, service=ONE_BATCH)
    site.deliver("run1.dat", "run1.json", "run2.dat", "run2.json")
    site.one_pass()
    archived = set(site.archived())
    assert archived in ({"run1.dat", "run1.json"}, {"run2.dat", "run2.json"})
    assert sorted(site.statuses().values()) == ["archived", "archived", "retry_pending", "retry_pending"]
    small_disk("size=1m")
    later(site)
    assert len(site.archived()) == 4
    assert sorted(site.feed()) == [("run1", "completed"), ("run2", "completed")]


def test_a_redelivery_that_does_not_fit_leaves_the_archived_bytes(make: SiteMaker, small_disk: Any) -> None:
    small_disk("size=64k")
    site = make(SINGLE)
    site.deliver("a.bin", content=b"1" * 40_000)
    site.one_pass()
    site.deliver("a.bin", content=b"2" * 40_000)
    site.one_pass()
    assert site.archived() == {"a.bin": b"1" * 40_000}
    assert "no space for 40000 bytes" in site.component("a.bin").error_message
    assert site.group("a.bin").complete
    small_disk("size=1m")
    later(site)
    assert site.archived() == {"a.bin": b"2" * 40_000}
    assert site.feed() == [("a.bin", "completed"), ("a.bin", "replaced")]


def test_a_move_to_a_full_disk_leaves_its_source(make: SiteMaker, small_disk: Any) -> None:
    small_disk("size=64k")
    site = make(SINGLE, service=ONE_BATCH, archive={"action": '"move"'})
    content = deliver(site, count=5, size=20_000)
    site.one_pass()
    assert waits_for_room(site, content, 3, "no space for 20000 bytes")
    assert site.delivered() == set(content) - set(site.archived())
    small_disk("size=1m")
    later(site)
    assert site.archived() == content
    assert not site.delivered()
