"""What a pool takes for changed since it has loaded."""

import importlib
import os
import time
from pathlib import Path

import pytest

from carbonation_dagster.instance.stamps import files_behind, stamp, unchanged


def test_what_changes_while_it_is_loaded_counts_as_changed(tmp_path: Path) -> None:
    before, meanwhile = tmp_path / "before.py", tmp_path / "meanwhile.py"
    before.touch()
    began = stamp(str(before))[2] + 10**9
    meanwhile.touch()
    stamps = {str(before): stamp(str(before)), str(meanwhile): (0, 0, began)}
    while time.time_ns() <= began:
        time.sleep(0.01)
    assert unchanged(stamps, began) == {str(before): stamps[str(before)]}
    ahead = {"ahead.py": (0, 0, time.time_ns() + 10**12)}
    assert unchanged(ahead, began) == ahead  # or a clock that was set back would renew it for ever


def test_a_copy_that_keeps_size_and_time_counts_as_changed(tmp_path: Path) -> None:
    file, other = tmp_path / "plugin.py", tmp_path / "other.py"
    for path, text in ((file, "a = 1"), (other, "a = 2")):
        path.write_text(text, encoding="utf-8")
        os.utime(path, (1, 1))
    before = stamp(str(file))
    other.replace(file)
    assert stamp(str(file)) != before


def test_a_plugin_that_cannot_be_imported_is_looked_at_for_its_repair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "broken_at_once.py"
    file.write_text("def", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError) as raised:
        _import_wrapped("broken_at_once")
    assert str(file) in files_behind(raised.value)


def _import_wrapped(name: str) -> None:
    try:
        importlib.import_module(name)
    except SyntaxError as error:
        raise RuntimeError("the plugin cannot be imported") from error
