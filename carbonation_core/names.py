r"""One reversible spelling of file names as text, for database, output and UI.

A name on disk is bytes; most are plain UTF-8 and are spelled as they are. A
byte that is not UTF-8, a control character and the backslash itself are each
spelled as `\xHH`, so every name has exactly one spelling and every spelling
leads back to its name.
"""

import os
import re

_PLAIN = re.compile(r"[^\x00-\x1f\x7f-\x9f\\\u2028\u2029\ud800-\udfff]*")
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")


def to_text(name: str | bytes) -> str:
    """The spelling of a name as the operating system gives it."""
    text = os.fsdecode(name)
    if _PLAIN.fullmatch(text):
        return text
    return "".join(char if _PLAIN.fullmatch(char) else _escaped(os.fsencode(char)) for char in text)


def to_path(text: str) -> str:
    """The name that `to_text` spelled so, fit for any `os` function."""
    if "\\" not in text:
        return text
    raw = _ESCAPE.sub(lambda m: os.fsdecode(bytes([int(m[1], 16)])), text)
    return os.fsdecode(os.fsencode(raw))


def _escaped(raw: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in raw)
