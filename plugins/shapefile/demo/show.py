"""The demo: a service on shapefiles that arrive while one looks on. `make demo` runs it.

What is in its directory from an earlier demo is kept and gone on with;
`make clean` removes it.
"""

import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from samples import write_samples

import carbonation_core

HERE = Path(__file__).parent
CARBONATION = Path(sys.executable).with_name("carbonation")
PORTS = 50  # tried from the one that was asked for
PAUSE = 0.3  # seconds between two files, and between two looks
START_TIMEOUT = 120.0  # seconds until the web UI answers
ARCHIVE_TIMEOUT = 180.0  # seconds until all is archived, after the last file came
STOP_TIMEOUT = 25.0  # seconds for the service to end, then it is killed
LOG_TAIL = 30  # lines of the service's log that a failure shows


class DemoError(Exception):
    """The demo does not work; the message says why."""


@click.command()
@click.option("--directory", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
@click.option("--port", default=3000, show_default=True, help="Of the web UI; the next free one is taken.")
@click.option("--count", default=8, show_default=True, help="How many shapefiles are delivered.")
@click.option("--exit-when-done", is_flag=True, help="End when all is archived; also if CI=true.")
def main(directory: Path, port: int, count: int, exit_when_done: bool) -> None:
    """Run the service in a directory of its own and deliver shapefiles to it."""
    exit_when_done = exit_when_done or os.environ.get("CI") == "true"
    console = Console(highlight=False)
    _forget_settings()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _alone_in(directory), _service(directory, _free_port(port, console), console) as process:
            demo = Demo(directory.resolve(), process, console)
            console.print(f"{count} shapefiles are being delivered to {demo.incoming}.", soft_wrap=True)
            demo.deliver(count)
            demo.verify()
            if not exit_when_done:
                console.print(f"Deliver more to {demo.incoming}, or stop with Ctrl-C.", soft_wrap=True)
                demo.show()
    except DemoError as error:
        console.print(f"The demo failed: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("Stopped.")
        sys.exit(130 if exit_when_done else 0)


@dataclass
class Demo:
    """What was delivered, and what the service says of it."""

    directory: Path
    process: subprocess.Popen[bytes]
    console: Console
    archived: dict[str, dict[str, Any]] = field(default_factory=dict)  # row of the feed, by group key
    _cursor: str | None = None

    @property
    def incoming(self) -> Path:
        """The delivery directory."""
        return self.directory / "incoming"

    def deliver(self, count: int) -> None:
        """Deliver shapefiles, and stay until they are archived; raises `DemoError` if they are not."""
        with self._watching() as look:
            keys = {path.stem for path in write_samples(self.incoming, count, delay=look)}
            deadline = time.monotonic() + ARCHIVE_TIMEOUT
            while waiting := sorted(keys - self.archived.keys()):
                if time.monotonic() > deadline:
                    raise self._failure(f"after {ARCHIVE_TIMEOUT:.0f} s these wait: {', '.join(waiting)}")
                look()

    def show(self) -> NoReturn:
        """Show what happens, for ever."""
        with self._watching() as look:
            while True:
                look()

    def verify(self) -> None:
        """Compare the bytes of what was delivered and archived; raises `DemoError`.

        It looks at the two directories only, whatever the service says.
        """
        copies = {path.name: path for path in (self.directory / "archive").rglob("*") if path.is_file()}
        wrong = []
        delivered = [
            path for key, paths in self._delivered().items() if key in self.archived for path in paths
        ]
        for path in delivered:
            copy = copies.get(path.name)
            if copy is None:
                wrong.append(f"{path.name} is not in the archive")
            elif _digest(path) != _digest(copy):
                wrong.append(f"{copy} differs from what was delivered")
        if wrong:
            raise self._failure("; ".join(wrong))
        size = sum(path.stat().st_size for path in delivered)
        self.console.print(
            f"All {len(delivered)} files of {len(self.archived)} shapefiles ({size:,} bytes) "
            "are in the archive with equal SHA-256.",
            style="green",
            soft_wrap=True,
        )

    def _look(self, database: carbonation_core.Database) -> None:
        code = self.process.poll()
        if code is not None:
            raise self._failure(f"the service ended with exit code {code}")
        is_first = self._cursor is None  # which brings what earlier demos archived
        rows, self._cursor = database.get_new_files(self._cursor)
        for row in rows:
            self.archived[row["group_key"]] = row
            if not self.console.is_terminal and not is_first:
                self.console.print(f"archived  {row['group_key']} as {self._place(row)}", soft_wrap=True)

    def _delivered(self) -> dict[str, list[Path]]:
        found = defaultdict(list)
        for path in sorted(self.incoming.iterdir()):
            found[path.stem].append(path)
        return found

    def _place(self, row: dict[str, Any]) -> str:
        return os.path.relpath(row["archive_path"], self.directory)

    @contextmanager
    def _watching(self) -> Iterator[Callable[[], None]]:
        """What looks, shows and pauses: in a table on a terminal, elsewhere by lines."""
        live = Live(self._table(), console=self.console, auto_refresh=False)
        with carbonation_core.connect(self.directory / "config.toml") as database, ExitStack() as stack:
            if self.console.is_terminal:
                stack.enter_context(live)

            def look() -> None:
                self._look(database)
                if live.is_started:
                    live.update(self._table(), refresh=True)
                time.sleep(PAUSE)

            yield look

    def _table(self) -> Table:
        delivered = self._delivered()
        done = len(delivered.keys() & self.archived.keys())
        table = Table("shapefile", "files", "status", "geometry", "features", "archived after", "as")
        table.title = f"{done} of {len(delivered)} shapefiles archived"
        newest = sorted(delivered, key=lambda key: max(path.stat().st_mtime for path in delivered[key]))
        for key in newest[-max(3, self.console.height - 8) :]:
            row, files = self.archived.get(key), delivered[key]
            if row is None:
                table.add_row(key, str(len(files)), "[yellow]delivered[/]")
                continue
            waited = row["completed_at"].timestamp() - max(path.stat().st_mtime for path in files)
            cells = [row["geometry"], str(row["feature_count"]), f"{waited:.1f} s", self._place(row)]
            table.add_row(key, str(len(files)), "[green]archived[/]", *cells)
        return table

    def _failure(self, reason: str) -> DemoError:
        return DemoError(f"{reason}\n{_tail(self.directory)}")


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Two demos in one directory would stop each other's service."""
    held = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DemoError(f"another demo runs in {directory}; stop it first") from None
    else:
        yield
    finally:
        os.close(held)


@contextmanager
def _service(directory: Path, port: int, console: Console) -> Iterator[subprocess.Popen[bytes]]:
    """The service, ready to work; it is stopped at the end."""
    for name in ("config.toml", "rules.toml"):
        if not (directory / name).exists():
            shutil.copyfile(HERE / name, directory / name)
    (directory / "incoming").mkdir(exist_ok=True)
    command = [str(CARBONATION), "-c", str(directory / "config.toml")]
    with (directory / "service.log").open("wb") as log:
        told: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        if subprocess.run([*command, "db", "init"], **told, check=False).returncode:  # noqa: S603  # our own words
            raise DemoError(f"the database cannot be made\n{_tail(directory)}")
        console.print(f"The service is starting; its log is {directory / 'service.log'}.", soft_wrap=True)
        process = subprocess.Popen([*command, "run", "--port", str(port)], **told)  # noqa: S603  # our own words
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_TIMEOUT
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"the service did not start\n{_tail(directory)}")
            time.sleep(PAUSE)
        console.print(f"Dagster's UI: [bold]{url}[/]")
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):  # Ctrl-C once more: at once
        process.wait(STOP_TIMEOUT)
        return
    process.kill()
    process.wait()


def _free_port(first: int, console: Console) -> int:
    for port in range(first, min(first + PORTS, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port != first:
            console.print(f"Port {first} is taken; the UI takes {port}.")
        return port
    raise DemoError(f"no port is free from {first} on; choose others with --port")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/server_info", timeout=2) as answer:  # noqa: S310  # our own
            return bool(answer.status == 200)
    except OSError:
        return False


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tail(directory: Path) -> str:
    log = directory / "service.log"
    lines: Sequence[str] = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join([f"The end of {log}:", *lines[-LOG_TAIL:]])


def _forget_settings() -> None:
    """The demo has its own database and its own DAGSTER_HOME, whatever the shell says."""
    for name in list(os.environ):
        if name == "DAGSTER_HOME" or name.startswith("CARBONATION_"):
            del os.environ[name]


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
