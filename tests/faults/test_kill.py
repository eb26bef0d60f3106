"""SIGKILL at every step of a transfer and of its record, then a restart."""

from datetime import timedelta

import pytest

from tests.faults._helpers.dying import STEPS, pass_that_dies, recover
from tests.site import Site, SiteMaker

CONTENT = {"run1.dat": b"the data", "run1.json": b"{}"}


def deliver(site: Site) -> None:
    for name, content in CONTENT.items():
        site.deliver(name, content=content)


def everything_is_right(site: Site, action: str) -> bool:
    """No byte lost, no partial or left-over file, one entry in the feed."""
    assert site.archived() == CONTENT
    assert set(site.statuses().values()) == {"archived"}
    assert site.feed() == [("run1", "completed")]
    assert len([copy for copy in site.copies() if copy.superseded_at is None]) == 2
    left = site.delivered()
    assert left == (set() if action == "move" else set(CONTENT))
    return True


TWICE = ("write", "digest", "publish", "set members", "remove source")  # once a file, or a stage
MOMENTS = [(step, when, 1) for step in STEPS for when in ("before", "after")] + [
    (step, when, 2) for step in TWICE for when in ("before", "after")
]
OF_LINKS = [(step, "after", 1) for step in ("write", "verify", "publish", "record", "clean up", "release")]
CASES = [(action, *moment) for action in ("copy", "move") for moment in MOMENTS]
CASES += [(action, *moment) for action in ("hardlink", "symlink") for moment in OF_LINKS]


@pytest.mark.parametrize(("action", "step", "when", "call"), CASES)
def test_a_pass_that_is_killed_is_finished_by_the_next(
    make: SiteMaker, action: str, step: str, when: str, call: int
) -> None:
    if step == "remove source" and action != "move":
        return
    site = make(archive={"action": f'"{action}"'})
    deliver(site)
    assert pass_that_dies(site, step, when, call)
    recover(site)
    site.now += timedelta(hours=1)  # a group that was alone when its process died waits for its next attempt
    site.one_pass()
    site.one_pass()  # which takes away a source that a killed move has left
    assert everything_is_right(site, action)


@pytest.mark.parametrize("step", ["plan", "write", "publish", "record"])
def test_a_group_that_is_alone_when_its_process_dies_has_used_an_attempt(make: SiteMaker, step: str) -> None:
    site = make(service={"max_retries": "1", "retry_delay": '"1s"'})
    deliver(site)
    for _ in range(2):
        assert pass_that_dies(site, step, "before", 1)
        recover(site)
        site.now += timedelta(hours=1)
    assert site.statuses() == {"run1.dat": "failed", "run1.json": "failed"}
    assert "the process died" in site.component("run1.dat").error_message
