"""Manifests, and what they list."""

import pytest

from carbonation_core.rules.completeness import Manifest
from carbonation_core.rules.member_lists import members_listed

SUM = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def listed(content: bytes, path: str = "p/list", **keys: str) -> tuple[str, ...]:
    return members_listed(content, Manifest.model_validate({"name": "list", **keys}), path)


def test_a_list_of_names_is_relative_to_its_directory() -> None:
    assert listed(b"\xef\xbb\xbf# a product\r\n./a.jp2\r\n\r\ng/b.jp2\r\n../c\nlist\n") == (
        "p/a.jp2",
        "p/g/b.jp2",
        "c",
    )


def test_checksums_list_names() -> None:
    assert listed(SUM + b"  a.jp2\n" + SUM + b" *b.jp2\n", format="checksums") == ("p/a.jp2", "p/b.jp2")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_lists_names_in_a_column(delimiter: str) -> None:
    lines = [("id", "file"), ("1", "a.jp2"), ("2", "b.jp2")]
    content = "\n".join(delimiter.join(line) for line in lines).encode()
    assert listed(content, format="csv", column="file") == ("p/a.jp2", "p/b.jp2")


@pytest.mark.parametrize(
    ("content", "keys", "said"),
    [
        (b"", {}, "lists no file"),
        (b"../../x", {}, 'lists "../x", which lies outside of the watch'),
        (b"a;files", {"format": "csv", "column": "file"}, 'has no column "file"; did you mean "files"?'),
        (b"nonsense", {"format": "checksums"}, "line 1 is no known checksum"),
    ],
)
def test_a_manifest_that_says_nothing_is_named(content: bytes, keys: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match="^" + said.replace("?", "[?]").replace(".", "[.]")):
        listed(content, **keys)
