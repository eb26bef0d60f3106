"""Puts bytes in place: temporary name, digest, durable, then the final name.

Every step is safe to repeat. A temporary file holds a copy or a link, never the
only name of delivered bytes, so clearing it loses nothing.
"""

import ctypes
import errno
import fcntl
import hashlib
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from carbonation_core import source as sources
from carbonation_core.config import Action, Durability, Verify
from carbonation_core.errors import AttemptFailed, EnvironmentFault, SourceChanged
from carbonation_core.source import Source

_FICLONE = 0x40049409  # linux/fs.h
_TEMPORARY = re.compile(r"\.carbonation-([^/]+)-[0-9]+")

# Of the disk, mount or machine; trying again later may find them mended.
_ENVIRONMENT = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ESTALE,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
        errno.ENODEV,
        errno.ENXIO,
    }
)


@dataclass(frozen=True)
class Order:
    """One file to put in place. Paths are names of the operating system.

    `supersedes`: the target may hold the file's own earlier copy.
    """

    component_id: int
    source: Source
    directory: str
    name: str
    temporary: str
    action: Action
    file_mode: int
    durability: Durability
    verify: Verify
    supersedes: bool = False

    @property
    def target(self) -> str:
        """The final path."""
        return os.path.join(self.directory, self.name)

    @property
    def temporary_path(self) -> str:
        """Where the bytes lie until they have their final name."""
        return os.path.join(self.directory, self.temporary)


@dataclass(frozen=True)
class Written:
    """What lies under the temporary name, or already under the final one."""

    order: Order
    digest: str
    size: int
    mtime_ns: int
    in_place: bool = False


def temporary_name(batch_id: str, component_id: int) -> str:
    """The temporary name of a component's file in one batch; only that batch uses it."""
    return f".carbonation-{batch_id}-{component_id}"


def batch_of(name: str) -> str | None:
    """The batch whose temporary file bears that name; None: it is no such name."""
    found = _TEMPORARY.fullmatch(name)
    return found[1] if found else None


def make_directory(directory: str, mode: int, create: bool) -> None:
    """See that the directory is there; raises `AttemptFailed` or `EnvironmentFault`."""
    if os.path.isdir(directory):
        return
    if not create:
        raise AttemptFailed(f'directory "{directory}" is missing, and create_directories is false')
    parent = os.path.dirname(directory)
    if parent != directory:
        make_directory(parent, mode, create)
    try:
        os.mkdir(directory, mode)
        os.chmod(directory, mode)  # as configured, whatever the umask
        _sync_directory(parent)
    except FileExistsError:
        if not os.path.isdir(directory):
            raise AttemptFailed(f'"{directory}" is in the way: it is not a directory') from None
    except OSError as error:
        raise explained(error, f'directory "{directory}" cannot be made') from error


def digest_of(path: str) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; raises OSError."""
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(order: Order) -> Written:
    """Put the bytes under the temporary name, with mode and times, and digest them.

    Raises `SourceChanged`, `EnvironmentFault` or `AttemptFailed`; then no
    temporary file is left.
    """
    with suppress(FileNotFoundError):
        os.unlink(order.temporary_path)  # of an earlier life of this same batch
    try:
        return _write(order)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(order.temporary_path)
        if isinstance(error, OSError):
            raise explained(error, f'"{order.target}" cannot be written') from error
        raise


def digest_source(order: Order) -> str:
    """SHA-256 of the delivered bytes; raises `SourceChanged` or `EnvironmentFault`."""
    try:
        return sources.digest(order.source)
    except OSError as error:
        raise explained(error, f'"{order.source.path}" cannot be read') from error


def already_there(order: Order) -> Written | None:
    """The order as done, if the very bytes to archive lie under the final name.

    Raises `SourceChanged` or `EnvironmentFault`.
    """
    try:
        if order.action == "symlink":
            there = os.path.islink(order.target) and os.readlink(order.target) == order.source.path
        else:
            there = not os.path.islink(order.target) and os.path.isfile(order.target)
        if not there or os.stat(order.target).st_size != order.source.stamp.size:
            return None
        with sources.opened(order.source) as (file, found):
            digest = sources.digested(file)
        if digest_of(order.target) != digest:
            return None
    except OSError as error:
        raise explained(error, f'"{order.target}" cannot be compared with its source') from error
    return Written(order, digest, found.st_size, found.st_mtime_ns, in_place=True)


def _write(order: Order) -> Written:
    with sources.opened(order.source) as (file, found):
        if order.action == "symlink":
            os.symlink(order.source.path, order.temporary_path)
            digest = sources.digested(file)
        elif order.action == "hardlink":
            _hard_link(order, found)
            digest = sources.digested(file)
        elif order.action == "move" and _linked(order, found):
            digest = sources.digested(file)
            os.chmod(order.temporary_path, order.file_mode)
        else:
            digest = _copy(file, found, order)
    return Written(order, digest, found.st_size, found.st_mtime_ns)


def _linked(order: Order, found: os.stat_result) -> bool:
    """Whether a link could stand in for the copy of a `move`."""
    if order.source.follow_symlink:
        return False
    try:
        sources.link(order.source, order.temporary_path, found)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            return False
        raise
    return True


def _hard_link(order: Order, found: os.stat_result) -> None:
    try:
        sources.link(order.source, order.temporary_path, found)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise AttemptFailed(
                f'"{order.directory}" is on another file system than the delivery, '
                "where no hard link can lead; use copy or move"
            ) from None
        raise


def _copy(file: int, found: os.stat_result, order: Order) -> str:
    target = os.open(order.temporary_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        digest = sources.digested(file, None if _cloned(file, target) else target)
        os.fchmod(target, order.file_mode)
        os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
        if order.durability == "file":
            os.fsync(target)
        if os.fstat(target).st_size != found.st_size:
            raise SourceChanged("changed while it was archived")
    finally:
        os.close(target)
    return digest


def _cloned(file: int, target: int) -> bool:
    """Whether the file system could share the file's blocks with the target (ioctl_ficlone(2))."""
    try:
        fcntl.ioctl(target, _FICLONE, file)
    except OSError:
        return False
    return True


