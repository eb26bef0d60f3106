"""Archives on another file system, read-only, taken away, or gone under the hands of a pass."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from carbonation_core.disk import transfer
from carbonation_core.names import MARK
from carbonation_core.pipeline import publish
from tests.faults._helpers.disks import bound, mounted, needs, remount, unmount
from tests.site import SINGLE, Site, SiteMaker

PAIR = {"run1.dat": b"the data", "run1.json": b"{}"}


@pytest.fixture
def elsewhere(on_disk: Path, tmp_path: Path) -> Path:
    """A directory on another file system than the delivery's."""
    needs(on_disk.stat().st_dev != tmp_path.stat().st_dev, "/dev/shm to be another file system")
    return on_disk


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """The archive of a site that is made later, as a mount of its own."""
    with mounted(tmp_path / "archive", "size=4m") as directory:
        yield directory


def deliver(site: Site) -> None:
    for name, content in PAIR.items():
        site.deliver(name, content=content)


def lying(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != MARK}


def later(site: Site) -> None:
    site.tick(3600)
    site.run_all()


@pytest.mark.parametrize("action", ["copy", "move", "symlink"])
def test_an_archive_may_be_on_another_file_system(make: SiteMaker, elsewhere: Path, action: str) -> None:
    site = make(archive={"action": f'"{action}"', "destination": f'"{elsewhere}/files"'})
    deliver(site)
    os.utime(site.incoming / "run1.dat", ns=(5, 7_000_000_123))
    site.one_pass()
    files = elsewhere / "files"
    assert lying(files) == PAIR
    assert (files / "run1.dat").stat().st_mtime_ns == 7_000_000_123
    assert (files / "run1.dat").is_symlink() is (action == "symlink")
    assert lying(site.incoming) == ({} if action == "move" else PAIR)
    assert site.one_pass().changed == 0
    assert site.feed() == [("run1", "completed")]


def test_a_hard_link_to_another_file_system_is_a_clear_error(make: SiteMaker, elsewhere: Path) -> None:
    site = make(
        archive={"action": '"hardlink"', "destination": f'"{elsewhere}/files"'},
        service={"max_retries": "0"},
    )
    deliver(site)
    site.one_pass()
    assert lying(elsewhere / "files") == {}
    component = site.component("run1.dat")
    assert component.status == "failed"
    assert "is on another file system than the delivery, where no hard link can lead" in (
        component.error_message
    )
    assert site.one_pass().changed == 0


def test_a_read_only_archive_is_waited_for(make: SiteMaker, mount: Path) -> None:
    site = make()
    deliver(site)
    remount(mount, "ro")
    site.one_pass()
    component = site.component("run1.dat")
    assert (component.status, component.retry_count) == ("retry_pending", 0)
    assert "Read-only file system" in component.error_message
    remount(mount, "rw")
    later(site)
    assert site.archived() == PAIR


def test_a_base_path_whose_mount_is_gone_is_waited_for(make: SiteMaker, mount: Path) -> None:
    site = make(SINGLE)
    site.deliver("a.bin")
    site.one_pass()
    site.deliver("b.bin")
    unmount(mount)
    site.one_pass()
    assert site.archived() == {}
    component = site.component("b.bin")
    assert (component.status, component.retry_count) == ("retry_pending", 0)
    assert "held files and is gone or empty; is it mounted?" in component.error_message
    assert site.statuses()["a.bin"] == "archived"


def in_the_middle(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, what: Callable[[], None]) -> None:
    """Something happens right before the first call of that function."""
    original = getattr(module, name)
    happened = []

    def after(*arguments: Any, **options: Any) -> Any:
        if not happened:
            happened.append(True)
            what()
        return original(*arguments, **options)

    monkeypatch.setattr(module, name, after)


@pytest.mark.parametrize(
    ("module", "step"),
    [(transfer, "write"), (transfer, "sync"), (transfer, "verify"), (publish, "publish")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_destination_that_vanishes_in_the_middle_is_made_again(
    make: SiteMaker, monkeypatch: pytest.MonkeyPatch, module: Any, step: str
) -> None:
    site = make(archive={"destination": '"archive/{group_key}"'})
    deliver(site)
    with monkeypatch.context() as patch:
        in_the_middle(patch, module, step, lambda: shutil.rmtree(site.archive / "run1"))
        site.one_pass()
    assert site.archived() == {}
    assert site.feed() == []
    assert set(site.statuses().values()) == {"retry_pending"}
    assert "No such file or directory" in site.component("run1.dat").error_message
    assert lying(site.incoming) == PAIR
    later(site)
    assert lying(site.archive / "run1") == PAIR
    assert site.feed() == [("run1", "completed")]


@pytest.mark.parametrize("step", ["write", "verify"])
def test_an_archive_that_is_unmounted_in_the_middle_is_waited_for(
    make: SiteMaker, mount: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    site = make(archive={"destination": '"archive/{group_key}"'})
    deliver(site)
    with monkeypatch.context() as patch:
        in_the_middle(patch, transfer, step, lambda: unmount(mount))
        site.one_pass()
    assert site.archived() == {}
    assert set(site.statuses().values()) == {"retry_pending"}
    assert lying(site.incoming) == PAIR
    later(site)
    assert lying(site.archive / "run1") == PAIR


def test_a_source_that_cannot_be_read_is_waited_for(make: SiteMaker) -> None:
    """The first bytes of a process's memory are an I/O error."""
    site = make(SINGLE)
    site.deliver("bad.bin", "good.bin", content=b"")
    with bound(Path(f"/proc/{os.getpid()}/mem"), site.incoming / "bad.bin"):
        site.one_pass()
        component = site.component("bad.bin")
        assert (component.status, component.retry_count) == ("retry_pending", 0)
        assert "Input/output error" in component.error_message
        assert site.archived() == {"good.bin": b""}
    site.one_pass()
    assert set(site.archived()) == {"bad.bin", "good.bin"}
