"""The examples of docs/api.md do what the page says."""

import re
from pathlib import Path

import pytest

from tests.acceptance._helpers.command import TOGETHER, Desk, archived, deliver, one_pass
from tests.docs.pages import DOCS

pytestmark = TOGETHER

BLOCKS = re.findall(r"^```python\n(.*?)^```", (DOCS / "api.md").read_text(encoding="utf-8"), re.M | re.S)
POLLER = next(block for block in BLOCKS if block.startswith("# poller.py"))


@pytest.fixture
def desk(on_each_database: None, tmp_path: Path) -> Desk:
    """An archived project, to be written to."""
    return archived(tmp_path)


def run(desk: Desk, script: str, *arguments: str) -> str:
    answer = desk.script(script, *arguments)
    assert answer.code == 0, answer.err
    return answer.out


def test_the_poller_takes_each_group_once(desk: Desk) -> None:
    assert len(run(desk, POLLER, "--once").splitlines()) == 4
    assert run(desk, POLLER, "--once") == ""
    deliver(desk, "run9", "lidar", 9)
    one_pass(desk)
    (line,) = run(desk, POLLER, "--once").splitlines()
    assert line.split()[:3] == ["5", "completed", "run9"]


def test_every_other_example_runs(desk: Desk) -> None:
    asking = "from carbonation_core import connect\ndatabase = connect()\n"
    for block in BLOCKS:
        if block is POLLER:
            continue
        run(desk, asking + block.replace("/srv/instrument/", ""))
