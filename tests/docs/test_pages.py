"""The committed pages are what the code says today."""

from pathlib import Path

import pytest

from carbonation_core.config.loading import load_config
from carbonation_core.lifecycle import Event, FileStatus
from carbonation_core.rules.lint import advice
from carbonation_core.rules.rule_sets import PluginNames, load_rules
from tests.docs import configuration_page, glossary_page
from tests.docs.pages import DOCS


@pytest.mark.parametrize(
    ("name", "page"), [("configuration", configuration_page.page), ("glossary", glossary_page.page)]
)
def test_a_generated_page_is_up_to_date(name: str, page: object) -> None:
    assert callable(page)
    committed = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    assert committed == page(), f"run: python -m tests.docs.{name}_page > docs/{name}.md"


def test_the_example_has_no_fault_and_needs_no_advice(tmp_path: Path) -> None:
    config_text, rules_text = configuration_page.examples()
    file = tmp_path / "config.toml"
    file.write_text(config_text)
    config = load_config(file)
    rules = load_rules(rules_text, config, PluginNames(extractors=("sidecar",)))
    assert advice(config, rules) == []


def test_the_example_of_checks_has_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[[watch]]\nname = "images"\npath = "images"\nrules = "images"\n')
    offered = PluginNames(integrity_functions=("opens",))
    rules = load_rules(configuration_page.checks_example(), load_config(file), offered)
    assert len(rules.sets["images"].integrity) == 3


def test_every_key_is_explained() -> None:
    lines = [line for line in configuration_page.page().splitlines() if line.startswith("| `")]
    assert all(not line.endswith("|  |") for line in lines)


def test_every_status_and_event_is_explained() -> None:
    assert set(glossary_page.comments(FileStatus)) == set(FileStatus)
    assert set(glossary_page.comments(Event)) == set(Event)
