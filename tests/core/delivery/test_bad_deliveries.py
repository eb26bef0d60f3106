"""Whatever a sender leaves in a delivery ends in the right status, and its neighbours are archived."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from carbonation_core import Plugin
from carbonation_core.names import to_text
from tests import databases
from tests.site import SINGLE, File, Site, SiteMaker, make_site, touch

pytestmark = databases.one  # names and kinds of files

RULES = SINGLE + '[[single.integrity]]\ntype = "min_size"\nvalue = 3\n'
NOBODY = 65534


@pytest.fixture
def single(make: SiteMaker) -> Site:
    """Every file is a group of one of at least three bytes; a good neighbour lies there."""
    site = make(RULES)
    site.deliver("neighbour.bin")
    return site


def neighbour_is_archived(site: Site) -> bool:
    return site.statuses()["neighbour.bin"] == "archived" and "neighbour.bin" in site.archived()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "has 0 bytes, fewer than min_size = 3"), (b"ab", "has 2 bytes, fewer than min_size = 3")],
)
def test_a_file_that_is_too_small_fails_with_its_size(single: Site, content: bytes, reason: str) -> None:
    single.deliver("small.bin", content=content)
    single.one_pass()
    assert single.statuses()["small.bin"] == "integrity_failed"
    assert single.component("small.bin").error_message == reason
    assert neighbour_is_archived(single)


def test_a_small_file_that_is_delivered_whole_later_is_archived(single: Site) -> None:
    single.deliver("small.bin", content=b"")
    single.one_pass()
    touch(single.incoming / "small.bin", b"whole")
    single.one_pass()
    assert single.statuses()["small.bin"] == "archived"


def test_a_directory_is_left_alone(single: Site) -> None:
    (single.incoming / "directory.bin").mkdir()
    single.deliver("directory.bin/inside.bin")
    single.one_pass()
    assert single.statuses() == {"neighbour.bin": "archived"}


def test_a_named_pipe_is_refused_and_never_opened(single: Site) -> None:
    os.mkfifo(single.incoming / "pipe.bin")
    single.one_pass()
    assert single.component("pipe.bin").error_message == "is a named pipe, not a file"
    assert neighbour_is_archived(single)


def test_a_socket_is_refused(single: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(single.incoming)  # a socket's path is at most 107 bytes long
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("socket.bin")
        single.one_pass()
    assert single.component("socket.bin").error_message == "is a socket, not a file"
    assert neighbour_is_archived(single)


@pytest.mark.parametrize("target", ["nowhere", "neighbour.bin", "/etc/passwd", "."])
def test_a_symlink_is_refused(single: Site, target: str) -> None:
    (single.incoming / "link.bin").symlink_to(target)
    single.one_pass()
    assert single.statuses()["link.bin"] == "integrity_failed"
    assert single.component("link.bin").error_message == "is a symlink, which this watch refuses"
    assert neighbour_is_archived(single)


@pytest.mark.parametrize(
    ("target", "status", "reason"),
    [
        ("neighbour.bin", "archived", None),
        ("nowhere", "integrity_failed", "is a symlink that leads nowhere"),
        ("/etc/passwd", "integrity_failed", "is a symlink to something outside its watch"),
        (".", "integrity_failed", "is a directory, not a file"),
    ],
)
def test_a_symlink_may_be_followed_inside(
    make: SiteMaker, target: str, status: str, reason: str | None
) -> None:
    site = make(RULES, watch={"symlinks": '"follow_inside"'})
    site.deliver("neighbour.bin")
    (site.incoming / "link.bin").symlink_to(target)
    site.one_pass()
    assert site.statuses()["link.bin"] == status
    assert site.component("link.bin").error_message == reason
    assert not (site.archive / "link.bin").is_symlink()
    assert neighbour_is_archived(site)


def test_a_move_of_a_followed_symlink_leaves_the_file_that_it_leads_to(make: SiteMaker) -> None:
    site = make(RULES, watch={"symlinks": '"follow_inside"'}, archive={"action": '"move"'})
    site.deliver("real.bin")
    (site.incoming / "link.bin").symlink_to("real.bin")
    for _ in range(2):
        site.one_pass()
    assert site.statuses() == {"link.bin": "archived", "real.bin": "archived"}
    assert site.archived() == {"link.bin": b"bytes", "real.bin": b"bytes"}
    assert not site.delivered()


@databases.each
@pytest.mark.parametrize(
    "name",
    [
        b"x" * 251 + b".bin",
        b"latin-\xe9.bin",
        b"two\nlines.bin",
        b"tab\tand\x7fdel.bin",
        b"back\\slash.bin",
        b"-rf.bin",
        "Zürich ☃.bin".encode(),
        b"trailing. ",
    ],
)
def test_any_name_that_a_disk_can_hold_is_archived_under_it(single: Site, name: bytes) -> None:
    (Path(os.fsdecode(single.incoming)) / os.fsdecode(name)).write_bytes(b"bytes")
    single.one_pass()
    assert single.component(os.fsdecode(name)).status == "archived"
    assert name in {os.fsencode(path.name) for path in single.archive.iterdir()}
    assert single.component(os.fsdecode(name)).filename == to_text(name)
    assert neighbour_is_archived(single)


def test_a_name_that_leaves_no_room_for_a_version_fails_alone(make: SiteMaker) -> None:
    site = make(RULES, archive={"on_conflict": '"version"'})
    name = "x" * 251 + ".bin"
    site.archive.mkdir()
    (site.archive / name).write_bytes(b"somebody else's")
    site.deliver(name, "neighbour.bin")
    site.one_pass()
    assert site.statuses()[name] == "retry_pending"
    assert "too long" in site.component(name).error_message
    assert neighbour_is_archived(site)


@databases.each
@pytest.mark.parametrize(
    "words", ["caf\udce9", "nothing\0 but", "long " * 40_000], ids=["no text", "a NUL", "long"]
)
def test_whatever_a_plugin_says_when_it_fails_is_stored_and_stops_no_neighbour(
    make: SiteMaker, words: str
) -> None:
    def extract(file_paths: list[Path]) -> dict[str, object]:
        if file_paths[0].name == "bad.bin":
            raise ValueError(words)
        return {}

    plugin = Plugin(File, extractors={"extract": extract})
    rules = SINGLE + '[single.metadata]\nextract = "extract"\n'
    site = make(rules, plugin=plugin, service={"single_group_runs": "0"})
    site.deliver("bad.bin", "neighbour.bin")
    site.one_pass()
    assert site.statuses()["bad.bin"] == "retry_pending"
    assert 'extractor "extract" raised ValueError: ' in site.component("bad.bin").error_message
    assert neighbour_is_archived(site)


@databases.each
def test_a_group_key_that_no_database_could_hold_is_a_failed_attempt(make: SiteMaker) -> None:
    plugin = Plugin(File, group_functions={"long": lambda file_path: "k" * 70_000})
    site = make(
        '[single.completeness]\ngroup_by = "plugin"\ngroup_function = "long"\n',
        plugin=plugin,
    )
    site.deliver("a.bin")
    site.one_pass()
    assert site.statuses() == {"a.bin": "retry_pending"}
    assert "gives a key of 70,000 characters, more than 10,000" in site.component("a.bin").error_message


def test_a_file_that_vanishes_between_looks_is_cleared(single: Site) -> None:
    single.deliver("brief.bin")
    single.tick()
    (single.incoming / "brief.bin").unlink()
    single.one_pass()
    assert single.statuses()["brief.bin"] == "cleared"
    assert neighbour_is_archived(single)


def test_a_file_that_vanishes_before_its_run_is_cleared(single: Site) -> None:
    single.deliver("brief.bin")
    single.settle()
    (single.incoming / "brief.bin").unlink()
    single.run_all()
    single.tick()
    assert single.statuses()["brief.bin"] == "cleared"
    assert neighbour_is_archived(single)


def test_a_file_that_keeps_growing_is_not_archived(single: Site) -> None:
    single.deliver("growing.bin")
    single.tick()
    for number in range(4):
        touch(single.incoming / "growing.bin", b"bytes" * (2 + number))
        single.tick(3)
        single.run_all()
    assert single.statuses()["growing.bin"] == "detected"
    assert neighbour_is_archived(single)
    single.one_pass()
    assert single.archived()["growing.bin"] == b"bytes" * 5


def test_names_that_are_ignored_are_not_even_recorded(single: Site) -> None:
    single.deliver(".hidden", "upload.tmp")
    single.one_pass()
    assert single.statuses() == {"neighbour.bin": "archived"}


def test_a_file_renamed_into_place_is_noticed(single: Site) -> None:
    single.deliver("upload.tmp")
    single.one_pass()
    (single.incoming / "upload.tmp").rename(single.incoming / "upload.bin")
    single.one_pass()
    assert single.statuses()["upload.bin"] == "archived"


@pytest.fixture
def unprivileged(on_each_database: None) -> Iterator[Site]:
    """A site that belongs to an ordinary user, who is us for the while."""
    directory = Path(tempfile.mkdtemp(prefix="carbonation-"))
    privileged = os.geteuid() == 0
    if privileged:
        os.chown(directory, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    site = make_site(directory, RULES, watch={"recursive": "true"})
    try:
        yield site
    finally:
        site.close()
        if privileged:
            os.seteuid(0)
        shutil.rmtree(directory)


def test_a_file_that_cannot_be_read_fails_until_it_can(unprivileged: Site) -> None:
    unprivileged.deliver("neighbour.bin", "locked.bin")
    (unprivileged.incoming / "locked.bin").chmod(0)
    unprivileged.one_pass()
    assert unprivileged.component("locked.bin").error_message == "cannot be read: Permission denied"
    assert neighbour_is_archived(unprivileged)
    (unprivileged.incoming / "locked.bin").chmod(0o600)
    unprivileged.one_pass()
    assert unprivileged.statuses()["locked.bin"] == "archived"


def test_a_directory_that_cannot_be_read_clears_nothing_below_it(unprivileged: Site) -> None:
    unprivileged.deliver("neighbour.bin", "deep/waiting.bin")
    unprivileged.tick()
    (unprivileged.incoming / "deep").chmod(0)
    unprivileged.tick(3)
    unprivileged.run_all()
    assert unprivileged.statuses()["deep/waiting.bin"] == "detected"
    assert neighbour_is_archived(unprivileged)
    (unprivileged.incoming / "deep").chmod(0o700)
    unprivileged.one_pass()
    assert unprivileged.statuses()["deep/waiting.bin"] == "archived"


def test_an_archive_that_cannot_be_written_is_waited_for(unprivileged: Site) -> None:
    unprivileged.deliver("neighbour.bin")
    unprivileged.archive.mkdir()
    unprivileged.archive.chmod(0o500)
    unprivileged.one_pass()
    component = unprivileged.component("neighbour.bin")
    assert (component.status, component.retry_count) == ("retry_pending", 0)
    assert "Permission denied" in component.error_message
    unprivileged.archive.chmod(0o700)
    unprivileged.tick(3600)
    unprivileged.run_all()
    assert neighbour_is_archived(unprivileged)
