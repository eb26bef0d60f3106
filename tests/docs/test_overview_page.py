"""What docs/overview.md and CONTRIBUTING.md point at is there."""

import re

import pytest

from tests.docs.pages import DOCS

ROOT = DOCS.parent
PAGE = (DOCS / "overview.md").read_text(encoding="utf-8")
PACKAGES = ("carbonation_core", "carbonation_dagster")


def rows(package: str) -> dict[str, tuple[str, ...]]:
    """The wings of a package, and the modules that their rows begin with; "" are those beside them."""
    table = re.search(rf"^\| `{package}` .*\n.*\n((?:\|.*\n?)+)", PAGE, re.MULTILINE)
    assert table
    found = {}
    for line in table[1].splitlines():
        name, *_, first = line.strip("|").split("|")
        found["".join(re.findall(r"`(\w+)`", name))] = tuple(re.findall(r"`(\w+)`", first))
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_each_wing_has_its_row(package: str) -> None:
    wings = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert set(rows(package)) == wings | {""}


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_row_begins_with_is_there(package: str) -> None:
    for wing, modules in rows(package).items():
        assert modules
        for module in modules:
            assert (ROOT / package / wing / f"{module}.py").is_file(), f"{wing}: {module}"


def test_what_a_contributor_is_sent_to_is_there() -> None:
    said = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    places = (ROOT, *(ROOT / package for package in PACKAGES))
    for path in re.findall(r"`([\w/.]+\.(?:py|md|toml))`", said):
        assert any((place / path).is_file() for place in places), path
