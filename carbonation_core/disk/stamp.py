"""What tells one state of a file from another, without reading it."""

import os
from datetime import UTC, datetime
from typing import NamedTuple

# What a database can hold of a time, in nanoseconds: from 1677 to April 2262. A file system
# takes any 64 bits of seconds.
EARLIEST, LATEST = -(2**63), 2**63 - 1


class Stamp(NamedTuple):
    """What tells one state of a file from another, without reading it.

    Times are nanoseconds since 1970. The device number is left out: each host, and each mount,
    numbers a file system of the network as it likes.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: str

    @property
    def written_at(self) -> datetime:
        """The mtime, in UTC."""
        return datetime.fromtimestamp(self.mtime_ns / 1e9, UTC)

    @classmethod
    def of(cls, found: os.stat_result) -> "Stamp":
        """The stamp of a stat result. Times beyond what can be stored are the last that can.

        Two files that this makes alike are still told apart: who sets an mtime changes the ctime, and
        that is of our own days.
        """
        mtime_ns, ctime_ns = _storable(found.st_mtime_ns), _storable(found.st_ctime_ns)
        return cls(found.st_size, mtime_ns, ctime_ns, str(found.st_ino))


NEVER_SEEN = Stamp(0, 0, 0, "0")  # of no file, so that the first look takes whatever it finds for another


def _storable(nanoseconds: int) -> int:
    return max(EARLIEST, min(nanoseconds, LATEST))
