"""A delivered file as it was judged: opened, digested, linked and removed without a window.

Every step from the watched directory down refuses symlinks and is taken by
directory descriptor, so what is exchanged between look and use leads nowhere.
"""

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from carbonation_core.disk.paths import followed
from carbonation_core.disk.stamp import Stamp
from carbonation_core.errors import SourceChanged, Stopped

BLOCK = 1 << 20  # bytes read at a time


@dataclass(frozen=True)
class Source:
    """A delivered file. Paths are names of the operating system.

    `root` is the watched directory that `path` lies in. `stamp` is what was
    judged; every function here raises `SourceChanged` for another state.
    """

    root: str
    path: str
    stamp: Stamp
    follow_symlink: bool = False


@contextmanager
def opened(source: Source) -> Iterator[tuple[int, os.stat_result]]:
    """The file, open for reading, and its state.

    Raises `SourceChanged` or OSError.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    try:
        with _directory_of(source) as (directory, name):
            file = os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        raise SourceChanged("left delivery before it was archived") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise SourceChanged("became a symlink before it was archived") from None
        raise
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or Stamp.of(found) != source.stamp:
            raise SourceChanged("changed before it was archived")
        yield file, found
    finally:
        os.close(file)


def content(descriptor: int, largest: int) -> bytes | None:
    """All bytes of an open file; None if there are more than that."""
    found = bytearray()
    while len(found) <= largest and (block := os.read(descriptor, BLOCK)):
        found += block
    return bytes(found) if len(found) <= largest else None


def is_unchanged(source: Source) -> bool:
    """Whether the file still is what was judged, as far as a stat can tell."""
    try:
        found = os.stat(source.path, follow_symlinks=source.follow_symlink)
    except OSError:
        return False
    return Stamp.of(found) == source.stamp


def device_of(source: Source) -> int | None:
    """The file system that the file's name is on, as this host numbers it; None if it has gone."""
    try:
        return os.lstat(source.path).st_dev
    except OSError:
        return None


def require_unchanged(file: int, stamp: Stamp) -> None:
    """Raise `SourceChanged` unless the open file still is what it was."""
    if Stamp.of(os.fstat(file)) != stamp:
        raise SourceChanged("changed while it was archived")


def is_being_written(file: int) -> bool:
    """Whether a process of this host has that file open for writing; False where nobody can tell."""
    try:
        # Granted only while nobody has it open so (fcntl(2)), and to its owner or root.
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def digest(source: Source) -> str:
    """SHA-256 of the delivered bytes, in hexadecimal; raises `SourceChanged` or OSError."""
    with opened(source) as (file, _):
        found = digested(file)
        require_unchanged(file, source.stamp)
    return found


def digested(file: int, into: int | None = None, stop: Callable[[], bool] = lambda: False) -> str:
    """SHA-256 of what is left to read of an open file, copied to `into` on the way.

    What is copied is what was digested only while the file stays as it is; ask
    for that afterwards. Raises `Stopped` when `stop`, which is asked for each
    block, says so.
    """
    sha256 = hashlib.sha256()
    offset = os.lseek(file, 0, os.SEEK_CUR)
    by_kernel = True
    while block := os.read(file, BLOCK):
        if stop():
            raise Stopped
        sha256.update(block)
        if into is None:
            continue
        copied = _copied_by_kernel(file, into, offset, len(block)) if by_kernel else 0
        by_kernel = copied == len(block)
        offset += len(block)
        rest = memoryview(block)[copied:]
        while rest:
            rest = rest[os.write(into, rest) :]
    return sha256.hexdigest()


def _copied_by_kernel(file: int, into: int, offset: int, length: int) -> int:
    """How many bytes of a block the file system copied by itself; the others are to be written.

    That costs a third of a write, and keeps the bytes on their server where both are on one.
    """
    copied = 0
    # Where it cannot, it says so in many ways (copy_file_range(2)), one being
    # that nothing was copied; an error that is more than that meets the write, too.
    with suppress(OSError):
        while copied < length:
            count = os.copy_file_range(file, into, length - copied, offset + copied)
            if count == 0:
                break
            copied += count
    return copied


def link(source: Source, target: str, found: os.stat_result) -> None:
    """Give the file another name; raises `SourceChanged` if it is not the one that was found."""
    with _directory_of(source) as (directory, name):
        os.link(name, target, src_dir_fd=directory, follow_symlinks=False)
    linked = os.stat(target, follow_symlinks=False)
    if (linked.st_dev, linked.st_ino) != (found.st_dev, found.st_ino):
        raise SourceChanged("was exchanged while it was archived")


def remove(source: Source) -> bool:
    """Remove the file if it still is what was taken; whether it is gone now.

    Of a symlink that was followed the link goes, not what it leads to. Raises
    OSError.
    """
    try:
        with _directory_of(replace(source, follow_symlink=False)) as (directory, name):
            found = os.stat(name, dir_fd=directory, follow_symlinks=source.follow_symlink)
            if Stamp.of(found) != source.stamp:
                return False
            os.unlink(name, dir_fd=directory)
    except (FileNotFoundError, SourceChanged):
        return not os.path.lexists(source.path)
    return True


def stamp_after_link(source: Source) -> Stamp:
    """The file's stamp with the ctime that a link of ours gave it, if it is the same file still."""
    try:
        found = Stamp.of(os.stat(source.path, follow_symlinks=source.follow_symlink))
    except OSError:
        return source.stamp
    same = found._replace(ctime_ns=source.stamp.ctime_ns) == source.stamp
    return found if same else source.stamp


@contextmanager
def _directory_of(source: Source) -> Iterator[tuple[int, str]]:
    """The directory that holds the file, open, and the file's name there."""
    root, path = source.root, source.path
    if source.follow_symlink:
        root, path = followed(root), followed(path)
    below = path.removeprefix(f"{root}/")
    *directories, name = (os.path.relpath(path, root) if below == path else below).split("/")
    if ".." in directories or name == "..":
        raise SourceChanged("became a symlink to something outside its watch")
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for directory in directories:
            inner = _inner_directory(here, directory)
            os.close(here)
            here = inner
        yield here, name
    finally:
        os.close(here)


def _inner_directory(here: int, name: str) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=here)
    except NotADirectoryError:
        raise SourceChanged("became a symlink before it was archived") from None
