"""`carbonation arrivals`."""

import csv
import json
from datetime import UTC, datetime, timedelta

from tests import databases
from tests.acceptance._helpers.command import TOGETHER, Desk

pytestmark = [TOGETHER, databases.one]  # arguments and sentences

EXPECT = '[[watch.expect]]\nevery = "1h"\nwithin = "5m"\n\n[[archive]]'


def test_a_board_is_shown_and_excused(desk: Desk) -> None:
    desk.good("db", "init")
    assert "nothing is expected in that time" in desk.good("arrivals", "show")
    config = desk.directory / "config.toml"
    config.write_text(config.read_text().replace("[[archive]]", EXPECT, 1))
    desk("run", "--once")
    assert "incoming: every 1h" in desk.good("arrivals", "show")
    rows = json.loads(desk.good("arrivals", "show", "--format", "json"))
    assert {row["state"] for row in rows} == {"expected"}
    (first, *_) = csv.DictReader(desk.good("arrivals", "show", "--format", "csv").splitlines())
    day = datetime.now(UTC) + timedelta(days=1)
    said = desk.good(
        "arrivals", "excuse", "incoming",
        "--from", first["expected_at"], "--to", f"{day:%Y-%m-%dT%H:%M}", "--reason", "a holiday",
    )  # fmt: skip
    assert said.endswith("arrivals excused: a holiday\n")
    assert "a holiday" in desk.good("arrivals", "show", "--state", "excused", "--format", "table")
    wrong = desk("arrivals", "excuse", "nowhere", "--from", "2026-01-01", "--reason", "none")
    assert (wrong.code, 'there is no watch "nowhere"' in wrong.err) == (2, True)
