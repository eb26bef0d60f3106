"""Projects of the earlier release go on, as docs/migrating.md says."""

import re
from pathlib import Path

from carbonation_core.config.loading import load_config
from carbonation_core.rules.rule_sets import PluginNames, load_rules
from tests.docs.pages import DOCS

PAGE = (DOCS / "migrating.md").read_text(encoding="utf-8")
CONFIG = """
[service]
poll_interval = "5s"
reconcile_interval = "1h"
heartbeat_interval = "60s"
workers = 4
max_retries = 3
retry_delay = "30m"
stale_threshold = "1d"
stats_recompute_every = 10

[logging]
level = "info"
file = "carbonation.log"
rotation = "10 MB"
retention = "30 days"
format = "text"

[database]
drivername = "sqlite"
name = "archive.db"
echo = false

[plugins]
package = "station"

[rules]
file = "rules.toml"

[[watch]]
name = "lidar"
type = "lidar"
path = "incoming"
recursive = false
patterns = ["*.dat", "*.json"]
ignore_patterns = ["*.tmp", ".*"]
rules = "pairs"
settle_seconds = 2.0

[[archive]]
name = "main"
base_path = "archive"
destination = "{category}/{start:%Y/%m/%d}"
action = "copy"
create_directories = true
file_mode = "640"
dir_mode = 0o750

[[archive]]
name = "other"
destination = "other"
action = "hardlink"
"""
RULES = """
[pairs]
archive = "main"

[[pairs.integrity]]
type = "min_size"
value = 1

[pairs.completeness]
expected_extensions = [".dat", ".json"]
primary_extension = ".dat"
timeout_minutes = 120
on_timeout = "skip"

[pairs.metadata]
extract = "sidecar"

[[pairs.selection]]
has_keys = ["start"]
lacks_keys = ["broken"]
field = [
    { name = "category", matches = ["^alpha", "^beta"], not_matches = ["test"] },
    { name = "site", not_matches = ["^old"] },
]

[[pairs.selection]]
type = "plugin"
function = "urgent"
kwargs = { least = 3 }

[[pairs.selection]]
field = "category"
matches = ["^calibration"]

[[pairs.routing]]
match = "cal_*"
archive = "other"

[[pairs.routing]]
type = "plugin"
function = "by_site"

[single]
archive = "other"

[single.completeness]

[by_day.completeness]
group_by = "plugin"
group_function = "day"
"""


def test_a_configuration_of_the_earlier_release_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(CONFIG)
    offered = PluginNames(("sidecar",), ("day",), ("urgent",), ("by_site",))
    rules = load_rules(RULES, load_config(tmp_path / "config.toml"), offered)
    assert rules.sets["single"].completeness is None
    assert rules.sets["pairs"].completeness is not None


def test_each_line_says_whether_it_is_so_still() -> None:
    tables = PAGE.partition("## How to read the tables")[2]
    rows = [line for line in tables.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert {len(row) for row in cells} == {3}
    assert {row[1] for row in cells} == {"is", "---", "same", "other", "mended"}
    assert all(row[2] for row in cells if row[1] != "same")


def test_each_key_of_the_earlier_release_has_its_line() -> None:
    keys = set(re.findall(r"^(\w+) = ", CONFIG + RULES, re.MULTILINE))
    for table in ("service", "logging", "database", "plugins", "rules", "[watch]", "[archive]"):
        assert f"`[{table}]`" in PAGE
    assert {key for key in keys if f"`{key}`" not in PAGE and f"`{key} =" not in PAGE} <= {"function", "file"}
