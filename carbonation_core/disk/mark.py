"""Which directory lies at a path: the mark that it bears, or what else tells it from another one there."""

import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from carbonation_core.errors import ScanError
from carbonation_core.names import MARK
from carbonation_core.process import host_name

LENGTH = 32  # characters of a mark


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory as a host sees it. `mark` is None where it bears none.

    `file_system` is its id as statvfs(3) gives it, which is no device number:
    most file systems keep it from mount to mount, and some of a network have none.
    """

    mark: str | None
    host: str
    file_system: str
    inode: str

    def is_still(self, before: "Directory") -> bool:
        """Whether this surely is the directory that it was before.

        Where a mark was never had, or was cleaned away, a directory made anew on the same
        file system of the same host is taken for it: no mount has gone there.
        """
        if self.mark is not None and before.mark is not None:
            return self.mark == before.mark
        same_host, same_inode = self.host == before.host, self.inode == before.inode
        return self.file_system == before.file_system and (same_host or same_inode)

    def is_at(self, before: "Directory") -> bool:
        """Whether it bears the same mark in the same place."""
        return (self.mark, self.file_system, self.inode) == (before.mark, before.file_system, before.inode)


def directory_at(path: Path) -> Directory:
    """The directory that lies there now; raises `ScanError` if there is none."""
    try:
        found = path.stat()
        file_system = os.statvfs(path).f_fsid
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        raise ScanError(f"{path}: cannot be looked at: {error.strerror}") from None
    return Directory(_mark_in(path), host_name(), str(file_system), str(found.st_ino))


def put_mark(path: Path, mark: str | None = None) -> None:
    """Have a directory bear a mark, that one or a new one, unless it has one, or may not be written to."""
    file = path / MARK
    with suppress(OSError):
        if file.exists() and _mark_in(path) is None:
            file.unlink()  # whoever made it died before it was written
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, f"{mark or uuid.uuid4().hex}\n".encode())
        finally:
            os.close(descriptor)


def _mark_in(path: Path) -> str | None:
    try:
        with (path / MARK).open("rb") as file:
            mark = file.read(LENGTH).decode("ascii", "replace")
    except OSError:
        return None
    return mark if len(mark) == LENGTH and mark.isalnum() else None
