"""SIGKILL at every step of what comes after a first delivery, again and again, then a restart."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from tests.faults._helpers.dying import pass_that_dies, recover, work_on_all
from tests.site import PAIRS, Site, SiteMaker

PAIR = {"run1.dat": b"one", "run1.json": b"{}"}
BY_CATEGORY = {"destination": '"archive/{category}"'}
EXTRACTING = PAIRS + '[pairs.metadata]\nextract = "sizes"\n'


@dataclass(frozen=True)
class Case:
    """What is delivered in turn, and what the archive and the feed hold in the end."""

    deliveries: tuple[Mapping[str, bytes], ...]
    archived: Mapping[str, bytes]
    feed: list[tuple[str, str]]
    rules: str = PAIRS
    watch: Mapping[str, str] = field(default_factory=dict)
    archive: Mapping[str, str] = field(default_factory=dict)
    there: Mapping[str, bytes] = field(default_factory=dict)  # in the archive, and somebody else's

    def make(self, make: SiteMaker, action: str) -> Site:
        """The last delivery lies there; all before it are archived."""
        site: Site = make(
            self.rules,
            watch=self.watch,
            archive={"action": f'"{action}"', **self.archive},
            service={"single_group_runs": "0", "max_retries": "1000"},
        )
        for name, content in self.there.items():
            site.archive.mkdir(exist_ok=True)
            (site.archive / name).write_bytes(content)
        for number, delivery in enumerate(self.deliveries):
            if number:
                site.one_pass()
            for name, content in delivery.items():
                site.deliver(name, content=content)
        return site


COMPLETED, REPLACED, UPDATED = ("run1", "completed"), ("run1", "replaced"), ("run1", "updated")
AGAIN = {"run1.dat": b"two"}
CASES = {
    "first": Case((PAIR,), PAIR, [COMPLETED]),
    "replace": Case((PAIR, AGAIN), {**PAIR, **AGAIN}, [COMPLETED, REPLACED]),
    "replace by another route": Case(
        (PAIR, {"run1.dat": b"two", "run1.json": b"{2}"}),
        {"two/run1.dat": b"two", "two/run1.json": b"{2}"},
        [COMPLETED, REPLACED],
        rules=EXTRACTING,
        archive=BY_CATEGORY,
    ),
    "version": Case(
        (PAIR, AGAIN),
        {**PAIR, "run1.v2.dat": b"two"},
        [COMPLETED, REPLACED],
        watch={"redelivery": '"version"'},
    ),
    "late extra": Case((PAIR, {"run1.txt": b"extra"}), {**PAIR, "run1.txt": b"extra"}, [COMPLETED, UPDATED]),
    "conflict": Case(
        (PAIR,),
        {"run1.dat": b"not ours", "run1.v2.dat": b"one", "run1.json": b"{}"},
        [COMPLETED],
        archive={"on_conflict": '"version"'},
        there={"run1.dat": b"not ours"},
    ),
    "many": Case(
        ({f"run{n}.{end}": b"%d" % n + end.encode() for n in range(3) for end in ("dat", "json")},),
        {f"run{n}.{end}": b"%d" % n + end.encode() for n in range(3) for end in ("dat", "json")},
        [(f"run{n}", "completed") for n in range(3)],
    ),
}
BEFORE_THE_RECORD = [
    ("write", "after", 1),
    ("verify", "before", 1),
    ("publish", "before", 1),
    ("link", "after", 1),
    ("publish", "after", 1),
    ("sync directories", "after", 1),
    ("record", "after", 1),
]
OF_A_REPLACEMENT = [("link", "after", 2), ("rename", "before", 1), ("rename", "after", 1)]
AFTER_THE_RECORD = [
    ("clean up", "before"),
    ("remove source", "before"),
    ("remove source", "after"),
    ("clean up", "after"),
    ("end", "before"),
]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def nothing_is_lost(site: Site, case: Case) -> bool:
    """Every version that was delivered lies somewhere whole, unless a newer one is recorded."""
    lying = {path.read_bytes() for path in site.directory.glob("*/**/*") if path.is_file()}
    for number, delivery in enumerate(case.deliveries):
        for name, content in delivery.items():
            superseded = any(
                name in later and site.component(name).digest == digest(later[name])
                for later in case.deliveries[number + 1 :]
            )
            assert superseded or content in lying, name
    return True


def archive_is_as_recorded(site: Site, case: Case) -> bool:
    """Every current copy is there with its digest, and nothing else is."""
    recorded = {copy.path: copy.digest for copy in site.copies() if copy.path_key is not None}
    others = {str(site.archive / name): digest(content) for name, content in case.there.items()}
    found = {str(site.archive / name): digest(content) for name, content in site.archived().items()}
    assert found == recorded | others
    return True


def all_is_well_in_the_end(site: Site, case: Case, action: str) -> bool:
    for _ in range(3):
        site.now += timedelta(days=1)
        site.settle()
        work_on_all(site)
    assert site.archived() == case.archived
    assert archive_is_as_recorded(site, case)
    assert sorted(site.feed()) == sorted(case.feed)
    assert set(site.statuses().values()) == {"archived"}
    last = {name for delivery in case.deliveries for name in delivery}
    assert site.delivered() == (set() if action == "move" else last)
    return True


def dies(site: Site, case: Case, step: str, when: str, call: int = 1) -> bool:
    """Whether a pass got there, was killed, and was recovered from."""
    site.now += timedelta(days=1)  # a group that was alone waits for its next attempt
    if not pass_that_dies(site, step, when, call):
        return False
    assert nothing_is_lost(site, case)
    recover(site)
    assert nothing_is_lost(site, case)
    assert archive_is_as_recorded(site, case)
    return True


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("action", ["copy", "move"])
def test_passes_that_are_killed_before_their_record_leave_all_as_it_was(
    make: SiteMaker, action: str, name: str
) -> None:
    case = CASES[name]
    site = case.make(make, action)
    for step, when, call in BEFORE_THE_RECORD + (OF_A_REPLACEMENT if name == "replace" else []):
        feed = site.feed()
        assert dies(site, case, step, when, call), (step, when)
        assert site.feed() == feed
    assert all_is_well_in_the_end(site, case, action)


@pytest.mark.parametrize(("step", "when"), AFTER_THE_RECORD)
@pytest.mark.parametrize("name", ["replace", "replace by another route", "version", "many"])
@pytest.mark.parametrize("action", ["copy", "move"])
def test_a_pass_that_is_killed_after_its_record_is_carried_to_its_end(
    make: SiteMaker, action: str, name: str, step: str, when: str
) -> None:
    if action != "move" and step == "remove source":
        return
    case = CASES[name]
    site = case.make(make, action)
    assert dies(site, case, step, when)
    assert all_is_well_in_the_end(site, case, action)


Sender = Callable[[Site], None]


def rewrite(site: Site) -> None:
    site.deliver("run1.dat", content=b"three, and longer")


def withdraw(site: Site) -> None:
    (site.incoming / "run1.dat").unlink()


def restore(site: Site) -> None:
    site.deliver("run1.dat", content=b"one")


@pytest.mark.parametrize(
    ("sender", "archived", "feed"),
    [
        (rewrite, {**PAIR, "run1.dat": b"three, and longer"}, [COMPLETED, REPLACED]),
        (withdraw, PAIR, [COMPLETED]),
        (restore, PAIR, [COMPLETED]),
    ],
    ids=["rewrites", "withdraws", "restores"],
)
@pytest.mark.parametrize("step", ["publish", "sync directories", "record"])
def test_a_sender_acts_between_a_killed_replacement_and_the_restart(
    make: SiteMaker, step: str, sender: Sender, archived: Mapping[str, bytes], feed: list[tuple[str, str]]
) -> None:
    case = CASES["replace"]
    site = case.make(make, "copy")
    assert pass_that_dies(site, step, "after", 1)
    sender(site)
    recover(site)
    for _ in range(3):
        site.now += timedelta(days=1)
        site.one_pass()
        assert archive_is_as_recorded(site, case)
    assert site.archived() == archived
    assert site.feed() == feed
    assert set(site.statuses().values()) == {"archived"}


@pytest.mark.parametrize("action", ["copy", "move", "hardlink", "symlink"])
@pytest.mark.parametrize("call", [1, 2])
def test_other_bytes_delivered_after_a_killed_publication_are_archived(
    make: SiteMaker, action: str, call: int
) -> None:
    site = CASES["first"].make(make, action)
    assert pass_that_dies(site, "publish", "after", call)
    path = site.incoming / "run1.dat"
    path.unlink()
    site.deliver("run1.dat", content=b"other bytes")
    recover(site)
    for _ in range(2):
        site.now += timedelta(days=1)
        site.one_pass()
    assert site.archived() == {**PAIR, "run1.dat": b"other bytes"}
    assert site.feed() == [COMPLETED]


def test_what_was_published_and_then_removed_by_its_sender_is_not_deleted(make: SiteMaker) -> None:
    site = CASES["first"].make(make, "copy")
    assert pass_that_dies(site, "sync directories", "after", 1)
    for name in PAIR:
        (site.incoming / name).unlink()
    recover(site)
    site.one_pass()
    assert site.archived() == PAIR
    assert set(site.statuses().values()) == {"cleared"}


@pytest.mark.parametrize("action", ["move", "hardlink"])
def test_links_of_a_killed_pass_do_not_give_a_file_new_attempts(make: SiteMaker, action: str) -> None:
    site = make(archive={"action": f'"{action}"'}, service={"max_retries": "1", "retry_delay": '"1s"'})
    for name, content in PAIR.items():
        site.deliver(name, content=content)
    for _ in range(2):
        assert pass_that_dies(site, "sync", "before", 1)
        recover(site)
        site.now += timedelta(hours=1)
    assert set(site.statuses().values()) == {"failed"}
    site.one_pass()
    assert set(site.statuses().values()) == {"failed"}
