r"""One reversible spelling of file names as text, for database, output and UI.

A name on disk is bytes; most are plain UTF-8 and are spelled as they are. A
byte that is not UTF-8, a control character, a character that reorders or hides
others, and the backslash itself are spelled as `\xHH`, byte by byte, so every
name has exactly one spelling and every spelling leads back to its name.
"""

import fnmatch
import os
import re
from collections.abc import Callable, Iterable
from functools import lru_cache

MARK = ".carbonation-directory"  # the file by which a watched directory is known again
NAME_MAX, PATH_MAX = 255, 4095  # bytes that Linux takes, of a name and of a path

# Ranges are written out: what Python calls printable grows with each release of
# Unicode, and a spelling must stay what it was when it was stored.
_UNPRINTABLE = (
    r"\x00-\x1f\x7f-\x9f\\"
    r"\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"  # line ends, direction marks, no width
    r"\ud800-\udfff"  # bytes that are not UTF-8, as Python holds them
)
_PLAIN = re.compile(f"[^{_UNPRINTABLE}]*")
_ESCAPED = re.compile(f"[{_UNPRINTABLE}]")
_SPELLED = re.compile(rb"\\x([0-9a-f]{2})")


def to_text(name: str | bytes) -> str:
    """The spelling of a name as the operating system gives it."""
    if type(name) is str and name.isascii():  # as most are, and what every locale decodes alike
        text = name
    else:
        # Not fsdecode: a spelling must not depend on the locale of the process.
        text = os.fsencode(name).decode("utf-8", "surrogateescape")
    if _PLAIN.fullmatch(text):
        return text
    return _ESCAPED.sub(_escaped, text)


def to_path(text: str) -> str:
    """The name that `to_text` spelled so, fit for any `os` function."""
    raw = text.encode("utf-8", "surrogateescape")
    if "\\" in text:
        raw = _SPELLED.sub(lambda spelled: bytes([int(spelled[1], 16)]), raw)
    return os.fsdecode(raw)


def path_fault(path: str) -> str | None:
    """What a path should be that Linux takes; None if this is one."""
    if len(_raw(path)) > PATH_MAX:
        return f"should have at most {PATH_MAX} bytes"
    if any(len(_raw(name)) > NAME_MAX for name in path.split("/")):
        return f"should have names of at most {NAME_MAX} bytes"
    return None


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def matches_any(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the globs fits the name as it is spelled, case-sensitively."""
    return bool(_matching(tuple(patterns))(name))


@lru_cache(maxsize=1000)
def _matching(patterns: tuple[str, ...]) -> Callable[[str], object]:
    if not patterns:
        return lambda _: None
    return re.compile("|".join(map(fnmatch.translate, patterns))).match


def _escaped(char: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char[0].encode("utf-8", "surrogateescape"))
