"""A disk that does not answer holds up who asks it, and nobody else."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from carbonation_core.delivery import ownership
from carbonation_core.delivery.observe import observe
from carbonation_core.delivery.ownership import refusals
from carbonation_core.disk.mark import Directory, directory_at
from carbonation_core.names import MARK
from carbonation_core.reconcile.delivery import reconcile_delivery
from carbonation_core.reports.status import status
from tests import databases
from tests.site import SINGLE, Site, SiteMaker

pytestmark = databases.one

SECOND = '[[watch]]\nname = "second"\npath = "second"\nrules = "single"\narchive = "main"\n'
ASKING = ("stat", "lstat", "statvfs", "open", "scandir", "listdir", "rename", "unlink", "link", "readlink")
USE_CASES: dict[str, Callable[[Site], object]] = {
    "look": lambda site: site.tick(3),
    "reconcile of delivery": lambda site: reconcile_delivery(site.project, "incoming"),
    "status": lambda site: status(site.project),
    "refusals": lambda site: refusals(site.project),
}


def test_a_watch_whose_disk_hangs_holds_up_no_other(make: SiteMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    site = make(SINGLE, more=SECOND)
    (site.directory / "second").mkdir()
    site.tick()
    answers, asked = threading.Event(), threading.Semaphore(0)

    def slow(path: Path) -> Directory:
        if path == site.incoming:
            asked.release()
            answers.wait()
        return directory_at(path)

    monkeypatch.setattr(ownership, "directory_at", slow)
    looks = [threading.Thread(target=observe, args=(site.project, "incoming")) for _ in range(15)]
    try:
        for look in looks:
            look.start()
            asked.acquire()
        assert observe(site.project, "second").files == 0
    finally:
        answers.set()
        for look in looks:
            look.join()


@pytest.mark.parametrize("use_case", USE_CASES)
@pytest.mark.parametrize("has_mark", [True, False])
def test_nobody_asks_a_disk_while_he_holds_a_connection_nor_holds_two(
    make: SiteMaker, monkeypatch: pytest.MonkeyPatch, use_case: str, has_mark: bool
) -> None:
    site = make(SINGLE, archive={"action": '"move"'})
    site.deliver("a", "b")
    site.one_pass()
    site.deliver("a", "c", content=b"other bytes")
    (site.archive / "b").unlink()
    if not has_mark:
        (site.incoming / MARK).unlink()

    with watched_over(site, monkeypatch) as faults:
        USE_CASES[use_case](site)

    assert faults == []


def test_a_batch_asks_an_archive_for_a_sign_of_life_before_it_has_a_connection(
    make: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make(SINGLE)
    site.deliver("a")
    site.settle()

    with watched_over(site, monkeypatch) as faults:
        site.run_all()

    assert [fault for fault in faults if fault == f"scandir {site.archive}"] == []
    assert site.statuses() == {"a": "archived"}


@contextmanager
def watched_over(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What asked a disk, or for another connection, in a thread that held one."""
    held, faults, engine = threading.local(), [], site.project.engine

    def opened(*_: object) -> None:
        held.number = getattr(held, "number", 0) + 1
        if held.number > 1:
            faults.append("a second connection")

    def closed(*_: object) -> None:
        held.number -= 1

    def asking(name: str, ask: Callable[..., Any]) -> Callable[..., Any]:
        def asked(path: Any, *arguments: Any, **options: Any) -> Any:
            if getattr(held, "number", 0) and not isinstance(path, int):
                text = os.fsdecode(path)
                if text.startswith((str(site.incoming), str(site.archive))):
                    faults.append(f"{name} {text}")
            return ask(path, *arguments, **options)

        return asked

    with monkeypatch.context() as patch:
        for name in ASKING:
            patch.setattr(os, name, asking(name, getattr(os, name)))
        event.listen(engine, "checkout", opened)
        event.listen(engine, "checkin", closed)
        try:
            yield faults
        finally:
            event.remove(engine, "checkout", opened)
            event.remove(engine, "checkin", closed)