def sync(written: Iterable[Written]) -> None:
    """Force what was written to the disk: once per file system, or not again.

    Raises `EnvironmentFault`.
    """
    directories = {
        os.path.dirname(one.order.temporary_path)
        for one in written
        if one.order.durability == "batch" and not one.in_place
    }
    by_device: dict[int, str] = {}
    for directory in directories:
        try:
            by_device.setdefault(os.stat(directory).st_dev, directory)
        except OSError as error:
            raise explained(error, f'directory "{directory}" has gone') from error
    for directory in by_device.values():
        _sync_file_system(directory)


def verify(written: Written) -> None:
    """Compare what lies under the temporary name with what was read.

    Raises `EnvironmentFault` when the disk does not give back what it was given.
    """
    if written.in_place or written.order.action == "symlink":
        return
    path = written.order.temporary_path
    try:
        if os.stat(path, follow_symlinks=False).st_size != written.size:
            raise EnvironmentFault(f'"{path}" does not have the {written.size} bytes written to it')
        if written.order.verify == "read" and _read_from_disk(path) != written.digest:
            raise EnvironmentFault(f'"{path}" reads back other bytes than were written to it')
    except OSError as error:
        raise explained(error, f'"{path}" cannot be read back') from error


def _read_from_disk(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # not from memory
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish(written: Written) -> None:
    """Give the bytes their final name.

    Nothing that is not the file's own earlier copy is ever replaced; raises
    `AttemptFailed` when something stands there, `EnvironmentFault` otherwise.
    """
    order = written.order
    if written.in_place:
        return
    try:
        if order.supersedes:
            os.rename(order.temporary_path, order.target)
        else:
            _rename_without_replacing(order.temporary_path, order.target)
    except FileExistsError:
        raise AttemptFailed(f'"{order.target}" appeared meanwhile') from None
    except OSError as error:
        raise explained(error, f'"{order.target}" cannot be given its name') from error


def _rename_without_replacing(temporary: str, target: str) -> None:
    try:
        os.link(temporary, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        # A file system without links: the window between look and rename is
        # the best that it offers.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
        os.rename(temporary, target)
    else:
        os.unlink(temporary)


def sync_directories(written: Iterable[Written]) -> None:
    """Force the new names to the disk; raises `EnvironmentFault`."""
    for directory in {one.order.directory for one in written if one.order.durability != "none"}:
        try:
            _sync_directory(directory)
        except OSError as error:
            raise explained(error, f'directory "{directory}" cannot be synced') from error


def discard(directory: str, temporary: str) -> None:
    """Remove a temporary file, if it is there."""
    with suppress(OSError):
        os.unlink(os.path.join(directory, temporary))


def remove_copy(path: str) -> None:
    """Remove a superseded copy; one that has gone already is fine."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def free_space(directory: str) -> tuple[int, int]:
    """Device and free bytes of the file system that a directory is, or will be, on."""
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    found = os.statvfs(directory)
    return os.stat(directory).st_dev, found.f_bavail * found.f_frsize


def base_is_gone(base: Path) -> bool:
    """Whether an archive's base is not there, or has nothing in it."""
    try:
        with os.scandir(base) as entries:
            return next(entries, None) is None
    except OSError:
        return True


def explained(error: OSError, what: str) -> AttemptFailed:
    """A fault of disk, mount or machine as what it means for an attempt; `what` begins its message."""
    kind = EnvironmentFault if error.errno in _ENVIRONMENT else AttemptFailed
    return kind(f"{what}: {error.strerror or error}")


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot
            raise
    finally:
        os.close(descriptor)


def _sync_file_system(directory: str) -> None:
    # Python has no syncfs(2); without it, everything is synced.
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if syncfs(descriptor) != 0:
            code = ctypes.get_errno()
            raise explained(OSError(code, os.strerror(code)), f'"{directory}" cannot be synced')
    finally:
        os.close(descriptor)
