"""Processes that really die, at a step that a test names."""

import os
import signal
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from carbonation_core.db.batches import RUNNING
from carbonation_core.disk import file_system, source, transfer
from carbonation_core.lifecycle import GivenBack
from carbonation_core.pipeline import placement, publish, record, work
from carbonation_core.pipeline.claim import give_back, open_batches
from tests.site import Site, open_site

# Each is a function that the archive stage calls, in this order.
STEPS: dict[str, tuple[object, str]] = {
    "plan": (placement, "prepare"),
    "make directory": (file_system, "make_directory"),
    "write": (transfer, "write"),
    "digest": (source, "digested"),
    "sync": (transfer, "sync"),
    "verify": (transfer, "verify"),
    "publish": (transfer, "publish"),
    "sync directories": (transfer, "sync_names"),
    "record": (record, "record"),
    "set members": (work.batches, "set_members"),
    "clean up": (publish, "clean_up"),
    "remove source": (source, "remove"),
    "release": (work.batches, "release"),
    "end": (work, "give_back"),
}
CALLS: dict[str, tuple[object, str]] = {"link": (os, "link"), "rename": (os, "rename")}  # give names


def in_a_child(what: Callable[[], None]) -> int:
    """Run it in a forked process; the exit status as waitpid gives it."""
    with warnings.catch_warnings():
        # Threads of earlier tests may idle here; the child uses none of their locks.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            what()
        except BaseException:  # noqa: BLE001  # nothing of a child may reach pytest
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def die() -> None:
    """As a power cut or the kernel's killer would have it."""
    os.kill(os.getpid(), signal.SIGKILL)


def pass_that_dies(site: Site, step: str, when: str, call: int) -> bool:
    """A pass that is killed before or after the given call of a step; whether it got there.

    It takes up batches that were offered before, too, as halves of a dead one are.
    """

    def one_pass() -> None:
        patch = pytest.MonkeyPatch()
        module, name = {**STEPS, **CALLS}[step]
        original: Callable[..., Any] = getattr(module, name)
        calls = 0

        def deadly(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            number = calls  # a step may call itself
            if when == "before" and number == call:
                die()
            result = original(*arguments, **options)
            if when == "after" and number == call:
                die()
            return result

        patch.setattr(module, name, deadly)
        child = open_site(site.directory)
        child.now = site.now
        child.settle()
        work_on_all(child)

    site.project.engine.dispose()  # a child that inherits its connections could break them
    return in_a_child(one_pass) == signal.SIGKILL


def work_on_all(site: Site) -> None:
    """Run every batch that is offered, and what else is ready."""
    for batch in open_batches(site.project, "incoming"):
        site.run(batch.offer)
    site.run_all()


def recover(site: Site) -> None:
    """What the next pass or tick does first: dead batches are given back."""
    for batch in open_batches(site.project, "incoming"):
        if batch.status == RUNNING:
            assert batch.lease_is_dead
            give_back(site.project, batch.offer.batch_id, "its process was killed", GivenBack.DIED)
