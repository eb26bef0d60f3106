"""A sender that goes on writing: no torn file under a final name, and in the end the newest bytes."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from carbonation_core.disk import source, transfer
from carbonation_core.pipeline import placement, record
from carbonation_core.pipeline import publish as archiving
from tests.faults._helpers.dying import in_a_child
from tests.site import SINGLE, Site, SiteMaker, touch

OLD = b"o" * (2 * source.BLOCK + 7)
NAME = "big.bin"
Writer = Callable[[Path], None]


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def truncate(path: Path) -> None:
    os.truncate(path, 10)


def rewrite_unseen(path: Path) -> None:
    """Other bytes of the same size in the same file, and the old mtime: only the ctime tells."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"N" * 100)
        file.seek(-100, os.SEEK_END)
        file.write(b"N" * 100)
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        os.utime(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    """Another file of the same size and mtime under the same name, as rsync does it."""
    before = path.stat()
    other = path.with_name(".incoming")
    other.write_bytes(b"r" * before.st_size)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(path)


def exchange_for_symlink(path: Path) -> None:
    elsewhere = path.parent.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def remove(path: Path) -> None:
    path.unlink()


WRITERS = [append, truncate, rewrite_unseen, replace, exchange_for_symlink, remove]


@pytest.fixture
def another_process(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets another process write right before the given call of a function, once."""

    def writes(module: Any, name: str, call: int, writer: Writer, path: Path) -> None:
        original = getattr(module, name)
        calls = 0

        def interrupted(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            if arguments[1:] == (source.BLOCK,) or name != "read":
                calls += 1
                if calls == call:
                    assert in_a_child(lambda: writer(path)) == 0
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, interrupted)

    return writes


def nothing_is_torn(site: Site, *versions: bytes) -> bool:
    """Names in the archive hold whole versions, and the record says which."""
    archived = site.archived()
    assert set(archived) <= {NAME}
    assert all(content in versions for content in archived.values())
    component = site.component(NAME)
    if component.in_archive:
        assert component.digest == hashlib.sha256(archived[NAME]).hexdigest()
    return True


def newest_is_archived(site: Site, action: str, versions: tuple[bytes, ...]) -> bool:
    for _ in range(3):
        site.one_pass()
        assert nothing_is_torn(site, *versions)
    assert site.archived() == {NAME: versions[-1]}
    assert site.statuses() == {NAME: "archived"}
    assert (site.incoming / NAME).exists() is (action != "move")
    sequence = [event for _, event in site.feed()]
    assert sequence in (["completed"], ["completed", "replaced"])
    return True


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
@pytest.mark.parametrize("action", ["copy", "move", "hardlink"])
def test_a_source_that_changes_while_it_is_read(
    make: SiteMaker, another_process: Any, action: str, writer: Writer
) -> None:
    site = make(SINGLE, archive={"action": f'"{action}"'})
    site.deliver(NAME, content=OLD)
    path = site.incoming / NAME
    site.settle()
    another_process(os, "read", 2, writer, path)
    site.run_all()
    if writer in (exchange_for_symlink, remove):
        assert nothing_is_torn(site, OLD)
        site.one_pass()
        gone = "integrity_failed" if writer is exchange_for_symlink else "cleared"
        assert site.statuses()[NAME] in (gone, "archived")
        assert site.archived() == ({NAME: OLD} if site.component(NAME).in_archive else {})
        return
    new = path.read_bytes() if path.exists() else site.archived()[NAME]
    assert nothing_is_torn(site, OLD, new)
    assert newest_is_archived(site, action, (OLD, new))


AFTER_READING = [
    (transfer, "sync"),
    (transfer, "verify"),
    (transfer, "publish"),
    (transfer, "sync_names"),
    (record, "record"),
    (archiving, "clean_up"),
    (source, "remove"),
]


@pytest.mark.parametrize(
    ("module", "step"), AFTER_READING, ids=lambda value: value if isinstance(value, str) else ""
)
@pytest.mark.parametrize("writer", [append, rewrite_unseen, replace], ids=lambda writer: writer.__name__)
@pytest.mark.parametrize("action", ["copy", "move"])
def test_a_source_that_changes_after_it_was_read(
    make: SiteMaker, another_process: Any, action: str, writer: Writer, module: Any, step: str
) -> None:
    if step == "remove" and action != "move":
        return
    site = make(SINGLE, archive={"action": f'"{action}"'})
    old = OLD[-1000:]
    site.deliver(NAME, content=old)
    path = site.incoming / NAME
    site.settle()
    another_process(module, step, 1, writer, path)
    site.run_all()
    assert path.exists()
    assert newest_is_archived(site, action, (old, path.read_bytes()))


@pytest.mark.parametrize("action", ["copy", "move", "hardlink"])
def test_a_sender_that_writes_all_the_time_never_gets_a_torn_file_archived(
    make: SiteMaker, action: str
) -> None:
    site = make(SINGLE, archive={"action": f'"{action}"'})
    site.deliver(NAME, content=b"0" * 100)
    path = site.incoming / NAME
    for number in range(1, 5):
        site.tick()
        append(path)
        site.tick(3)
        site.run_all()
        assert site.archived() == {}, number
    assert newest_is_archived(site, action, (path.read_bytes(),))


def test_a_move_waits_for_a_sender_that_has_the_file_open(make: SiteMaker) -> None:
    site = make(SINGLE, archive={"action": '"move"'})
    with (site.incoming / NAME).open("wb", buffering=0) as sender:
        sender.write(b"half ")
        site.one_pass()
        component = site.component(NAME)
        assert (component.status, component.retry_count) == ("retry_pending", 0)
        assert "is still open for writing" in component.error_message
        assert site.archived() == {}
        sender.write(b"a file")
    assert newest_is_archived(site, "move", (b"half a file",))


def test_a_move_takes_a_file_that_others_only_read(make: SiteMaker) -> None:
    site = make(SINGLE, archive={"action": '"move"'})
    site.deliver(NAME)
    with (site.incoming / NAME).open("rb"):
        site.one_pass()
    assert site.archived() == {NAME: b"bytes"}


def test_a_redelivery_that_leaves_while_it_is_archived_is_recorded_as_it_is(
    make: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make(SINGLE)
    site.deliver(NAME, content=b"first")
    site.one_pass()
    touch(site.incoming / NAME, b"second")
    site.settle()
    publish = archiving.publish

    def seen_to_leave(*arguments: Any) -> placement.Archived:
        (site.incoming / NAME).unlink()
        site.tick()
        return publish(*arguments)

    monkeypatch.setattr(archiving, "publish", seen_to_leave)
    site.run_all()
    assert site.archived() == {NAME: b"second"}
    assert nothing_is_torn(site, b"second")
    assert site.statuses() == {NAME: "archived"}
    assert [copy.digest for copy in site.copies() if copy.path_key] == [site.component(NAME).digest]
