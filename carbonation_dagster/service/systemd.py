"""What systemd is told of the service, as sd_notify(3) says. Where it does not listen, nothing is."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping

from carbonation_core.config.loading import Config
from carbonation_core.config.toml import place
from carbonation_core.errors import ConfigError
from carbonation_core.text import format_duration

# Of the unit's process alone: whatever it starts has nothing to say to systemd.
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Systemd:
    """The service manager, if there is one."""

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._monotonic = monotonic
        is_ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog = int(environment.get("WATCHDOG_USEC", "0")) / 1e6 if is_ours else 0.0
        self._fed = float("-inf")

    def require_long_enough(self, config: Config) -> None:
        """Raise `ConfigError` when its watchdog would take a service that is well for one that hangs."""
        interval = config.service.heartbeat_interval
        if 0 < self.watchdog < 2 * interval.total_seconds():
            raise ConfigError(
                f'{place(config.path, "[service]", "heartbeat_interval")}: "{format_duration(interval)}" is '
                f"more than half of the unit's WatchdogSec={self.watchdog:.0f}; "
                "make it shorter, or WatchdogSec longer"
            )

    def ready(self, status: str) -> None:
        """All parts work; `status` is a line for `systemctl status`."""
        self._notify("READY=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        """A line for `systemctl status`."""
        self._notify(f"STATUS={status}")

    def reloading(self) -> None:
        """The configuration is read again, until `ready` is said."""
        self._notify("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The service ends."""
        self._notify("STOPPING=1")

    def feed_when_due(self) -> None:
        """All is well. To be called often; the watchdog hears of it three times in its interval."""
        if self.watchdog and self._monotonic() - self._fed >= self.watchdog / 3:
            self._fed = self._monotonic()
            self._notify("WATCHDOG=1")

    def _notify(self, *words: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with (
            contextlib.suppress(OSError),  # nobody to say it to
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to,
        ):
            to.sendto("\n".join(words).encode(), address)
