"""A new project runs as it stands, and its plugin is the example."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from carbonation_core.config.loading import load_config
from carbonation_core.errors import ConfigError
from carbonation_dagster.cli.scaffold import require_name, scaffold, write_unit

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "plugins"
FILES = {
    "config.toml",
    "rules.toml",
    "my_plugin/__init__.py",
    "my_plugin/extractors.py",
    "my_plugin/migrations/my_plugin_0001_the_first_columns.py",
    "my_plugin/model.py",
    "my_plugin/pyproject.toml",
    "my_plugin/rules.py",
}
# As an operator's process does it: nothing of the project was imported before.
LOAD = """
import json, pathlib, sys
sys.path.insert(0, sys.argv[2])
from carbonation_core.config.loading import load_config
from carbonation_core.db import engine, migrate
from carbonation_core.plugin import checked_metadata, load_plugin
from carbonation_core.rules.rule_sets import load_rules
from carbonation_core.config.templates import fill

config = load_config(sys.argv[1])
plugin = load_plugin(config)
rules = load_rules(config.rules.file.read_text(), config, plugin.names)
database = engine.make_engine(config.database)
migrate.upgrade(database, plugin.migrations_path)
assert migrate.drift(database, plugin.file_model) == []
assert migrate.status(database, plugin.migrations_path).is_current
database.dispose()

(watch,), (archive,) = config.watch, config.archive
(watch.path / "run1.dat").write_bytes(b"data")
(watch.path / "run1.json").write_text('{"instrument": "lidar-2", "start": "2024-03-01T12:00:00"}')
extract = plugin.extractors[rules.sets[watch.rules].metadata.extract]
metadata = checked_metadata(plugin, extract(sorted(watch.path.iterdir())))
select, = rules.sets[watch.rules].selection
assert plugin.selection_functions[select.function](metadata=metadata, **select.kwargs)
print(fill(archive.destination, metadata, archive.base).relative_to(config.directory))
"""


def test_every_file_is_created_once(tmp_path: Path) -> None:
    first = list(scaffold(tmp_path))
    assert {path.relative_to(tmp_path).as_posix() for _, path in first} == FILES
    assert {what for what, _ in first} == {"CREATED"}
    assert (tmp_path / "incoming").is_dir()
    assert list(scaffold(tmp_path)) == [("SKIPPED", path) for _, path in first]


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    ours = tmp_path / "rules.toml"
    ours.write_text("# ours\n")
    (tmp_path / "config.toml").symlink_to("nowhere")
    dealt_with = {path.name: what for what, path in scaffold(tmp_path)}
    assert (dealt_with["rules.toml"], dealt_with["config.toml"]) == ("SKIPPED", "SKIPPED")
    assert dealt_with["model.py"] == "CREATED"
    assert ours.read_text() == "# ours\n"
    assert not (tmp_path / "nowhere").exists()


def test_the_directory_is_made(tmp_path: Path) -> None:
    list(scaffold(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b" / "config.toml").is_file()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=rf"{tmp_path}/file.*: cannot be made"):
        list(scaffold(tmp_path / "file"))


def test_a_new_project_loads_migrates_and_describes_a_delivery(tmp_path: Path) -> None:
    list(scaffold(tmp_path))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOAD, str(tmp_path / "config.toml"), str(ROOT)],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "archive/lidar-2/2024/03/01"


def test_the_new_plugin_is_the_example_under_another_name(tmp_path: Path) -> None:
    list(scaffold(tmp_path))
    different = set()
    for theirs in (PLUGINS / "example").rglob("*"):
        if theirs.suffix not in (".py", ".toml"):
            continue
        name = theirs.relative_to(PLUGINS / "example").as_posix()
        ours = tmp_path / "my_plugin" / name.replace("example", "my_plugin")
        assert ours.read_text() == theirs.read_text().replace("example", "my_plugin")
        if ours.read_text() != theirs.read_text():
            different.add(name)
    assert different == {"pyproject.toml", "migrations/example_0001_the_first_columns.py"}


def test_a_plugin_is_called_as_one_likes(tmp_path: Path) -> None:
    list(scaffold(tmp_path, plugin="telescope"))
    assert load_config(tmp_path / "config.toml").plugins.package == "telescope"
    assert "carbonation-telescope" in (tmp_path / "telescope/pyproject.toml").read_text()
    assert (tmp_path / "telescope/migrations/telescope_0001_the_first_columns.py").is_file()
    texts = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [text for text in texts if "my_plugin" in text or "example" in text]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("json", 'there is a package "json" already'),
        ("My-Plugin", "cannot be the name"),
        ("a" * 28, "at most 27"),
    ],
)
def test_a_name_that_python_would_not_take_is_refused(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        require_name(name, tmp_path)


def test_another_project_can_be_scaffolded(tmp_path: Path) -> None:
    list(scaffold(tmp_path, PLUGINS / "shapefile" / "demo"))
    assert load_config(tmp_path / "config.toml").plugins.package == "shapefile_plugin"
    assert (tmp_path / "samples.py").is_file()


def test_a_unit_names_a_user_without_a_name_by_the_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    list(scaffold(tmp_path))
    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    ((_, unit),) = write_unit(tmp_path, None)
    assert f"\nUser={os.getuid()}\n" in unit.read_text(encoding="utf-8")
