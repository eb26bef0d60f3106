"""One service at most runs for a project: its lock, and its own files, in `.dagster/` beside config.toml."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from carbonation_core.config.loading import Config
from carbonation_core.errors import CarbonationError, ConfigError
from carbonation_core.process import is_dead, this_process
from carbonation_dagster.service.home import MODE, own_directory

LOCK = "service.lock"


class AlreadyRunsError(CarbonationError):
    """A service runs for this project already."""


@dataclass(frozen=True)
class OwnFiles:
    """The files of a running service; DAGSTER_HOME may be another directory."""

    directory: Path

    @property
    def stop_mark(self) -> Path:
        """Exists while the service is to end; everything that it started looks for it."""
        return self.directory / "stopping"

    @property
    def accepted_config(self) -> Path:
        """config.toml as the service last read it."""
        return self.directory / "accepted.toml"

    @property
    def workspace(self) -> Path:
        """Where Dagster's daemon and web server find the code server."""
        return self.directory / "workspace.yaml"

    def accept(self, config: Config) -> None:
        """Have the service's processes read config.toml as it is now, until the next time."""
        self.accept_text(config.path.read_bytes())

    def accept_text(self, text: bytes) -> None:
        """Have them read that in its place."""
        new = self.accepted_config.with_suffix(".new")
        new.touch(mode=0o600)  # it may hold a password
        new.write_bytes(text)
        new.replace(self.accepted_config)


@contextmanager
def alone(config: Config) -> Iterator[OwnFiles]:
    """Be the only service of the project; raises `AlreadyRunsError` naming the process that is it.

    The lock is on an open file (flock(2)), so it ends with the process, however that ends.
    """
    directory = own_directory(config)
    try:
        directory.mkdir(mode=MODE, parents=True, exist_ok=True)
        opened = (directory / LOCK).open("a+", encoding="ascii")
    except OSError as error:
        raise ConfigError(f"{directory}: the service cannot write there: {error.strerror}") from error
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunsError(
                f"a service runs for {config.path} already, with pid {pid_of_service(config)}; "
                "stop that one first, or see how it does: carbonation status"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()} {this_process('service')}")
        lock.flush()
        yield OwnFiles(directory)


def pid_of_service(config: Config) -> int | None:
    """The process that runs the project's service on this machine, as its lock says."""
    # To try the lock would be in the way of a service that starts at this moment.
    try:
        pid, _, process = (own_directory(config) / LOCK).read_text(encoding="ascii").partition(" ")
    except OSError:
        return None
    return int(pid) if process and not is_dead(process) else None
