"""What systemd hears, on a real socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from carbonation_core.errors import ConfigError
from carbonation_dagster.service.systemd import Systemd
from tests.site import SiteMaker


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """NOTIFY_SOCKET and the socket behind it."""
    path = str(tmp_path / "notify")
    name, address = (path, path) if request.param == "path" else (f"@{path}", f"\0{path}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(address)
        heard.settimeout(5)
        yield name, heard


def test_each_word_is_a_message(listening: tuple[str, socket.socket]) -> None:
    name, heard = listening
    systemd = Systemd({"NOTIFY_SOCKET": name})
    systemd.ready("2 watches")
    assert heard.recv(1000) == b"READY=1\nSTATUS=2 watches"
    systemd.reloading()
    assert heard.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    systemd.stopping()
    assert heard.recv(1000) == b"STOPPING=1"


def test_the_watchdog_is_fed_three_times_in_its_interval(listening: tuple[str, socket.socket]) -> None:
    name, heard = listening
    now = [100.0]
    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "300000000", "WATCHDOG_PID": str(os.getpid())}
    systemd = Systemd(environment, lambda: now[0])
    for _ in range(9):
        systemd.feed_when_due()
        now[0] += 33.4
    assert [heard.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    heard.setblocking(False)
    with pytest.raises(BlockingIOError):
        heard.recv(100)


def test_without_systemd_and_with_the_watchdog_of_another_process_nothing_is_said(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "nobody")}):
        Systemd(environment).ready("well")
    assert Systemd({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).watchdog == 0


def test_a_watchdog_faster_than_two_heartbeats_is_refused(make: SiteMaker) -> None:
    config = make(service={"heartbeat_interval": '"60s"'}).project.config
    Systemd({}).require_long_enough(config)
    Systemd({"WATCHDOG_USEC": "120000000"}).require_long_enough(config)
    with pytest.raises(ConfigError, match='"1m" is more than half of the unit\'s WatchdogSec=119'):
        Systemd({"WATCHDOG_USEC": "119000000"}).require_long_enough(config)
