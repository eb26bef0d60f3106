"""The examples of docs/how-to.md that are programs."""

import re
from typing import Any

import pytest

from tests import databases
from tests.acceptance._helpers.command import TOGETHER, archived
from tests.docs.pages import DOCS

pytestmark = [TOGETHER, databases.one]


def test_the_catalog_is_read_by_pandas_and_duckdb(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = archived(tmp_path_factory.mktemp("catalog"))
    page = (DOCS / "how-to.md").read_text(encoding="utf-8")
    section = page.partition("## … read the catalog from pandas")[2].partition("\n## ")[0]
    url = f"sqlite:///{desk.directory}/carbonation.db"
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        exec(block.replace("sqlite:////srv/station/carbonation.db", url), names)
    assert sorted(names["runs"].group_key) == ["run1", "run2", "run3", "umlaut-ä"]
    assert names["by_day"].sum() == 4
    assert "radar" in capsys.readouterr().out
