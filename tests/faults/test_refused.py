"""System calls that fail in the middle of a pass: nothing torn, nothing left, no attempt used."""

import errno
import os
from collections.abc import Mapping

import pytest

from tests.faults._helpers.dying import in_a_child
from tests.faults._helpers.refusing import Refusal, refuse
from tests.site import Site, SiteMaker, open_site

TAIL = 4099  # a size that no other write has
CONTENT = {"run1.dat": b"d" * ((1 << 20) + TAIL), "run1.json": b"{}"}
NEIGHBOUR = {"run2.dat": b"other", "run2.json": b"{}"}
IN_THE_TAIL, OUR_BLOCK, READ_BACK = (2, TAIL), (2, 1 << 20), (2, 1 << 18)

COPY = {"action": '"copy"'}
MOVE = {"action": '"move"'}
FILE = {"durability": '"file"'}
READ = {"verify": '"read"'}

CASES: list[tuple[Refusal, Mapping[str, str]]] = [
    (Refusal("mkdir", errno.EROFS), COPY),
    (Refusal("mkdir", errno.EACCES), COPY),
    (Refusal("mkdir", errno.ENOSPC), MOVE),
    (Refusal("read", errno.EIO, OUR_BLOCK), COPY),
    (Refusal("read", errno.ESTALE, OUR_BLOCK), MOVE),
    (Refusal("read", errno.EIO, OUR_BLOCK), {"action": '"hardlink"'}),
    (Refusal("read", errno.EIO, OUR_BLOCK), {"action": '"symlink"'}),
    (Refusal("write", errno.EIO, IN_THE_TAIL), COPY),
    (Refusal("write", errno.ENOSPC, IN_THE_TAIL), COPY),
    (Refusal("write", errno.EDQUOT, IN_THE_TAIL), COPY),
    (Refusal("write", errno.EROFS, IN_THE_TAIL), FILE),
    (Refusal("write", errno.ENOTCONN, IN_THE_TAIL), COPY),
    (Refusal("fchmod", errno.EPERM), COPY),
    (Refusal("utimensat", errno.EACCES), COPY),
    (Refusal("symlink", errno.EROFS), {"action": '"symlink"'}),
    (Refusal("fsync", errno.EIO), FILE),
    (Refusal("fsync", errno.EIO), COPY),
    (Refusal("fsync", errno.EIO), MOVE),
    (Refusal("syncfs", errno.EIO), COPY),
    (Refusal("syncfs", errno.ENOSPC), MOVE),
    (Refusal("read", errno.EIO, READ_BACK), READ),
    (Refusal("link", errno.EACCES), COPY),
    (Refusal("link", errno.EIO), COPY),
    (Refusal("link", errno.EROFS), MOVE),
    (Refusal("link", errno.ENOSPC), {"action": '"hardlink"'}),
    (Refusal("link", errno.EDQUOT), {"action": '"symlink"'}),
    (Refusal("stat directory", errno.EIO), COPY),
    (Refusal("stat directory", errno.ESTALE), MOVE),
]


def run_refused(site: Site, refusal: Refusal) -> None:
    """All that is ready is worked on by a process that is refused that call, and that ends well."""

    def work() -> None:
        child = open_site(site.directory)
        child.now = site.now
        offers = child.claim()
        refuse(refusal)
        if refusal.call == "write":  # so that it is needed
            refuse(Refusal("copy_file_range", errno.EXDEV))
        for offer in offers:
            child.run(offer)

    site.project.engine.dispose()
    assert in_a_child(work) == 0


def later(site: Site) -> None:
    site.tick(3600)
    site.run_all()
    site.one_pass()


def deliver(site: Site, content: Mapping[str, bytes]) -> None:
    for name, one in content.items():
        site.deliver(name, content=one)


@pytest.mark.parametrize(("refusal", "archive"), CASES, ids=lambda value: str(value))
def test_an_error_of_the_system_is_waited_for_and_leaves_nothing(
    make: SiteMaker, refusal: Refusal, archive: Mapping[str, str]
) -> None:
    site = make(archive=archive)
    if refusal.call != "mkdir":  # which fails when a directory is to be made
        site.archive.mkdir()
    deliver(site, CONTENT)
    site.settle()
    run_refused(site, refusal)
    for name, content in site.archived().items():
        # Names that are given but could not be made durable may stand there, whole.
        assert refusal.call == "fsync"
        assert content == CONTENT[name]
    for name, content in CONTENT.items():
        component = site.component(name)
        assert component.status == "retry_pending"
        assert component.retry_count == 0
        assert os.strerror(refusal.error) in component.error_message
        assert (site.incoming / name).read_bytes() == content
    assert site.group("run1").attempts == 0
    assert site.feed() == []
    later(site)
    assert site.archived() == CONTENT
    assert set(site.statuses().values()) == {"archived"}
    assert site.feed() == [("run1", "completed")]


@pytest.mark.parametrize("error", [errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EIO])
@pytest.mark.parametrize("argument", [None, (4, TAIL)], ids=["from the beginning", "from the last block on"])
def test_what_the_kernel_will_not_copy_is_written(
    make: SiteMaker, error: int, argument: tuple[int, int] | None
) -> None:
    site = make()
    deliver(site, CONTENT)
    site.settle()
    run_refused(site, Refusal("copy_file_range", error, argument))
    assert site.archived() == CONTENT
    assert site.feed() == [("run1", "completed")]


def test_an_error_in_one_groups_file_leaves_its_neighbour_alone(make: SiteMaker) -> None:
    site = make(service={"single_group_runs": "0"})
    deliver(site, {**CONTENT, **NEIGHBOUR})
    site.settle()
    run_refused(site, Refusal("write", errno.EIO, IN_THE_TAIL))
    assert site.archived() == NEIGHBOUR
    assert site.feed() == [("run2", "completed")]
    later(site)
    assert site.archived() == {**CONTENT, **NEIGHBOUR}


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS, errno.EACCES])
def test_a_replacement_that_cannot_be_named_leaves_what_was_archived(make: SiteMaker, error: int) -> None:
    site = make()
    deliver(site, NEIGHBOUR)
    site.one_pass()
    site.deliver("run2.dat", content=b"newer bytes")
    site.settle()
    run_refused(site, Refusal("rename", error))
    assert site.archived() == NEIGHBOUR
    assert site.component("run2.dat").status == "retry_pending"
    later(site)
    assert site.archived() == {**NEIGHBOUR, "run2.dat": b"newer bytes"}
    assert site.feed() == [("run2", "completed"), ("run2", "replaced")]


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS, errno.EACCES])
def test_a_source_that_cannot_be_removed_is_archived_and_says_so(make: SiteMaker, error: int) -> None:
    site = make(archive=MOVE)
    deliver(site, NEIGHBOUR)
    site.settle()
    run_refused(site, Refusal("unlinkat", error))
    assert site.archived() == NEIGHBOUR
    component = site.component("run2.dat")
    assert component.status == "archived"
    assert component.in_delivery
    assert component.error_message == f"archived, but its source cannot be removed: {os.strerror(error)}"
    later(site)
    assert site.archived() == NEIGHBOUR
    assert site.feed() == [("run2", "completed")]


@pytest.mark.parametrize("call", ["chmod", "link"])
def test_a_move_without_links_or_their_modes_copies(make: SiteMaker, call: str) -> None:
    site = make(archive=MOVE)
    site.archive.mkdir()
    deliver(site, NEIGHBOUR)
    site.settle()
    run_refused(site, Refusal(call, errno.EPERM))
    assert site.archived() == NEIGHBOUR
    assert site.feed() == [("run2", "completed")]
    assert not site.delivered()
