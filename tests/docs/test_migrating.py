"""Projects of the earlier release go on, as docs/migrating.md says."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from carbonation_core.config.loading import load_config
from carbonation_core.rules.rule_sets import PluginNames, load_rules
from tests import databases
from tests.core._helpers.earlier import in_sqlite
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


EARLIER_PROJECT = {
    "config.toml": """
        [database]
        name = "carbonation.db"
        [plugins]
        package = "station"
        [[watch]]
        name = "incoming"
        path = "incoming"
        rules = "pairs"
        [[archive]]
        name = "main"
        base_path = "archive"
        destination = "archive"
        """,
    "rules.toml": """
        [pairs]
        archive = "main"
        [pairs.completeness]
        expected_extensions = [".dat", ".json"]
        primary_extension = ".dat"
        [pairs.metadata]
        extract = "sizes"
        """,
    "station/__init__.py": """
        from datetime import datetime
        from pathlib import Path

        from carbonation import FileBase
        from carbonation import Plugin
        from sqlalchemy import BigInteger, DateTime, String
        from sqlalchemy.orm import Mapped, mapped_column


        class File(FileBase):
            __tablename__ = "files"

            category: Mapped[str | None] = mapped_column(String(64))
            size: Mapped[int | None] = mapped_column(BigInteger)
            start: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


        def sizes(file_paths):
            return {"category": "new", "size": sum(path.stat().st_size for path in file_paths)}


        plugin = Plugin(
            file_model=File,
            extractors={"sizes": sizes},
            migrations_path=Path(__file__).parent / "migrations",
        )
        """,
    "station/migrations/p001.py": """
        import sqlalchemy as sa
        from alembic import op

        revision = "p001"
        down_revision = None
        branch_labels = ("station",)
        depends_on = "core"


        def upgrade():
            op.add_column("files", sa.Column("category", sa.String(64)))
            op.add_column("files", sa.Column("size", sa.BigInteger()))
            op.add_column("files", sa.Column("start", sa.DateTime(timezone=True)))
        """,
    "poll.py": """
        import sys

        from carbonation_core import connect

        with connect("config.toml") as database:
            rows, cursor = database.get_new_files(sys.argv[1])
        print(*(row["group_key"] for row in rows), cursor)
        """,
}


@pytest.mark.long
@databases.of_sqlite
def test_a_user_of_the_earlier_release_moves_by_the_page_alone(tmp_path: Path) -> None:
    for name, text in EARLIER_PROJECT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    earlier = in_sqlite(tmp_path / "carbonation.db", tmp_path / "incoming", tmp_path / "archive")
    with earlier.at_once():
        for number in range(1000):
            earlier.pair(f"run{number:03}")
    had, cursor = earlier.new_files(None, 500)
    rest, _ = earlier.new_files(cursor)
    earlier.engine.dispose()
    before = (tmp_path / "carbonation.db").read_bytes()
    assert len(had) == len(rest) == 500

    def run(command: str) -> str:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        # Of the machine's own settings, and of another Dagster, nothing.
        clean = {"PATH": path, "HOME": str(tmp_path), "COLUMNS": "100"}
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=clean, check=False, capture_output=True, text=True
        )
        return done.stdout + done.stderr

    walk = PAGE.partition("## The move")[2].partition("\n## ")[0]
    steps = re.findall(r"^    \$ (.*)\n((?:    (?!\$|`).*\n)*)", walk, re.MULTILINE)
    assert len(steps) == 7
    for command, output in steps:
        if command == "carbonation check config":
            assert 'imports "carbonation", which is the earlier release' in run(command)
            plugin = tmp_path / "station" / "__init__.py"
            plugin.write_text(
                plugin.read_text().replace("from carbonation import", "from carbonation_core import")
            )
        wanted = textwrap.dedent(output).replace("/srv/lidar", str(tmp_path))
        assert run(command) == wanted, command
    *got, after = run(f"python poll.py {cursor}").split()
    assert got == rest
    for name in ("new.dat", "new.json"):
        (tmp_path / "incoming" / name).write_bytes(b"bytes")
    assert "1 group: 1 archived" in run("carbonation run --once")
    assert run(f"python poll.py {after}").split()[:-1] == ["new"]
    assert (tmp_path / "carbonation.db").read_bytes() == before
