"""`carbonation check plugin`: what an author reads."""

import json
from pathlib import Path

from carbonation_dagster.cli.scaffold import scaffold
from tests import databases
from tests.acceptance._helpers.command import TOGETHER, Desk, deliver

pytestmark = [TOGETHER, databases.one]


def test_an_author_sees_columns_destination_and_the_line_that_raised(tmp_path: Path) -> None:
    list(scaffold(tmp_path))
    desk = Desk(tmp_path)
    assert "no files to try" in desk.good("check", "plugin")
    deliver(desk, "run1", "lidar", 1)
    (tmp_path / "incoming/run2.dat").write_bytes(b"data")
    (tmp_path / "incoming/run2.json").write_text("{}")

    answer = desk("check", "plugin", "incoming")

    assert (answer.code, answer.err) == (1, "")
    told = [" ".join(line.split()) for line in answer.out.splitlines()]
    assert f"incoming: run1: archive to {tmp_path}/archive/lidar/2026/01/01" in told
    assert "start DATETIME 2026-01-01 12:00:00 UTC" in told
    (raised,) = [line for line in told if line.startswith("extract retry_pending")]
    assert f"{tmp_path}/my_plugin/extractors.py, line " in raised
    assert told[-1] == "of 2 groups 1 would fail"
    assert not (tmp_path / "carbonation.db").exists()


def test_a_trial_as_json_has_typed_columns(tmp_path: Path) -> None:
    list(scaffold(tmp_path))
    desk = Desk(tmp_path)
    deliver(desk, "run1", "lidar", 1)

    found = json.loads(desk.good("check", "plugin", "--format", "json"))

    (group,) = found["groups"]
    assert (group["verdict"], group["metadata"]["quality"]) == ("archive", 0.1)
    assert [one["stage"] for one in group["stages"]][-1] == "route"
    assert found["not_asked"] == []
    assert 'there is no watch "incomming"' in desk.wrong(
        "check", "plugin", "--watch-name", "incomming", code=1
    )
