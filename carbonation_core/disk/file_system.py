"""Disk and mount: directories, free space, what is durable, and which faults are theirs."""

import ctypes
import errno
import hashlib
import os
import stat
from pathlib import Path

from carbonation_core.disk.paths import real_path
from carbonation_core.errors import AttemptFailed, EnvironmentFault

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

REMOTE = (
    *("nfs", "cifs", "smb", "9p", "afs", "ceph", "gpfs", "beegfs", "glusterfs", "lustre", "ocfs2", "gfs2"),
    *("fuse.", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "drvfs"),
)


def make_directory(directory: str, mode: int, create: bool) -> None:
    """See that the directory is there; raises `AttemptFailed` or `EnvironmentFault`."""
    missing: list[str] = []
    while not os.path.isdir(directory):
        missing.append(directory)
        directory = os.path.dirname(directory)
    if missing and not create:
        raise AttemptFailed(f'directory "{missing[0]}" is missing, and create_directories is false')
    for one in reversed(missing):
        _make(one, mode)


def _make(directory: str, mode: int) -> None:
    try:
        os.mkdir(directory, mode)
        made = stat.S_IMODE(os.stat(directory).st_mode)
        wanted = mode | (made & stat.S_ISGID)  # what it inherited, its group goes by
        # As configured, whatever the umask. Where that took nothing away nothing is done, as
        # chmod(2) clears the bit for those who are not of the group.
        if made != wanted:
            os.chmod(directory, wanted)
        sync_directory(os.path.dirname(directory))
    except FileExistsError:
        if not os.path.isdir(directory):
            raise AttemptFailed(f'"{directory}" is in the way: it is not a directory') from None
    except OSError as error:
        raise explained(error, f'directory "{directory}" cannot be made') from error


def digest_of(path: str) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; raises OSError."""
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_back(path: str) -> str:
    """SHA-256 of what the disk, not memory, gives back; raises OSError."""
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def is_of_environment(error: BaseException) -> bool:
    """Whether disk, mount or machine are at fault."""
    return isinstance(error, OSError) and error.errno in _ENVIRONMENT


def explained(error: OSError, what: str) -> AttemptFailed:
    """A fault of disk, mount or machine as what it means for an attempt; `what` begins its message."""
    kind = EnvironmentFault if is_of_environment(error) else AttemptFailed
    return kind(f"{what}: {error.strerror or error}")


def sync_directory(directory: str) -> None:
    """Force the names in a directory to the disk; raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot
            raise
    finally:
        os.close(descriptor)


def sync_file_system(directory: str) -> None:
    """Force all that a directory's file system holds to the disk; raises OSError."""
    # Python has no syncfs(2); without it, everything is synced.
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if syncfs(descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    finally:
        os.close(descriptor)


def is_remote(path: Path) -> bool:
    """Whether other hosts, or the host of a container, hold what lies there."""
    return kind_of(path).startswith(REMOTE)


def kind_of(path: Path) -> str:
    """The type of the file system that a path is on, as /proc/self/mountinfo names it."""
    resolved = str(real_path(path))
    best, kind = "", ""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                fields, _, rest = line.partition(" - ")
                point = fields.split()[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
                inside = resolved == point or resolved.startswith(point.rstrip("/") + "/")
                if inside and len(point) >= len(best):
                    best, kind = point, rest.split()[0]
    except OSError:
        return ""
    return kind
