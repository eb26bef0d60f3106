"""A second service of the same site waits, and goes on when the first one dies."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.acceptance._helpers.command import Desk, deliver
from tests.faults._helpers.cluster import new_desk_on, started_cluster

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(240)]

CODE = "from carbonation_dagster.cli import main; main()"


@contextmanager
def service(desk: Desk, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    with (desk.directory / "service.log").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, "run", "--no-ui"],
            cwd=desk.directory,
            env=desk.environment() | variables,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def said(desk: Desk) -> str:
    return (desk.directory / "service.log").read_text(encoding="utf-8")


def wait_for(desk: Desk, condition: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, said(desk)
        time.sleep(0.2)


def another(desk: Desk, directory: Path) -> Desk:
    """The same project as another host has it: with a Dagster of its own."""
    directory.mkdir()
    shutil.copytree(desk.directory / "my_plugin", directory / "my_plugin")
    shutil.copy(desk.directory / "rules.toml", directory)
    text = (desk.directory / "config.toml").read_text(encoding="utf-8")
    for key, name in (("path", "incoming"), ("destination", "archive")):
        text = text.replace(f'{key} = "{name}', f'{key} = "{desk.directory}/{name}')
    (directory / "config.toml").write_text(text, encoding="utf-8")
    return Desk(directory)


def test_the_head_is_killed_and_the_other_goes_on(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with ExitStack() as stack:
        one = new_desk_on(stack.enter_context(started_cluster()), tmp_path / "one")
        two = another(one, tmp_path / "two")

        def is_archived(key: str) -> bool:
            return any((one.directory / "archive").rglob(f"{key}.dat"))

        head = stack.enter_context(service(one))
        deliver(one, "run1", "lidar", 1)
        wait_for(one, lambda: is_archived("run1"), 90)
        systemd = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        standby = stack.enter_context(service(two, NOTIFY_SOCKET=str(tmp_path / "notify")))
        assert systemd.recv(1000).startswith(b"READY=1\nSTATUS=waits: host ")
        wait_for(two, lambda: "is the head of site" in said(two), 10)  # a thread of its own writes it

        head.kill()
        deliver(one, "run2", "lidar", 2)
        wait_for(two, lambda: is_archived("run2"), 90)
        standby.terminate()
        assert standby.wait(30) == 0
        assert "this host is the head of its site now" in said(two)
        assert two.good("query", "files", "--count") == "2\n"
