"""A daemon of somebody else in the home of ours: whether it lives, and what is heard of us until we know."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from carbonation_dagster.defs import runs
from carbonation_dagster.environment import DAGSTER_HOME
from carbonation_dagster.service import front, started
from carbonation_dagster.service.front import Front
from carbonation_dagster.service.processes import DAEMON
from carbonation_dagster.service.started import LONG_GONE, SILENCE, Setup
from carbonation_dagster.service.supervisor import ServiceError
from tests.site import Site

AHEAD = 300.0  # seconds that the clock of a host which died is before ours


class Time:
    """A clock that goes on by being waited for."""

    def __init__(self) -> None:
        self.passed = 0.0

    def time(self) -> float:
        return 1e9 + self.passed

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(started, "time", clock)
    return clock


@pytest.fixture
def parts(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The names of the parts that a service in somebody's home starts."""

    def named(told: Callable[[], dict[str, float | None]], is_over: Callable[[], bool]) -> list[str]:
        monkeypatch.setattr(runs, "heartbeats", lambda _: told())
        given: Any = SimpleNamespace(dagster_level="info")
        own: Any = SimpleNamespace(workspace=tmp_path / "workspace.yaml")
        setup = Setup(own, {DAGSTER_HOME: str(tmp_path)}, {}, tmp_path, cast(Any, None), 1, given)
        monkeypatch.setattr(Setup, "has_workers", False)
        return [part.name for part in setup.parts(site.project.config, None, is_over)]

    return named


def test_one_whose_heartbeats_stand_still_for_a_minute_of_ours_is_none_whatever_its_clock_said(
    clock: Time, parts: Callable[..., list[str]]
) -> None:
    last = clock.time() + AHEAD
    assert DAEMON in parts(lambda: {"SENSOR": last}, lambda: False)
    assert clock.passed == pytest.approx(SILENCE, abs=1)


def test_one_whose_clock_is_behind_lives_as_long_as_its_heartbeats_move(
    clock: Time, parts: Callable[..., list[str]]
) -> None:
    def told() -> dict[str, float | None]:
        return {"SENSOR": 1e9 - AHEAD + clock.passed // 30}

    assert DAEMON not in parts(told, lambda: False)
    assert clock.passed == pytest.approx(30, abs=1)


def test_where_none_ever_was_nobody_waits(clock: Time, parts: Callable[..., list[str]]) -> None:
    assert DAEMON in parts(lambda: {"SENSOR": None}, lambda: False)
    assert clock.passed == 0


def test_one_that_was_heard_hours_ago_is_not_waited_for(clock: Time, parts: Callable[..., list[str]]) -> None:
    last = clock.time() - 2 * LONG_GONE
    assert DAEMON in parts(lambda: {"SENSOR": last, "SCHEDULER": None}, lambda: False)
    assert clock.passed == 0


def test_who_has_to_stop_meanwhile_has_no_daemon_of_its_own(
    clock: Time, parts: Callable[..., list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    # At its end it would have Dagster forget the heartbeats of the one that may live.
    last = clock.time() - 1
    assert DAEMON not in parts(lambda: {"SENSOR": last}, lambda: clock.passed > 5)
    assert clock.passed < SILENCE
    assert "has a daemon of its own" not in caplog.text


def test_until_it_is_known_systemd_hears_of_us_and_the_lease_is_looked_at(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = SimpleNamespace(is_ours=True, obstacle=None)

    @contextmanager
    def lease(_: object) -> Iterator[SimpleNamespace]:
        yield head

    @contextmanager
    def waits(*given: Any) -> Iterator[None]:
        is_over = given[-1]
        assert not is_over()
        assert systemd.recv(1000) == b"WATCHDOG=1"
        head.is_ours = False
        assert is_over()
        raise ServiceError("that is all")
        yield

    monkeypatch.setattr(front, "Head", lease)
    monkeypatch.setattr(front, "started", waits)
    monkeypatch.setenv("WATCHDOG_USEC", "300000000")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)
        with pytest.raises(ServiceError, match="that is all"):
            Front(site.project, None, cast(Any, None)).run()
