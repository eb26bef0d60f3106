"""Lists of checksums: sidecars of one file or group, and manifests of a directory. Nothing here reads files.

A line is a bare digest, `digest  name` or `digest *name` as GNU tools write it,
or `SHA256 (name) = digest` as BSD tools do. Empty lines, and those that begin
with `#` or `;`, say nothing. UTF-16 is read where a byte order mark says that it
is that.
"""

import codecs
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from carbonation_core.names import to_text

LARGEST = 16 << 20  # bytes of a list; nobody's memory may depend on a sender
DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}  # of a digest in hexadecimal
_ALGORITHMS = {digits: algorithm for algorithm, digits in DIGITS.items()}

_GNU = re.compile(rb"(\\?)([0-9A-Fa-f]+)(?: [ *]|[ \t]\*?)(.+)", re.DOTALL)
_BSD = re.compile(rb"(\\?)(MD5|SHA-?1|SHA(?:2-)?256|SHA(?:2-)?512) ?\((.+)\) ?= ?([0-9A-Fa-f]+)", re.DOTALL)
_ESCAPES = {rb"\\": b"\\", rb"\n": b"\n", rb"\r": b"\r"}
_ESCAPE = re.compile(rb"\\[\\nr]")
_MARKS = (  # of byte order, as tools of Windows write them; the longer before those they begin with
    (codecs.BOM_UTF8, None),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NOT_MARKED = ": it holds NUL bytes, as UTF-16 does, which should begin with a byte order mark"
_NUL = b"\0"
_STDIN = b"-"  # what GNU tools call a file that has no name


@dataclass(frozen=True, slots=True)
class Sum:
    """One digest of a list, in lower-case hexadecimal. `name` is spelled as text; None: a bare digest."""

    name: str | None
    algorithm: str
    digest: str


@dataclass(frozen=True)
class Sums:
    """What a list of checksums says, and in which lines it says nothing that can be understood."""

    sums: tuple[Sum, ...]
    faults: tuple[str, ...] = ()

    def of(self, filename: str) -> Sum | None:
        """The digest of a file that lies beside the list."""
        return self._by_name.get(filename)

    def somewhere(self, filename: str) -> Sum | None:
        """The digest of a file of that name, whatever directory is named before it."""
        found = [one for name, one in self._by_name.items() if name.rpartition("/")[2] == filename]
        return found[0] if len({one.digest for one in found}) == 1 else None

    def only(self) -> Sum | None:
        """The digest of a list that has no other, whatever name it gives."""
        return self.sums[0] if len(self.sums) == 1 else None

    @property
    def names(self) -> Collection[str]:
        """The files that it names."""
        return self._by_name

    @cached_property
    def _by_name(self) -> Mapping[str, Sum]:
        return {one.name: one for one in self.sums if one.name is not None}


def parse(content: bytes, algorithm: str | None) -> Sums:
    """The checksums of a list; without an algorithm each digest's length says which it is.

    A name that comes twice with different digests is a fault, as is a line of
    any other form.
    """
    sums: dict[str | None, Sum] = {}
    faults: list[str] = []
    try:
        lines = _in_utf8(content).split(b"\n")
    except UnicodeError:
        return Sums((), ("is UTF-16 text that is cut off or broken",))
    for number, raw in enumerate(lines, 1):
        line = raw.removesuffix(b"\r")
        if not line.strip() or line[:1] in b"#;":
            continue
        try:
            one = _sum(line, algorithm)
        except ValueError as fault:
            faults.append(f"line {number} {fault}")
            continue
        before = sums.setdefault(one.name, one)
        if before != one:
            what = one.name or "the file"
            faults.append(f"line {number} gives {what} another digest than an earlier line")
    return Sums(tuple(sums.values()), tuple(faults))


def _in_utf8(content: bytes) -> bytes:
    """The list without a byte order mark; names in it that are not UTF-8 stay as they are."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding).encode() if encoding else content.removeprefix(mark)
    return content


def _sum(line: bytes, algorithm: str | None) -> Sum:
    if match := _BSD.fullmatch(line):
        escaped, tag, name, digest = match.groups()
        said = tag.decode().lower().replace("sha2-", "sha").replace("-", "")
        if said != (algorithm or said):
            raise ValueError(f"is of {said}, not of {algorithm}")
        algorithm = said
    elif match := _GNU.fullmatch(line):
        escaped, digest, name = match.groups()
    else:
        escaped, digest, name = b"", line.strip(), None
    digits = digest.decode("ascii", "replace").lower()
    by_length = _ALGORITHMS.get(len(digits)) if set(digits) <= set("0123456789abcdef") else None
    algorithm = algorithm or by_length
    if algorithm is None or algorithm != by_length:
        cause = f", but has the length of {by_length}" if by_length else ""
        raise ValueError(f"is no {algorithm or 'known'} checksum{_NOT_MARKED if _NUL in line else cause}")
    return Sum(None if name in (None, _STDIN) else _named(name, bool(escaped)), algorithm, digits)


def _named(name: bytes, escaped: bool) -> str:
    if escaped:
        name = _ESCAPE.sub(lambda found: _ESCAPES[found[0]], name)
    return to_text(name.removeprefix(b"./"))
