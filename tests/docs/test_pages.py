"""The committed pages are what the code says today."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from carbonation_core.config.loading import load_config
from carbonation_core.lifecycle import Event, FeedEvent, FileStatus
from carbonation_core.rules.arrivals import slots
from carbonation_core.rules.lint import advice
from carbonation_core.rules.rule_sets import PluginNames, load_rules
from tests.docs import configuration_page, glossary_page, metrics_page
from tests.docs.pages import DOCS


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("configuration", configuration_page.page),
        ("glossary", glossary_page.page),
        ("metrics", metrics_page.page),
    ],
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


def test_the_example_of_expected_arrivals_is_as_the_page_says(tmp_path: Path) -> None:
    page = (DOCS / "arrivals.md").read_text(encoding="utf-8")
    file = tmp_path / "config.toml"
    file.write_text(re.findall(r"```toml\n(.*?)```", page, re.DOTALL)[0])
    (expect,) = load_config(file).watch[0].expect
    at = datetime(2026, 3, 29, 0, 45, tzinfo=UTC)
    slot = next(slots(expect, at - timedelta(minutes=1), at))
    assert (slot.key, slot.at) == ("st_202603290045", at)
    assert [f"{time:%H:%M}" for time in (slot.late_at, slot.missed_at)] == ["00:55", "01:10"]
    midnight = datetime(2026, 3, 28, 23, tzinfo=UTC)  # 2026-03-29 00:00 in Berlin
    day = list(slots(expect, midnight - timedelta(minutes=1), midnight + timedelta(hours=22, minutes=45)))
    assert len(day) == 92


def test_every_key_is_explained() -> None:
    lines = [line for line in configuration_page.page().splitlines() if line.startswith("| `")]
    assert all(not line.endswith("|  |") for line in lines)


def test_every_status_and_event_is_explained() -> None:
    assert set(glossary_page.comments(FileStatus)) == set(FileStatus)
    assert set(glossary_page.comments(Event)) == set(Event)
    assert set(glossary_page.comments(FeedEvent)) == set(FeedEvent)
