"""Hosts of a test's own: each has a name, processes and a network of its own, and a cable that can be pulled.

They are namespaces of this machine, and see its files. All cables end in a router,
a namespace too, which has no way to anywhere else. What ends a test ends the
processes that hold these, and with the processes goes all that was made.
"""

import itertools
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults._helpers.disks import needs

WANTED = "root, Linux namespaces and iproute2, for hosts with networks of their own: apt install iproute2"
HELD = ("setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--uts", "--pid", "--fork", "--mount-proc")
AT_ONCE = "--kill-child"  # of all that runs there
HOST = 'hostname "$0"; read -r go; exec "$@"'  # not before its cable is in
ROUTER = "echo 1 >/proc/sys/net/ipv4/ip_forward; read -r go; read -r end"


@dataclass
class Host:
    """What another machine would be, with one command."""

    name: str
    process: subprocess.Popen[bytes]
    _router: subprocess.Popen[bytes]
    _cable: str  # as the router calls it
    _address: str

    def pull_cable(self) -> None:
        """Nothing comes or goes any more, and nobody is told."""
        _ip(self._router, "link", "set", self._cable, "down")

    def plug_cable(self) -> None:
        """It is reached, again perhaps."""
        _ip(self._router, "link", "set", self._cable, "up")
        _ip(self._router, "route", "add", self._address, "dev", self._cable)

    def lose_power(self) -> None:
        """All its processes end at once."""
        self.process.kill()
        self.process.wait()

    def sees(self, path: Path) -> os.stat_result:
        """What that path is there, where a file system may be mounted that is nowhere else."""
        return Path(f"/proc/{self.process.pid}/root{path.resolve()}").stat()

    def works_for(self, seconds: float) -> bool:
        """Whether its command goes on for that time."""
        try:
            self.process.wait(max(seconds, 0))
        except subprocess.TimeoutExpired:
            return True
        return False


@dataclass
class Network:
    """The router, and this machine, whose servers the hosts find at `address`."""

    address: str
    _router: subprocess.Popen[bytes]
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def range(self) -> str:
        """All its addresses."""
        return _numbered(self.address, "0.0/16")

    @contextmanager
    def host(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> Iterator[Host]:
        """One of that name, which runs a command; at the end it loses its power."""
        with log.open("w") as output:
            process = subprocess.Popen(
                [*HELD, AT_ONCE, "sh", "-ec", HOST, name, *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=directory,
            )
        try:
            _wait_until_apart(process)
            made = self._connected(name, process)
            _say(process, b"go\n")
            yield made
        finally:
            _end(process)

    def _connected(self, name: str, process: subprocess.Popen[bytes]) -> Host:
        number = next(self._numbers)
        cable, address = f"host{number}", _numbered(self.address, f"{number}.1")
        router = _numbered(self.address, "0.2")
        _ip(
            self._router,
            *("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(process.pid)),
        )
        _ip(process, "link", "set", "lo", "up")
        _ip(process, "address", "add", address, "dev", "eth0")
        _ip(process, "link", "set", "eth0", "up")
        _ip(process, "route", "add", router, "dev", "eth0")
        _ip(process, "route", "add", self.range, "via", router)
        host = Host(name, process, self._router, cable, address)
        host.plug_cable()
        return host


@contextmanager
def network() -> Iterator[Network]:
    """A router that has no hosts yet."""
    needs(os.geteuid() == 0 and shutil.which("ip") is not None, WANTED)
    router = subprocess.Popen([*HELD, AT_ONCE, "sh", "-ec", ROUTER], stdin=subprocess.PIPE)
    try:
        _wait_until_apart(router)
        address = _connect_us(router)
        _say(router, b"go\n")
        yield Network(address, router)
    finally:
        _end(router)
        # The kernel does so, too, but some time later.
        subprocess.run(["ip", "link", "delete", _ours(router)], check=False, capture_output=True)


def _connect_us(router: subprocess.Popen[bytes]) -> str:
    """Put a cable between this machine and the router; our address."""
    cable = _ours(router)
    _run("ip", "link", "add", cable, "type", "veth", "peer", "name", "here", "netns", str(router.pid))
    _run("ip", "link", "set", cable, "up")
    ours = _chosen(cable)
    theirs = _numbered(ours, "0.2")
    _run("ip", "address", "add", ours, "peer", theirs, "dev", cable)
    _ip(router, "address", "add", theirs, "peer", ours, "dev", "here")
    _ip(router, "link", "set", "here", "up")
    # What goes to a host whose cable is pulled is lost without a word.
    _ip(router, "route", "add", "blackhole", _numbered(ours, "0.0/16"))
    return ours


def _ours(router: subprocess.Popen[bytes]) -> str:
    """What our end of its cable is called."""
    return f"carbon{router.pid}"


def _chosen(cable: str) -> str:
    """An address here in a range that nobody else has, which now leads to the router."""
    for number in random.sample(range(64, 250), 100):
        ours = f"10.{number}.0.1"
        taken = subprocess.run(
            ["ip", "-4", "route", "show", "table", "all"], check=True, capture_output=True, text=True
        )
        way = ("ip", "route", "add", _numbered(ours, "0.0/16"), "via", _numbered(ours, "0.2"))
        if f"10.{number}." in taken.stdout:
            continue
        # Of two who ask for the same at once, one is refused.
        if subprocess.run([*way, "dev", cable, "onlink"], check=False, capture_output=True).returncode == 0:
            return ours
    needs(False, "a free range of addresses that begin with 10")
    raise AssertionError


def _numbered(address: str, rest: str) -> str:
    return ".".join((*address.split(".")[:2], rest))


def _wait_until_apart(process: subprocess.Popen[bytes]) -> None:
    """Wait until it is in namespaces of its own."""
    ours = Path("/proc/self/ns/net").readlink()
    end = time.monotonic() + 30
    while (is_alive := process.poll() is None) and Path(f"/proc/{process.pid}/ns/net").readlink() == ours:
        assert time.monotonic() < end, "unshare does not begin"
    needs(is_alive, WANTED)


def _say(process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdin
    process.stdin.write(line)
    process.stdin.flush()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert process.stdin
    process.stdin.close()


def _ip(where: subprocess.Popen[bytes], *arguments: str) -> None:
    _run("nsenter", "--target", str(where.pid), "--net", "ip", *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stderr)
