"""The spelling of file names: reversible, unique, printable."""

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from carbonation_core.names import to_path, to_text

NAMES = st.one_of(
    st.binary(min_size=1, max_size=300),
    st.text(min_size=1).filter(lambda text: text.isprintable()).map(str.encode),
    st.text(alphabet="\\x0af", min_size=1).map(str.encode),  # what looks like a spelling already
).filter(lambda name: b"\0" not in name and b"/" not in name)


@given(NAMES)
@example(b"\\x0a")
@example("\N{RIGHT-TO-LEFT OVERRIDE}fdp.exe".encode())
@example("e\u0301".encode())
def test_a_spelling_leads_back_to_its_name(name: bytes) -> None:
    text = to_text(name)
    assert os.fsencode(to_path(text)) == name
    assert to_text(to_path(text)) == text
    assert to_text(os.fsdecode(name)) == text


@given(NAMES, NAMES)
def test_different_names_have_different_spellings(one: bytes, other: bytes) -> None:
    assert (to_text(one) == to_text(other)) == (one == other)


@given(NAMES)
def test_a_spelling_is_one_line_of_utf8_without_control_characters(name: bytes) -> None:
    text = to_text(name)
    assert text.encode("utf-8").decode("utf-8") == text
    assert len(text.splitlines()) == 1
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"run1.dat", "run1.dat"),
        ("Größe 日本 🛰.dat".encode(), "Größe 日本 🛰.dat"),
        (b"caf\xe9", r"caf\xe9"),
        (b"a\nb\tc", r"a\x0ab\x09c"),
        (b"back\\slash", r"back\x5cslash"),
        (b"\x1b[31m", r"\x1b[31m"),
        ("\u202ecod.exe".encode(), r"\xe2\x80\xaecod.exe"),
        ("line\u2028end".encode(), r"line\xe2\x80\xa8end"),
        (b"\xf0\x9f", r"\xf0\x9f"),
    ],
)
def test_what_cannot_be_read_safely_is_spelled_out(name: bytes, text: str) -> None:
    assert to_text(name) == text


def test_a_path_keeps_its_separators() -> None:
    assert to_text(b"site a/run\n1") == r"site a/run\x0a1"


def test_text_that_is_no_spelling_is_left_as_it_is() -> None:
    assert to_path(r"C:\temp\xyz") == r"C:\temp\xyz"


def test_a_spelled_name_opens_the_file(tmp_path: os.PathLike[str]) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9\n\\x41"
    with open(name, "w"):  # noqa: PTH123  # a path of bytes
        pass
    assert os.path.exists(to_path(to_text(name)))  # noqa: PTH110  # names, not Paths, are the subject
