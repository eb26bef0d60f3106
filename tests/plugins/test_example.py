"""The plugin that authors copy."""

import json
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import example
import pytest
import shapefile_plugin
from alembic import command
from example.extractors import sidecar
from example.rules import good_enough
from sqlalchemy import Engine, inspect

from carbonation_core import Plugin
from carbonation_core.db import migrate
from carbonation_core.plugin import checked_metadata, own_columns

PLUGINS = Path(__file__).parents[2] / "plugins"
FULL = {
    "instrument": "lidar-2",
    "start": "2024-03-01T12:00:00",
    "stop": "2024-03-01T14:30:00+02:00",
    "quality": 1,
    "calibrated": True,
    "operator": "unknown keys are passed over",
}


def delivered(directory: Path, described: object) -> list[Path]:
    data, beside = directory / "run1.dat", directory / "run1.json"
    data.write_bytes(b"data")
    beside.write_text(described if isinstance(described, str) else json.dumps(described))
    return [data, beside]


def test_metadata_come_from_the_json_file_and_pass_the_check(tmp_path: Path) -> None:
    metadata = sidecar(delivered(tmp_path, FULL))
    assert checked_metadata(example.plugin, metadata) == {
        "instrument": "lidar-2",
        "start": datetime(2024, 3, 1, 12, tzinfo=UTC),
        "stop": datetime(2024, 3, 1, 12, 30, tzinfo=UTC),
        "quality": 1.0,
        "calibrated": True,
    }


def test_what_the_json_file_does_not_say_is_not_there(tmp_path: Path) -> None:
    metadata = sidecar(delivered(tmp_path, {"instrument": "lidar-2", "start": "2024-03-01T12:00:00Z"}))
    assert metadata == {"instrument": "lidar-2", "start": datetime(2024, 3, 1, 12, tzinfo=UTC)}


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ("", "Invalid JSON"),
        ('{"instrument": ', "Invalid JSON"),
        ([], "should be an object"),
        ({"start": "2024-03-01T12:00:00Z"}, '"instrument": Field required'),
        ({**FULL, "instrument": ""}, '"instrument": '),
        ({**FULL, "start": "yesterday"}, '"start": Input should be a valid datetime'),
        ({**FULL, "stop": 5}, '"stop": '),
        ({**FULL, "quality": "good"}, '"quality": Input should be a valid number'),
        ('{"instrument": "a", "start": "2024-03-01T12:00:00Z", "quality": NaN}', '"quality": '),
        ({**FULL, "calibrated": "yes"}, '"calibrated": Input should be a valid boolean'),
    ],
)
def test_a_malformed_json_file_is_named_with_its_fault(tmp_path: Path, described: object, said: str) -> None:
    with pytest.raises(ValueError, match=r"^run1\.json: ") as raised:
        sidecar(delivered(tmp_path, described))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_group_without_its_json_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no \.json file.*run1\.dat"):
        sidecar(delivered(tmp_path, FULL)[:1])


@pytest.mark.parametrize(
    ("metadata", "wanted"), [({"quality": 0.4}, False), ({"quality": 0.5}, True), ({}, True)]
)
def test_only_a_known_quality_below_the_minimum_is_rejected(
    metadata: dict[str, object], wanted: bool
) -> None:
    assert good_enough(metadata=metadata, minimum=0.5) is wanted


@pytest.mark.parametrize("plugin", [example.plugin, shapefile_plugin.plugin])
def test_the_first_revision_makes_what_the_model_says_and_takes_it_back(
    engine: Engine, plugin: Plugin
) -> None:
    migrate.upgrade(engine, plugin.migrations_path)
    assert migrate.drift(engine, plugin.file_model) == []
    with engine.begin() as connection:
        there = {column["name"]: column for column in inspect(connection).get_columns("files")}
        for column in own_columns(plugin):
            wanted = column.type.compile(engine.dialect)
            assert there[column.name]["type"].compile(engine.dialect) == wanted, column.name
            assert there[column.name]["nullable"]
        config = migrate.alembic_config(plugin.migrations_path)
        config.attributes["connection"] = connection
        own = plugin.migrations_path.parent.name.removesuffix("_plugin")  # type: ignore[union-attr]
        command.downgrade(config, f"{own}@base")
        left = {column["name"] for column in inspect(connection).get_columns("files")}
    assert left == set(there) - {column.name for column in own_columns(plugin)}


def test_two_plugins_in_one_process_have_a_table_each() -> None:
    tables = [plugin.file_model.__table__ for plugin in (example.plugin, shapefile_plugin.plugin)]
    assert "instrument" in tables[0].columns
    assert "instrument" not in tables[1].columns
    assert "geometry" in tables[1].columns


@pytest.mark.parametrize(
    ("folder", "module"),
    [("example", example), ("shapefile", shapefile_plugin)],
    ids=["example", "shapefile"],
)
def test_the_entry_point_leads_to_the_plugin(folder: str, module: object) -> None:
    project = tomllib.loads((PLUGINS / folder / "pyproject.toml").read_text())["project"]
    name, _, attribute = project["entry-points"]["carbonation.plugin"][folder].partition(":")
    assert name == module.__name__  # type: ignore[attr-defined]
    assert isinstance(getattr(module, attribute), Plugin)
