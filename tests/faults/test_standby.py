"""A second service of the same site waits, here or on another host, and goes on when the first dies."""

import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from carbonation_dagster.service.head import TO_STOP
from tests.acceptance._helpers.command import Desk, deliver
from tests.faults._helpers.cluster import (
    SERVICE,
    another,
    log_of,
    new_desk_on,
    said,
    service,
    started_cluster,
    wait_for,
)
from tests.faults._helpers.network import Host, network

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(240)]


def is_archived(desk: Desk, key: str) -> bool:
    return any((desk.directory / "archive").rglob(f"{key}.dat"))


def test_the_head_is_killed_and_the_other_goes_on(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with ExitStack() as stack:
        one = new_desk_on(stack.enter_context(started_cluster()), tmp_path / "one")
        two = another(one, tmp_path / "two")

        head = stack.enter_context(service(one))
        deliver(one, "run1", "lidar", 1)
        wait_for(one, lambda: is_archived(one, "run1"), 90)
        systemd = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        standby = stack.enter_context(service(two, NOTIFY_SOCKET=str(tmp_path / "notify")))
        assert systemd.recv(1000).startswith(b"READY=1\nSTATUS=waits: host ")
        wait_for(two, lambda: "is the head of site" in said(two), 10)  # a thread of its own writes it

        head.kill()
        deliver(one, "run2", "lidar", 2)
        wait_for(two, lambda: is_archived(one, "run2"), 90)
        standby.terminate()
        assert standby.wait(30) == 0
        assert "this host is the head of its site now" in said(two)
        assert two.good("query", "files", "--count") == "2\n"


def test_a_head_on_another_host_that_loses_its_cable_is_followed_by_the_standby(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with ExitStack() as stack:
        hosts = stack.enter_context(network())
        one = new_desk_on(stack.enter_context(started_cluster(hosts)), tmp_path / "one", site="north")
        two = another(one, tmp_path / "two")

        def started(name: str, desk: Desk) -> Host:
            at = {"environment": desk.environment(), "directory": desk.directory}
            return stack.enter_context(hosts.host(name, SERVICE, log_of(desk), **at))

        head = started("one", one)
        deliver(one, "run1", "lidar", 1)
        wait_for(one, lambda: is_archived(one, "run1"), 90)
        started("two", two)
        wait_for(two, lambda: "Carbonation waits: host one is the head of site north" in said(two), 60)

        head.pull_cable()
        cut = time.monotonic()
        head.lose_power()
        deliver(one, "run2", "lidar", 2)
        wait_for(two, lambda: is_archived(one, "run2"), 90)
        seconds = time.monotonic() - cut
        print(f"archived {seconds:.0f} s after the loss")
        assert seconds > TO_STOP  # it waited for the lease of the other, whose parts might still work
        assert "this host is the head of its site now" in said(two)
        assert two.good("query", "files", "--count") == "2\n"
