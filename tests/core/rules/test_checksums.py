"""Lists of checksums, as the tools of the world write them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbonation_core.names import to_text
from carbonation_core.rules.checksums import DIGITS, Sum, parse

MD5, SHA1, SHA256, SHA512 = (f"{'0123456789abcdef' * 8}"[:digits] for digits in DIGITS.values())


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (SHA256, None),
        (f"  {SHA256}\t", None),
        (f"{SHA256.upper()}\r", None),
        (f"{SHA256}  -", None),
        (f"{SHA256}  run1.dat", "run1.dat"),
        (f"{SHA256} *run1.dat\r", "run1.dat"),
        (f"{SHA256} run1.dat", "run1.dat"),
        (f"{SHA256}\trun1.dat", "run1.dat"),
        (f"{SHA256}  ./run1.dat", "run1.dat"),
        (f"{SHA256}   with spaces ", " with spaces "),
        (f"{SHA256}  deep/run1.dat", "deep/run1.dat"),
        (f"SHA256 (run1.dat) = {SHA256}", "run1.dat"),
        (f"SHA2-256(run1.dat)= {SHA256}", "run1.dat"),
        (f"SHA256 (a (1).dat) = {SHA256.upper()}", "a (1).dat"),
        (f"\ufeff{SHA256}  run1.dat", "run1.dat"),
        (f"\\{SHA256}  two\\nlines\\\\", "two\\x0alines\\x5c"),
        (f"\\SHA256 (two\\nlines) = {SHA256}", "two\\x0alines"),
    ],
)
def test_a_line_gives_a_digest_and_perhaps_a_name(line: str, name: str | None) -> None:
    found = parse(line.encode(), "sha256")
    assert found.sums == (Sum(name, "sha256", SHA256),)
    assert found.faults == ()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_utf_16_is_read_if_it_begins_with_a_byte_order_mark(encoding: str) -> None:
    mark = "\ufeff" if encoding.endswith("be") else ""
    content = f"{mark}{SHA256}  été.dat\r\n{SHA256}  b.dat\r\n".encode(encoding)
    found = parse(content, "sha256")
    assert [one.name for one in found.sums] == ["été.dat", "b.dat"]
    assert found.faults == ()


def test_utf_16_without_one_is_told_from_other_nonsense() -> None:
    found = parse(f"{SHA256}  a.dat\n".encode("utf-16-le"), "sha256")
    assert found.faults[0] == (
        "line 1 is no sha256 checksum: it holds NUL bytes, as UTF-16 does, which should begin with "
        "a byte order mark"
    )
    assert parse(b"\xff\xfea", "sha256").faults == ("is UTF-16 text that is cut off or broken",)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("nonsense", "line 1 is no sha256 checksum"),
        (MD5, "line 1 is no sha256 checksum, but has the length of md5"),
        (f"{SHA256}0", "line 1 is no sha256 checksum"),
        (f"{SHA256[:-1]}g  run1.dat", "line 1 is no sha256 checksum"),
        (f"MD5 (run1.dat) = {MD5}", "line 1 is of md5, not of sha256"),
        (f"SHA256 (run1.dat) = {MD5}", "line 1 is no sha256 checksum, but has the length of md5"),
        ("\1\1\xff", "line 1 is no sha256 checksum"),
    ],
)
def test_a_line_of_any_other_form_is_a_fault(line: str, fault: str) -> None:
    assert parse(line.encode("latin-1"), "sha256").faults == (fault,)


def test_faults_name_their_lines_and_the_other_lines_hold() -> None:
    found = parse(f"# made by hand\n\n{SHA256}  a\noops\n; old\n{SHA256}  b\n".encode(), "sha256")
    assert found.faults == ("line 4 is no sha256 checksum",)
    assert found.of("b") == Sum("b", "sha256", SHA256)
    assert found.of("c") is None


def test_without_an_algorithm_the_length_says_it() -> None:
    text = "".join(f"{digest}  {number}\n" for number, digest in enumerate((MD5, SHA1, SHA256, SHA512)))
    assert [one.algorithm for one in parse(text.encode(), None).sums] == list(DIGITS)
    assert parse(b"abc123  a", None).faults == ("line 1 is no known checksum",)


def test_a_name_that_comes_twice_has_one_digest() -> None:
    other = SHA256[::-1]
    assert len(parse(f"{SHA256}  a\n{SHA256}  a\n".encode(), "sha256").sums) == 1
    assert parse(f"{SHA256}  a\n{other}  a\n".encode(), "sha256").faults == (
        "line 2 gives a another digest than an earlier line",
    )
    assert parse(f"{SHA256}\n{other}\n".encode(), "sha256").faults == (
        "line 2 gives the file another digest than an earlier line",
    )


def test_a_name_with_a_directory_is_found_by_itself_only_where_that_is_clear() -> None:
    found = parse(
        f"{SHA256}  out/a\n{SHA256[::-1]}  b\n{SHA256}  x/c\n{SHA256[::-1]}  y/c".encode(), "sha256"
    )
    assert found.of("a") is None
    assert found.somewhere("a") == Sum("out/a", "sha256", SHA256)
    assert found.somewhere("c") is None


def test_nothing_says_nothing() -> None:
    assert parse(b"", "sha256").sums == parse(b"\n\r\n# none\n", "sha256").sums == ()


NAMES = st.binary(min_size=1, max_size=40).filter(
    lambda name: b"\0" not in name and b"/" not in name and name != b"-"
)


@given(st.dictionaries(NAMES, st.binary(min_size=32, max_size=32), max_size=5), st.booleans())
def test_what_gnu_tools_write_is_read_back(digests: dict[bytes, bytes], binary: bool) -> None:
    lines = []
    for name, digest in digests.items():
        escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
        mark = b"\\" if escaped != name else b""
        lines.append(mark + digest.hex().encode() + (b" *" if binary else b"  ") + escaped + b"\n")
    found = parse(b"".join(lines), "sha256")
    assert found.faults == ()
    assert {one.name: one.digest for one in found.sums} == {
        to_text(name): digest.hex() for name, digest in digests.items()
    }


@given(st.binary(max_size=300), st.sampled_from([None, *DIGITS]))
def test_any_bytes_are_sums_or_faults_and_never_an_exception(content: bytes, algorithm: str | None) -> None:
    for one in parse(content, algorithm).sums:
        assert len(one.digest) == DIGITS[one.algorithm]


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="the tool itself is not here")
@pytest.mark.parametrize("options", [[], ["--tag"], ["--binary"]])
@pytest.mark.parametrize("name", [b"plain", b"latin-\xe9", b"two\nlines", b"back\\slash", b" (1) = *x"])
def test_what_sha256sum_itself_writes_is_read(tmp_path: Path, name: bytes, options: list[str]) -> None:
    (tmp_path / os.fsdecode(name)).write_bytes(b"bytes")
    made = subprocess.run(
        [b"sha256sum", *(option.encode() for option in options), b"--", name],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    ).stdout
    found = parse(made, "sha256")
    assert found.faults == ()
    assert [one.name for one in found.sums] == [to_text(name)]
