"""A path is the same file whichever way of symlinks led to it."""

from pathlib import Path

import pytest

from carbonation_core.disk.paths import absolute, real_path, relative_to


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`real/in/x` with three symlinks: to `real`, to `real/in`, and inside to a place outside."""
    (tmp_path / "real" / "in" / "x").mkdir(parents=True)
    (tmp_path / "elsewhere" / "y").mkdir(parents=True)
    (tmp_path / "way").symlink_to("real")
    (tmp_path / "short").symlink_to("real/in")
    (tmp_path / "real" / "out").symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("root", ["real", "way"])
@pytest.mark.parametrize(
    ("path", "relative"),
    [
        ("real", ""),
        ("way", ""),
        ("way/in/x", "in/x"),
        ("real/in/gone", "in/gone"),
        ("way/gone/deeper", "gone/deeper"),
        ("short", "in"),
        ("short/x", "in/x"),
        ("way/out/y", "out/y"),  # by its spelling, as it was archived
        ("real/out", "out"),  # a symlink is a file of its own
        ("elsewhere/y", None),
        ("realm", None),
        ("gone", None),
    ],
)
def test_a_path_is_found_below_its_root(tree: Path, root: str, path: str, relative: str | None) -> None:
    assert relative_to(tree / root, str(tree / path)) == relative


def test_the_spelling_of_the_root_wins(tree: Path) -> None:
    assert relative_to(tree / "real", str(tree / "real" / "out" / "y")) == "out/y"
    assert relative_to(Path("/"), "/a/b") == "a/b"
    assert relative_to(tree / "real", "/no\0path") is None


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("real/in", "real/in"),
        ("./real//in/", "real/in"),
        ("real/in/../gone", "real/gone"),
        ("short/../gone", "real/gone"),  # as `ls` has it
        ("way/out/../y", "y"),
        ("way/in/..x", "way/in/..x"),
        ("way/in/..", "real"),
        (".", ""),
    ],
)
def test_a_path_leads_where_the_system_says(tree: Path, path: str, leads_to: str) -> None:
    expected = str(tree / leads_to)
    assert absolute(path) == absolute(str(tree / path)) == expected


def test_two_slashes_at_the_beginning_are_one() -> None:
    assert absolute("//a") == "/a"


def test_a_symlink_that_leads_to_itself_has_a_real_path(tree: Path) -> None:
    (tree / "loop").symlink_to("loop")
    assert real_path(tree / "loop" / "x") == tree / "loop" / "x"
    assert relative_to(tree / "real", str(tree / "loop" / "x")) is None
