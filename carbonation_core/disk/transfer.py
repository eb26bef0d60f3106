"""Puts bytes in place: temporary name, digest, durable, then the final name.

Every step is safe to repeat. A temporary file holds a copy or a link, never the
only name of delivered bytes, so clearing it loses nothing. It stays beside the
final name until that is recorded: what shares its inode was put there by its
batch, and can be taken back. What a final name held before stays, too, under a
name of its own.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from carbonation_core.config.sections import Action, Durability, Verify
from carbonation_core.disk import file_system
from carbonation_core.disk import source as sources
from carbonation_core.disk.source import Source
from carbonation_core.disk.stamp import Stamp
from carbonation_core.disk.temporary import BEFORE, NEXT, clear, unlink
from carbonation_core.errors import AttemptFailed, EnvironmentFault, SourceChanged
from carbonation_core.names import to_text
from carbonation_core.text import counted

_FICLONE = 0x40049409  # linux/fs.h
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)  # of a file system without them


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

    @cached_property
    def target(self) -> str:
        """The final path."""
        return os.path.join(self.directory, self.name)

    @cached_property
    def archive_path(self) -> str:
        """The final path, spelled as text."""
        return to_text(self.target)

    @cached_property
    def temporary_path(self) -> str:
        """Where the bytes lie until they have their final name."""
        return os.path.join(self.directory, self.temporary)


@dataclass(frozen=True)
class Written:
    """What lies under the temporary name, or already under the final one.

    `stamp` is the source's, with the ctime that links of ours gave it. `is_link`:
    what lies there is a second name of the source.
    """

    order: Order
    digest: str
    stamp: Stamp
    in_place: bool = False
    is_link: bool = False


def write(order: Order, stop: Callable[[], bool] = lambda: False) -> Written:
    """Put the bytes under the temporary name, with mode and times, and digest them.

    Raises `SourceChanged`, `EnvironmentFault` or `AttemptFailed`, or `Stopped`
    in the middle of a file when `stop` says so; then no temporary file is left.
    """
    try:
        clear(order.directory, order.temporary)  # of an earlier life of this same batch
        return _write(order, stop)
    except BaseException as error:
        unlink(order.temporary_path)
        if isinstance(error, OSError):
            raise file_system.explained(error, f'"{order.target}" cannot be written') from error
        raise


def digest_source(order: Order) -> str:
    """SHA-256 of the delivered bytes; raises `SourceChanged` or `EnvironmentFault`."""
    try:
        return sources.digest(order.source)
    except OSError as error:
        raise file_system.explained(error, f'"{order.source.path}" cannot be read') from error


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
        if file_system.digest_of(order.target) != digest:
            return None
    except OSError as error:
        raise file_system.explained(error, f'"{order.target}" cannot be compared with its source') from error
    return Written(order, digest, order.source.stamp, in_place=True)


def is_gone(order: Order) -> bool:
    """Whether nothing lies under the final name, or a link that leads nowhere.

    Raises `AttemptFailed` or `EnvironmentFault`.
    """
    try:
        return not Path(order.target).exists()
    except OSError as error:
        raise file_system.explained(error, f'"{order.target}" cannot be looked at') from error


def _write(order: Order, stop: Callable[[], bool]) -> Written:
    with sources.opened(order.source) as (file, found):
        stamp, is_link = order.source.stamp, False
        if order.action == "move" and sources.is_being_written(file):
            raise EnvironmentFault(
                f'"{order.source.path}" is still open for writing, and a move would lose what is yet to come'
            )
        if order.action == "symlink":
            os.symlink(order.source.path, order.temporary_path)
            digest = sources.digested(file, stop=stop)
        elif order.action == "hardlink":
            _hard_link(order, found)
            is_link, stamp = True, _after_link(file, stamp)
            digest = sources.digested(file, stop=stop)
        else:
            is_link = order.action == "move" and _linked(order, found)
            stamp = _after_link(file, stamp) if order.action == "move" else stamp
            digest = sources.digested(file, stop=stop) if is_link else _copy(file, found, order, stop)
        sources.require_unchanged(file, stamp)
    return Written(order, digest, stamp, is_link=is_link)


def _after_link(file: int, before: Stamp) -> Stamp:
    """The stamp that a link of ours has left, the rest being as before."""
    now = Stamp.of(os.fstat(file))
    if now._replace(ctime_ns=before.ctime_ns) != before:
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
        unlink(order.temporary_path)
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


def _copy(file: int, found: os.stat_result, order: Order, stop: Callable[[], bool]) -> str:
    target = os.open(order.temporary_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        digest = sources.digested(file, None if _cloned(file, target) else target, stop)
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
            raise file_system.explained(error, f'directory "{directory}" has gone') from error
    for directory in by_device.values():
        try:
            file_system.sync_file_system(directory)
        except OSError as error:
            raise file_system.explained(error, f'"{directory}" cannot be synced') from error


def verify(written: Written) -> None:
    """Compare what lies under the temporary name with what was read.

    Raises `EnvironmentFault` when the disk does not give back what it was given.
    """
    if written.in_place or written.order.action == "symlink":
        return
    path = written.order.temporary_path
    try:
        if os.stat(path, follow_symlinks=False).st_size != written.stamp.size:
            raise EnvironmentFault(
                f'"{path}" does not have the {counted(written.stamp.size, "byte")} written to it'
            )
        if written.order.verify == "read" and file_system.read_back(path) != written.digest:
            raise EnvironmentFault(f'"{path}" reads back other bytes than were written to it')
    except OSError as error:
        raise file_system.explained(error, f'"{path}" cannot be read back') from error


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
        raise file_system.explained(error, f'"{order.target}" cannot be given its name') from error


def _is_source(path: str, written: Written) -> bool:
    """Whether the path is a link to the source; raises `SourceChanged` if that is not what was digested."""
    if written.is_link and Stamp.of(os.lstat(path)) != written.stamp:
        raise SourceChanged("changed while it was archived")
    return written.is_link


def _rename_replacing(order: Order) -> None:
    temporary = order.temporary_path
    try:
        with suppress(FileNotFoundError):  # somebody removed our earlier copy
            os.link(order.target, temporary + BEFORE, follow_symlinks=False)
        os.link(temporary, temporary + NEXT, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(temporary, order.target)
        unlink(temporary + BEFORE)
    else:
        os.rename(temporary + NEXT, order.target)
        # Between two links to one inode rename(2) does nothing.
        unlink(temporary + NEXT)


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
        if os.path.lexists(order.temporary_path + BEFORE):
            os.rename(order.temporary_path + BEFORE, order.target)
        elif not order.supersedes and os.path.samestat(
            os.lstat(order.temporary_path), os.lstat(order.target)
        ):
            os.unlink(order.target)
    clear(order.directory, order.temporary)


def settle(written: Written) -> Stamp:
    """Remove what helped to give the final name, once that is recorded; the source's stamp after it."""
    order = written.order
    shared = False
    with suppress(OSError, SourceChanged):  # a source that has changed is found by the next look
        shared = _is_source(order.target, written)
    if order.supersedes:
        clear(order.directory, order.temporary)
    else:
        unlink(order.temporary_path)
    if shared:
        with suppress(OSError):
            return Stamp.of(os.lstat(order.target))
    return written.stamp


def sync_names(written: Iterable[Written]) -> dict[str, AttemptFailed]:
    """Force the new names to the disk, once per directory; returns those that could not, and why."""
    failed: dict[str, AttemptFailed] = {}
    for directory in {one.order.directory for one in written if one.order.durability != "none"}:
        try:
            file_system.sync_directory(directory)
        except OSError as error:
            failed[directory] = file_system.explained(error, f'directory "{directory}" cannot be synced')
    return failed


def remove_copy(path: str) -> None:
    """Remove a superseded copy; one that has gone already is fine. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(path)
