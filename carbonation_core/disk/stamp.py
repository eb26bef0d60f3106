"""What tells one state of a file from another, without reading it."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells one state of a file from another, without reading it.

    `inode` is device and inode number; times are nanoseconds since 1970.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: str

    @classmethod
    def of(cls, found: os.stat_result) -> "Stamp":
        """The stamp of a stat result."""
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, f"{found.st_dev}:{found.st_ino}")
