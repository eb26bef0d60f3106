"""File systems of a test's own: small ones that fill up, and others than the delivery's."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def needs(there: bool, what: str) -> None:
    """Skip the test on a machine that lacks something; where CI runs it is a failure."""
    if there:
        return
    if os.environ.get("CI"):
        pytest.fail(f"this test needs {what}")
    pytest.skip(f"this test needs {what}")


@contextmanager
def mounted(directory: Path, options: str) -> Iterator[Path]:
    """A tmpfs on that directory, with such options as "size=64k,nr_inodes=10"; unmounted at the end."""
    directory.mkdir(exist_ok=True)
    needs(os.geteuid() == 0, "root, to mount a file system")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)],
        check=False,
        capture_output=True,
        text=True,
    )
    needs(done.returncode == 0, f"to mount a tmpfs: {done.stderr.strip()}")
    try:
        yield directory
    finally:
        unmount(directory)


def unmount(directory: Path) -> None:
    """Take the file system away, even when something in it is open; once is enough."""
    if directory.is_mount():
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def remount(directory: Path, options: str) -> None:
    """Give a mounted tmpfs other options, such as "ro" or "size=1m"."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(directory)], check=True)


@contextmanager
def bound(source: Path, target: Path) -> Iterator[None]:
    """What lies at `source` is seen at `target`, too, till the end."""
    needs(os.geteuid() == 0, "root, to bind one path to another")
    subprocess.run(["mount", "--bind", str(source), str(target)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(target)], check=True)


def fill(directory: Path) -> Path:
    """Take every byte that is left; the file that holds them."""
    hog = directory / "hog"
    with hog.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    return hog
