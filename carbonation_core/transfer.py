"""Puts bytes in place: temporary name, digest, durable, then the final name.

Every step is safe to repeat. A temporary file holds a copy or a link, never the
only name of delivered bytes, so clearing it loses nothing. It stays beside the
final name until that is recorded: what shares its inode was put there by its
batch, and can be taken back. What a final name held before stays, too, under a
name of its own.
"""

import ctypes
import errno
import fcntl
import hashlib
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from carbonation_core import source as sources
from carbonation_core.config import Action, Durability, Verify
from carbonation_core.errors import AttemptFailed, EnvironmentFault, SourceChanged
from carbonation_core.scan import Stamp
from carbonation_core.source import Source

_FICLONE = 0x40049409  # linux/fs.h
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)  # of a file system without them
# Beside a temporary name: what the final name held before, and what it is about to hold.
_BEFORE, _NEXT = ".before", ".next"
_TEMPORARY = re.compile(r"\.carbonation-([^/]+)-[0-9]+(?:\.before|\.next)?")

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
    """What lies under the temporary name, or already under the final one.

    `stamp` is the source's, with the ctime that links of ours gave it.
    """

    order: Order
    digest: str
    stamp: Stamp
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
    try:
        discard(order.directory, order.temporary)  # of an earlier life of this same batch
        return _write(order)
    except BaseException as error:
        _unlink(order.temporary_path)
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
        digest = sources.digest(order.source)
        if digest_of(order.target) != digest:
            return None
    except OSError as error:
        raise explained(error, f'"{order.target}" cannot be compared with its source') from error
    return Written(order, digest, order.source.stamp, in_place=True)


def _write(order: Order) -> Written:
    with sources.opened(order.source) as (file, found):
        stamp = order.source.stamp
        if order.action == "symlink":
            os.symlink(order.source.path, order.temporary_path)
            digest = sources.digested(file)
        elif order.action == "hardlink":
            _hard_link(order, found)
            stamp = _after_link(file, stamp)
            digest = sources.digested(file)
        else:
            linked = order.action == "move" and _linked(order, found)
            stamp = _after_link(file, stamp) if order.action == "move" else stamp
            digest = sources.digested(file) if linked else _copy(file, found, order)
        sources.require_unchanged(file, stamp)
    return Written(order, digest, stamp)


def _after_link(file: int, before: Stamp) -> Stamp:
    """The stamp that a link of ours has left, the rest being as before."""
    now = Stamp.of(os.fstat(file))
    if replace(now, ctime_ns=before.ctime_ns) != before:
        raise SourceChanged("changed while it was archived")
    return now


def _linked(order: Order, found: os.stat_result) -> bool:
    """Whether a link, with the archive's mode, could stand in for the copy of a `move`."""
    if order.source.follow_symlink:
        return False
    try:
        sources.link(order.source, order.temporary_path, found)
        os.chmod(order.temporary_path, order.file_mode)
    except OSError as error:
        # Of another's file neither may be ours to give (proc_sys_fs(5), protected_hardlinks).
        if error.errno not in (errno.EXDEV, *_NO_LINKS):
            raise
        _unlink(order.temporary_path)
        return False
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

    What somebody else put in place may not be durable yet. Raises `EnvironmentFault`.
    """
    directories = {
        os.path.dirname(one.order.temporary_path)
        for one in written
        if one.order.durability == "batch" or (one.in_place and one.order.durability == "file")
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
        if os.stat(path, follow_symlinks=False).st_size != written.stamp.size:
            raise EnvironmentFault(f'"{path}" does not have the {written.stamp.size} bytes written to it')
        if written.order.verify == "read" and _read_from_disk(path) != written.digest:
            raise EnvironmentFault(f'"{path}" reads back other bytes than were written to it')
    except OSError as error:
        raise explained(error, f'"{path}" cannot be read back') from error


def _read_from_disk(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # not from memory
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish(written: Written) -> Written:
    """Give the bytes their final name, beside the temporary one; returns how that left the source.

    Nothing that is not the file's own earlier copy is ever replaced; raises
    `AttemptFailed` when something stands there, `SourceChanged` when a linked
    source is not what was digested, `EnvironmentFault` otherwise.
    """
    order = written.order
    try:
        if written.in_place:
            os.lstat(order.target)
            return written
        shared = _is_source(order.temporary_path, written)
        if order.supersedes:
            _rename_replacing(order)
        else:
            _rename_without_replacing(order.temporary_path, order.target)
        return replace(written, stamp=Stamp.of(os.lstat(order.target))) if shared else written
    except FileExistsError:
        raise AttemptFailed(f'"{order.target}" appeared meanwhile') from None
    except OSError as error:
        raise explained(error, f'"{order.target}" cannot be given its name') from error


def _is_source(path: str, written: Written) -> bool:
    """Whether the path is a link to the source; raises `SourceChanged` if that is not what was digested."""
    if written.order.action not in ("move", "hardlink"):
        return False
    found = Stamp.of(os.lstat(path))
    if found.inode != written.stamp.inode:
        return False
    if found != written.stamp:
        raise SourceChanged("changed while it was archived")
    return True


def _rename_replacing(order: Order) -> None:
    temporary = order.temporary_path
    try:
        with suppress(FileNotFoundError):  # somebody removed our earlier copy
            os.link(order.target, temporary + _BEFORE, follow_symlinks=False)
        os.link(temporary, temporary + _NEXT, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(temporary, order.target)
        _unlink(temporary + _BEFORE)
    else:
        os.rename(temporary + _NEXT, order.target)
        # Between two links to one inode rename(2) does nothing.
        _unlink(temporary + _NEXT)


def _rename_without_replacing(temporary: str, target: str) -> None:
    try:
        os.link(temporary, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without links: the window between look and rename is
        # the best that it offers.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
        os.rename(temporary, target)


def withdraw(order: Order) -> None:
    """Take back the final name that was given last, with nothing recorded: all is as it was before."""
    with suppress(OSError):
        if os.path.lexists(order.temporary_path + _BEFORE):
            os.rename(order.temporary_path + _BEFORE, order.target)
        elif not order.supersedes and os.path.samestat(
            os.lstat(order.temporary_path), os.lstat(order.target)
        ):
            os.unlink(order.target)
    discard(order.directory, order.temporary)


def settle(written: Written) -> Stamp:
    """Remove what helped to give the final name, once that is recorded; the source's stamp after it."""
    order = written.order
    shared = False
    with suppress(OSError, SourceChanged):  # a source that has changed is found by the next look
        shared = _is_source(order.target, written)
    discard(order.directory, order.temporary)
    if shared:
        with suppress(OSError):
            return Stamp.of(os.lstat(order.target))
    return written.stamp


