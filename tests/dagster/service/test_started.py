"""The service comes and goes the same way, whoever starts it."""

import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dagster._helpers.running import COMMAND, Running, make_project, running
from tests.site import SiteMaker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

# A shell of a terminal: a session of its own, with the terminal as the controlling one.
# It ends with it, even where the tests are to outlive theirs, as under nohup.
ON_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.setsid()
fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)
os.execv(sys.argv[2], sys.argv[2:])
"""
CRON = {"HOME": "/root", "LOGNAME": "root", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}


def works(service: Running, name: str) -> None:
    service.site.deliver(name)
    service.wait_for(lambda: name in service.site.archived())


def has_ended(service: Running) -> bool:
    found = service.status()
    return (
        service.pids() == {}
        and found.problems == ()
        and found.warnings[0].startswith("no service is running since ")
        and {part.state for part in found.parts if part.name.startswith("service")} == {"ended"}
    )


def test_by_systemd_which_hears_of_all_that_happens(make: SiteMaker, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "6000000"}
        with running(make_project(make), "--no-ui", environment=environment) as service:
            assert systemd.recv(1000) == b"READY=1\nSTATUS=1 watch"
            assert systemd.recv(1000) == b"WATCHDOG=1"
            works(service, "a.dat")
            service.process.send_signal(signal.SIGHUP)
            heard = [systemd.recv(1000)]
            while not heard[-1].startswith(b"READY=1"):
                heard.append(systemd.recv(1000))
            words = [one.partition(b"\n")[0] for one in heard if one != b"WATCHDOG=1"]
            assert words == [b"RELOADING=1", b"READY=1"]
            # What it starts has nothing to say to systemd.
            for pids in service.pids().values():
                for pid in pids:
                    assert b"NOTIFY_SOCKET=" not in Path(f"/proc/{pid}/environ").read_bytes()

            assert service.stop() == 0
            assert has_ended(service)
        systemd.setblocking(False)
        last = b""
        while last != b"STOPPING=1":
            last = systemd.recv(1000)


def test_from_a_terminal_and_ended_by_ctrl_c(make: SiteMaker) -> None:
    terminal, ours = pty.openpty()
    command = (sys.executable, "-c", ON_TERMINAL, str(ours), *COMMAND)
    try:
        with running(make_project(make), command=command, stdin=ours, pass_fds=(ours,)) as service:
            works(service, "a.dat")
            os.write(terminal, b"\x03")
            assert service.process.wait(25) == 0
            assert has_ended(service)
            said = service.said()
            assert said.index("Carbonation is stopping") < said.index("Carbonation has stopped")
    finally:
        os.close(terminal)
        os.close(ours)


@pytest.mark.long
def test_from_a_terminal_that_is_closed(make: SiteMaker) -> None:
    terminal, ours = pty.openpty()
    command = (sys.executable, "-c", ON_TERMINAL, str(ours), *COMMAND)
    site = make_project(make)
    with running(site, "--no-ui", command=command, stdin=ours, pass_fds=(ours,)) as service:
        os.close(ours)
        os.close(terminal)
        assert service.process.wait(25) == 0
        assert has_ended(service)


@pytest.mark.long
def test_in_the_background_of_a_script_with_cron_beside_it(make: SiteMaker) -> None:
    # A shell without job control starts it with SIGINT ignored.
    script = ("sh", "-c", '"$@" & echo $! > "$0"; wait', "pid")
    site = make_project(make)
    command = (*script, *COMMAND)
    with running(site, "--no-ui", environment=CRON, command=command, cwd=site.directory) as service:
        works(service, "a.dat")
        site.deliver("b.dat")
        once = [*COMMAND, "-c", str(site.directory / "config.toml"), "run", "--once"]
        done = subprocess.run(once, env=CRON, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
        service.wait_for(lambda: "b.dat" in site.archived())
        assert [entry for entry in site.feed() if entry[0] == "b.dat"] == [("b.dat", "completed")]

        os.kill(int((site.directory / "pid").read_text()), signal.SIGTERM)
        service.process.wait(25)
        assert has_ended(service)
    done = subprocess.run(once, env=CRON, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
