"""A delivered file as it was judged: opened, digested, linked and removed without a window.

Every step from the watched directory down refuses symlinks and is taken by
directory descriptor, so what is exchanged between look and use leads nowhere.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from carbonation_core.errors import SourceChanged
from carbonation_core.scan import Stamp

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


def require_unchanged(file: int, stamp: Stamp) -> None:
    """Raise `SourceChanged` unless the open file still is what it was."""
    if Stamp.of(os.fstat(file)) != stamp:
        raise SourceChanged("changed while it was archived")


def digest(source: Source) -> str:
    """SHA-256 of the delivered bytes, in hexadecimal; raises `SourceChanged` or OSError."""
    with opened(source) as (file, _):
        found = digested(file)
        require_unchanged(file, source.stamp)
    return found


def digested(file: int, into: int | None = None) -> str:
    """SHA-256 of what is left to read of an open file, written to `into` on the way."""
    sha256 = hashlib.sha256()
    while block := os.read(file, BLOCK):
        sha256.update(block)
        view = memoryview(block)
        while into is not None and view:
            view = view[os.write(into, view) :]
    return sha256.hexdigest()


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
    same = replace(found, ctime_ns=source.stamp.ctime_ns) == source.stamp
    return found if same else source.stamp


@contextmanager
def _directory_of(source: Source) -> Iterator[tuple[int, str]]:
    """The directory that holds the file, open, and the file's name there."""
    root, path = source.root, source.path
    if source.follow_symlink:
        root, path = os.path.realpath(root), os.path.realpath(path)
    *directories, name = os.path.relpath(path, root).split("/")
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
