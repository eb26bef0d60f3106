"""`carbonation describe`: what an operator reads."""

import pytest

from tests import databases
from tests.acceptance._helpers.command import TOGETHER, archived

pytestmark = [TOGETHER, databases.one]


def test_what_differs_is_shown_stored_and_not_asked_for_again(
    on_each_database: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    desk = archived(tmp_path_factory.mktemp("describe"))
    sidecar = desk.directory / "my_plugin" / "extractors.py"
    desk.execute("UPDATE files SET calibrated = NULL, quality = NULL WHERE group_key = 'run1'")

    assert "incoming: run1: would change: quality" in desk.good("describe", "--dry-run")
    assert desk.good("describe", "--missing-column", "quality") == "1 described\n"
    assert "no complete group that lacks" in desk.good("describe", "--missing-column", "quality")
    sidecar.write_text(
        sidecar.read_text().replace("def sidecar(", "def sidecar(*_):\n    raise OSError\n\n\ndef other(")
    )
    answer = desk("describe", "--group-key", "run1")
    assert (answer.code, answer.out.splitlines()[-1]) == (3, "1 failed")
    assert 'no column "qualty"' in desk.wrong("describe", "--missing-column", "qualty")
