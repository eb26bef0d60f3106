"""Ways in which senders bring files, seen by the service's file events and by the looks of a single pass.

However a file comes, nothing of it is taken before it is whole, and it is archived once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import pytest

from carbonation_core.delivery.observe import observe
from carbonation_core.disk.watcher import Watcher
from tests import databases
from tests.site import PAIRS, Site, SiteMaker

pytestmark = databases.one  # how files come

COMES_WITHIN = 10.0  # seconds for an event to come
WHOLE = {"run1.dat": b"first half, second half", "run1.json": b"{}"}


@dataclass
class Looks:
    """A site that is looked at."""

    site: Site
    look: Callable[[], None]

    def tick(self, seconds: float = 0) -> None:
        """A look so much later, and the work on all that is ready then."""
        self.site.tick_clock(seconds)
        self.look()
        self.site.run_all()


@pytest.fixture(params=["events", "passes"])
def looks(request: pytest.FixtureRequest, make: SiteMaker) -> Iterator[Looks]:
    """A recursive watch of pairs that settle in 3 s, empty and looked at once."""
    site = make(PAIRS, watch={"recursive": "true", "settle_seconds": "3"})
    site.tick()
    if request.param == "passes":
        yield Looks(site, lambda: observe(site.project, "incoming") and None)
        return
    watcher = Watcher(site.project.config.watch_named("incoming"), 5.0)
    with watcher.hints() as hints:
        assert hints.everything

    def look() -> None:
        """Look where events point, until those of all that happened before have come."""
        heard: set[str] = set()
        mark = f".mark{next(numbers)}"  # which the watch ignores
        (site.incoming / mark).touch()
        while mark not in heard:
            assert watcher.wait(COMES_WITHIN)
            with watcher.hints() as hints:
                assert not hints.everything
                observe(site.project, "incoming", hints)
            heard |= hints.files

    numbers = count()
    yield Looks(site, look)
    watcher.stop()


def is_whole_and_was_taken_once(site: Site, directory: str = "") -> None:
    assert site.archived() == WHOLE
    for name in WHOLE:
        assert [event for _, _, event in site.history(directory + name)] == ["seen", "grouped", "archived"]


@pytest.mark.parametrize("name", [".{}.Xk3fQz", "{}.tmp"])
def test_renamed_into_place_when_it_is_whole(looks: Looks, name: str) -> None:
    """As rsync does, and senders that add a suffix."""
    site = looks.site
    for final, content in WHOLE.items():
        path = site.incoming / name.format(final)
        path.write_bytes(content[:5])
        looks.tick(10)
        looks.tick(10)
        assert final not in site.statuses()
        path.write_bytes(content)
        path.rename(site.incoming / final)
        looks.tick()
        assert site.statuses()[final] == "detected"
        looks.tick(2.9)
        assert site.statuses()[final] == "detected"
        looks.tick(0.2)
    is_whole_and_was_taken_once(site)


def test_moved_in_with_its_directory(looks: Looks) -> None:
    site = looks.site
    outside = site.directory / "outside" / "deep"
    outside.mkdir(parents=True)
    for name, content in WHOLE.items():
        (outside / name).write_bytes(content)
    outside.parent.rename(site.incoming / "in")
    looks.tick()
    looks.tick(3.1)
    is_whole_and_was_taken_once(site, "in/deep/")


def test_brought_into_a_directory_that_was_moved_in(looks: Looks) -> None:
    site = looks.site
    outside = site.directory / "outside" / "deep"
    outside.mkdir(parents=True)
    outside.parent.rename(site.incoming / "in")
    looks.tick()
    for name, content in WHOLE.items():
        (site.incoming / "in" / "deep" / name).write_bytes(content)
        looks.tick()
    looks.tick(3.1)
    is_whole_and_was_taken_once(site, "in/deep/")


def test_written_in_two_halves_two_seconds_apart(looks: Looks) -> None:
    site = looks.site
    files = {site.incoming / name: content for name, content in WHOLE.items()}
    for path, content in files.items():
        path.write_bytes(content[: len(content) // 2])
    looks.tick()
    looks.tick(2)
    for path, content in files.items():
        with path.open("ab") as file:
            file.write(content[len(content) // 2 :])
    looks.tick(0.1)
    looks.tick(2.8)  # longer than three seconds since the first half
    assert set(site.statuses().values()) == {"detected"}
    looks.tick(0.3)
    is_whole_and_was_taken_once(site)


def test_kept_open_and_written_to_after_it_had_settled(looks: Looks) -> None:
    site = looks.site
    (site.incoming / "run1.json").write_bytes(b"{}")
    with (site.incoming / "run1.dat").open("wb") as file:
        file.write(b"first half")
        file.flush()
        looks.tick()
        looks.tick(3.1)
        assert site.archived()["run1.dat"] == b"first half"
        file.write(b", second half")
        file.flush()
        looks.tick()
        assert site.statuses()["run1.dat"] == "detected"
    looks.tick(3.1)
    assert site.archived() == WHOLE
    assert [event for _, event in site.feed()] == ["completed", "replaced"]
