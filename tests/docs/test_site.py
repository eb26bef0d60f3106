"""The pages as a site: each has its place, each example is one that holds."""

import re
import tomllib
from pathlib import Path

import pytest

from carbonation_core.config.loading import load_config
from carbonation_core.rules.rule_sets import PluginNames, load_rules
from tests.docs.pages import DOCS

SITE = tomllib.loads((DOCS.parent / "zensical.toml").read_text(encoding="utf-8"))["project"]
HOW_TO = (DOCS / "how-to.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^## … (.*)\n(?:(?!^## ).*\n)*?```toml\n((?:.*\n)*?)```", HOW_TO, re.MULTILINE))
FUNCTIONS = PluginNames(selection_functions=("good_enough",))

WATCH = '[[watch]]\nname = "incoming"\npath = "incoming"\nrules = "instrument"\n'
ARCHIVES = '[[archive]]\nname = "main"\ndestination = "a"\n[[archive]]\nname = "tests"\ndestination = "b"\n'


def pages(nav: list[dict[str, object]]) -> list[str]:
    """The files that the navigation names."""
    found: list[str] = []
    for entry in nav:
        for value in entry.values():
            found.extend(pages(value) if isinstance(value, list) else [str(value)])
    return found


def test_every_page_has_one_place_in_the_navigation() -> None:
    assert sorted(pages(SITE["nav"])) == sorted(page.name for page in DOCS.glob("*.md"))


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_what_a_page_links_to_lies_among_the_pages(page: Path) -> None:
    """The site's own check knows pages, and no other files."""
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (DOCS / target).resolve().is_relative_to(DOCS)] == []
    assert [target for target in targets if not (DOCS / target).is_file()] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_answer_of_how_to_is_configuration_that_holds(name: str, tmp_path: Path) -> None:
    text = EXAMPLES[name]
    of_rules = "[instrument." in text or "[[instrument." in text
    config = "" if of_rules else text
    for table, whole in (("[[watch]]", WATCH), ("[[archive]]", ARCHIVES)):
        config += "" if table in config else whole
    (tmp_path / "config.toml").write_text(config)
    loaded = load_config(tmp_path / "config.toml")
    names = {watch.rules for watch in loaded.watch}
    sets = {name: f'[{name}.completeness]\nexpected_extensions = [".dat"]\n' for name in names}
    if of_rules:
        sets["instrument"] = text
    load_rules("\n".join(sets.values()), loaded, FUNCTIONS)