def inode(directory: str, temporary: str) -> str | None:
    """Device and inode of what lies under a temporary name, as a `Stamp` has them; None: nothing."""
    try:
        return Stamp.of(os.lstat(os.path.join(directory, temporary))).inode
    except OSError:
        return None


def published(directory: str, temporary: str, name: str) -> list[str]:
    """The paths under which a dead batch has published what still lies under its temporary name.

    `name` is the one that its file has in delivery.
    """
    try:
        number = os.lstat(os.path.join(directory, temporary)).st_ino
        with os.scandir(directory) as entries:
            return [one.path for one in entries if one.inode() == number and _is_version(one.name, name)]
    except OSError:
        return []


def _is_version(name: str, of: str) -> bool:
    numbers = re.finditer(r"\.v[0-9]+(?=\.|$)", name)
    return name == of or of in {name[: found.start()] + name[found.end() :] for found in numbers}


def put_back(directory: str, temporary: str, path: str) -> None:
    """Let a path hold again what it held before the temporary name was published there."""
    with suppress(OSError):
        os.rename(os.path.join(directory, temporary + _BEFORE), path)


def sync_names(written: Iterable[Written]) -> dict[str, AttemptFailed]:
    """Force the new names to the disk, once per directory; returns those that could not, and why."""
    failed: dict[str, AttemptFailed] = {}
    for directory in {one.order.directory for one in written if one.order.durability != "none"}:
        try:
            _sync_directory(directory)
        except OSError as error:
            failed[directory] = explained(error, f'directory "{directory}" cannot be synced')
    return failed


def discard(directory: str, temporary: str) -> None:
    """Remove a temporary file, if it is there, and what was kept beside it."""
    path = os.path.join(directory, temporary)
    if os.path.lexists(path):
        for ending in (_NEXT, _BEFORE, ""):  # the one that is looked for goes last
            _unlink(path + ending)


def _unlink(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


def remove_copy(path: str) -> None:
    """Remove a superseded copy; one that has gone already is fine. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def free_space(directory: str) -> tuple[int, int]:
    """Device and free bytes of the file system that a directory is, or will be, on.

    Raises `EnvironmentFault`.
    """
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    try:
        found = os.statvfs(directory)
        return os.stat(directory).st_dev, found.f_bavail * found.f_frsize
    except OSError as error:
        raise explained(error, f'directory "{directory}" cannot be asked for its room') from error


def base_is_gone(base: Path) -> bool:
    """Whether an archive's base is not there, or has nothing in it."""
    try:
        with os.scandir(base) as entries:
            return next(entries, None) is None
    except OSError:
        return True


def is_of_environment(error: Exception) -> bool:
    """Whether disk, mount or machine are at fault."""
    return isinstance(error, OSError) and error.errno in _ENVIRONMENT


def explained(error: OSError, what: str) -> AttemptFailed:
    """A fault of disk, mount or machine as what it means for an attempt; `what` begins its message."""
    kind = EnvironmentFault if is_of_environment(error) else AttemptFailed
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
