"""The alert rules and the dashboard ask for what is served."""

import json
import os
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from carbonation_core.reports.metrics import METRICS, Kind

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "carbonation.rules.yml"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "carbonation.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
LABELS = {
    f"{metric.name}{ending}": {*metric.labels, "instance", "job", *(["le"] if ending == "_bucket" else [])}
    for metric in METRICS
    for ending in (("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",))
}


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        assert "CI" not in os.environ, "apt-get install prometheus"
        pytest.skip("needs promtool: apt-get install prometheus")
    return found


def asked_by_rules() -> list[str]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def asked_by_panels() -> list[str]:
    asked = [target["expr"] for panel in PANELS for target in panel.get("targets", ())]
    return [one.replace("$watch", ".*").replace("$__rate_interval", "1m") for one in asked]


@pytest.mark.parametrize("asked", [asked_by_rules, asked_by_panels], ids=["rules", "dashboard"])
def test_only_what_is_served_is_asked_for(asked: Any) -> None:
    expressions = asked()
    assert expressions
    for expression in expressions:
        for name, matchers in re.findall(r"(carbonation_\w+)(\{[^}]*\})?", expression):
            assert name in LABELS, expression
            assert {*re.findall(r"(\w+)(?==|!=|=~|!~)", matchers)} <= LABELS[name], expression


def test_each_number_that_is_served_is_shown_or_watched_over() -> None:
    asked = " ".join([*asked_by_rules(), *asked_by_panels(), json.dumps(DASHBOARD["templating"])])
    idle = {name for name in LABELS if not re.search(rf"\b{name}\b", asked)}
    assert idle == {
        "carbonation_build_info",
        "carbonation_archived_files_total",
        "carbonation_delivered_files",
        "carbonation_stored_files",
        "carbonation_stored_bytes",
        "carbonation_delivery_to_archive_seconds_sum",
        "carbonation_delivery_to_archive_seconds_count",
    }


def test_promtool_finds_the_rules_right_and_they_tell_what_they_should(promtool: str) -> None:
    for file in ("carbonation.rules.yml", "prometheus.yml"):
        kind = "rules" if file == RULES.name else "config"
        subprocess.run([promtool, "check", kind, file], cwd=RULES.parent, check=True, capture_output=True)
    done = subprocess.run(
        [promtool, "test", "rules", "carbonation.test.yml"],
        cwd=RULES.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_understands_what_the_dashboard_asks(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(asked_by_panels())]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_have_an_id_and_a_place_of_their_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    places = [panel["gridPos"] for panel in PANELS]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
