"""Whether an archive and the database agree: verdicts on single files, and the brake on a mass loss."""

import json
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from tempfile import SpooledTemporaryFile

from carbonation_core.db.copies import Copy
from carbonation_core.disk.stamp import Stamp
from carbonation_core.text import counted

FEWEST_FOR_THE_BRAKE = 10  # files; fewer than that may always be missing
_IN_MEMORY = 1 << 20  # bytes of findings, before they go to a temporary file


class Kind(StrEnum):
    """What a reconciliation says of a file."""

    MISSING = "missing"  # should be there and is not
    RETURNED = "returned"  # was missing and is there again
    STILL_MISSING = "still missing"  # was missing before, and is
    EARLIER = "earlier version missing"  # kept beside a newer one, and gone
    UNKNOWN = "unknown"  # is there, and the database knows nothing of it
    LEFT_OVER = "left over"  # a temporary file of a batch that has ended
    ADOPTED = "adopted"  # was unknown and is registered now
    INCOMPLETE = "incomplete"  # its group could not be completed when it was adopted


DISAGREEMENTS = (Kind.MISSING, Kind.STILL_MISSING, Kind.EARLIER, Kind.UNKNOWN, Kind.LEFT_OVER)
LOSSES = (Kind.MISSING, Kind.STILL_MISSING, Kind.EARLIER)


@dataclass(frozen=True, slots=True)
class Finding:
    """What there is to say of one path, spelled as text, with its reason.

    `copy_id` is given where the database knows the path, `stamp` where something
    lies there.
    """

    kind: Kind
    path: str
    reason: str = ""
    copy_id: int | None = None
    stamp: Stamp | None = None

    def turned(self, kind: Kind, reason: str) -> "Finding":
        """The same file, with something else to say of it."""
        return replace(self, kind=kind, reason=reason)


class Findings:
    """Any number of findings in the order they were made; many of them lie on disk."""

    def __init__(self) -> None:
        self._tally: Counter[Kind] = Counter()
        self._file = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  # it ends with the findings
        self._end = 0
        weakref.finalize(self, self._file.close)

    def add(self, finding: Finding) -> None:
        """Take down one more."""
        stamp = finding.stamp
        values = [
            finding.kind,
            finding.path,
            finding.reason,
            finding.copy_id,
            None if stamp is None else (stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode),
        ]
        self._file.seek(self._end)
        self._file.write(json.dumps(values).encode() + b"\n")
        self._end = self._file.tell()
        self._tally[finding.kind] += 1

    @property
    def tally(self) -> Mapping[Kind, int]:
        """How many there are of each kind; 0 of one that there is none of."""
        return self._tally

    def __iter__(self) -> Iterator[Finding]:
        place = 0
        while place < self._end:
            self._file.seek(place)
            line = self._file.readline()
            place = self._file.tell()
            kind, path, reason, copy_id, stamp = json.loads(line)
            yield Finding(Kind(kind), path, reason, copy_id, stamp and Stamp(*stamp))

    def __len__(self) -> int:
        return self._tally.total()


def judged(copy: Copy, there: Stamp | str) -> Finding | None:
    """What to say of a copy where `there` is found; None: all is as it should be.

    Presence and size decide. One that has returned with another time than it had
    is to be compared by its digest, too: see `is_doubtful`.
    """
    reason = there if isinstance(there, str) else None
    if isinstance(there, Stamp) and there.size != copy.size:
        reason = f"has {counted(there.size, 'byte')}, not {copy.size}"
    stamp = there if isinstance(there, Stamp) else None
    if reason is None:
        if copy.in_archive or not copy.is_current:
            return None
        return Finding(Kind.RETURNED, copy.path, "is there again", copy.id, stamp)
    kind = Kind.MISSING if copy.in_archive else Kind.STILL_MISSING
    if not copy.is_current:
        kind = Kind.EARLIER
    return Finding(kind, copy.path, reason, copy.id, stamp)


def is_doubtful(copy: Copy, finding: Finding) -> bool:
    """Whether only its digest can say that what has returned is what was archived."""
    return (
        finding.kind is Kind.RETURNED
        and copy.digest is not None
        and finding.stamp is not None
        and finding.stamp.mtime_ns != copy.mtime_ns
    )


def too_much_lost(missing: int, expected: int, max_loss: float) -> bool:
    """Whether so many files missing at once look like a fault of the disk, not of the files."""
    return missing >= FEWEST_FOR_THE_BRAKE and missing > max_loss * expected
