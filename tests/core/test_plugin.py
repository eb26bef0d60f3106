"""How a plugin is found, what it must be, and what its extractors may return."""

import importlib.metadata
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, DateTime
from sqlalchemy.orm import Mapped, mapped_column

from carbonation_core.config.loading import Config, load_config
from carbonation_core.db.column_types import UtcDateTime
from carbonation_core.db.models import FileBase
from carbonation_core.errors import AttemptFailed, ConfigError
from carbonation_core.plugin import (
    Plugin,
    QueryDefaults,
    checked_metadata,
    code_on_disk,
    load_plugin,
    loaded_code,
)
from carbonation_core.rules.rule_sets import load_rules

CONFIG = """
[[watch]]
name = "incoming"
path = "incoming"
rules = "default"
"""
SOUND = """
from sqlalchemy.orm import Mapped
from carbonation_core import FileBase, Plugin

class File(FileBase):
    __tablename__ = "files"
    category: Mapped[str | None]

def read(file_paths):
    return {}

plugin = Plugin(file_model=File, extractors={"read": read})
"""

FROM_ANOTHER = """
from carbonation_core import Plugin
from edited_common.model import File

plugin = Plugin(file_model=File)
"""


@pytest.fixture(autouse=True)
def fresh_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in set(sys.modules) - known:
        del sys.modules[name]


def config(directory: Path, package: str | None = None) -> Config:
    named = f'[plugins]\npackage = "{package}"\n' if package else ""
    (directory / "config.toml").write_text(named + CONFIG)
    return load_config(directory / "config.toml")


def test_what_is_loaded_is_told_from_what_the_files_are_now(tmp_path: Path) -> None:
    package = tmp_path / "edited_plugin"
    package.mkdir()
    (package / "__init__.py").write_text(SOUND)
    plugin = load_plugin(config(tmp_path, "edited_plugin"))
    assert code_on_disk(plugin) == loaded_code(plugin)
    (package / "more.py").touch()
    assert code_on_disk(plugin) != loaded_code(plugin)


def test_a_plugin_with_the_model_of_another_package_is_the_files_of_both(tmp_path: Path) -> None:
    files = {
        "edited_common/__init__.py": "",
        "edited_common/model.py": SOUND.replace("plugin = ", "other = "),
        "edited_own/__init__.py": FROM_ANOTHER,
        "edited_own/helper.py": "",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    plugin = load_plugin(config(tmp_path, "edited_own"))
    assert plugin.file_model.__module__ == "edited_common.model"
    assert code_on_disk(plugin) == loaded_code(plugin)
    for edited in ("edited_own/helper.py", "edited_common/model.py"):
        (tmp_path / edited).write_text(f"{files[edited]}\nchanged = True\n")
        assert code_on_disk(plugin) != loaded_code(plugin)
        (tmp_path / edited).write_text(files[edited])
        assert code_on_disk(plugin) == loaded_code(plugin)


@pytest.mark.parametrize("package", ["edited_space.alone", "edited_space.whole.deep"])
def test_in_a_namespace_package_it_is_the_files_of_the_first_package_with_a_directory_of_its_own(
    tmp_path: Path, package: str
) -> None:
    files = {
        "edited_space/alone.py": SOUND,
        "edited_space/helper.py": "",
        "edited_space/whole/__init__.py": "",
        "edited_space/whole/deep.py": SOUND,
        "edited_space/whole/helper.py": "",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    plugin = load_plugin(config(tmp_path, package))
    assert code_on_disk(plugin) == loaded_code(plugin)
    (tmp_path / Path(*package.split(".")).parent / "helper.py").write_text("changed = True\n")
    assert code_on_disk(plugin) != loaded_code(plugin)


def registered(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    entries = [importlib.metadata.EntryPoint(value, value, "carbonation.plugin") for value in values]
    monkeypatch.setattr(
        "importlib.metadata.entry_points",
        lambda group: importlib.metadata.EntryPoints(entries).select(group=group),
    )


def fault(loaded: Config) -> str:
    with pytest.raises(ConfigError) as raised:
        load_plugin(loaded)
    (sentence,) = raised.value.faults
    return sentence.removeprefix(f'{loaded.path}: [plugins]: key "package": ')


def test_a_plugin_beside_config_needs_no_installation(tmp_path: Path) -> None:
    (tmp_path / "my_sound.py").write_text(SOUND)
    plugin = load_plugin(config(tmp_path, "my_sound"))
    assert plugin.names.extractors == ("read",)


def test_a_plugin_may_have_another_name(tmp_path: Path) -> None:
    (tmp_path / "my_named.py").write_text(SOUND.replace("plugin = ", "other = "))
    assert load_plugin(config(tmp_path, "my_named:other")).names.extractors == ("read",)


def test_the_one_registered_plugin_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_registered.py").write_text(SOUND)
    registered(monkeypatch, "my_registered:plugin")
    assert load_plugin(config(tmp_path)).names.extractors == ("read",)


def test_no_registered_plugin_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch)
    assert fault(config(tmp_path)) == (
        "should name a plugin, as not exactly one is registered; registered: none"
    )


def test_several_registered_plugins_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, "b:plugin", "a")
    assert fault(config(tmp_path)) == (
        'should name a plugin, as not exactly one is registered; registered: "a", "b:plugin"'
    )


def test_a_package_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert fault(config(tmp_path, "not_there")) == (
        f'there is no package "not_there", neither installed nor in {tmp_path}'
    )


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("", 'package "my_wrong" has no "plugin"'),
        ("plugin = 5", '"my_wrong" should be a carbonation_core.Plugin, not int'),
        (
            "import not_installed_here",
            'plugin "my_wrong" needs a module that is not installed: not_installed_here',
        ),
        (
            "from pathlib import Path\nfrom carbonation.plugin import Plugin",
            'plugin "my_wrong" imports "carbonation", which is the earlier release; write "from '
            'carbonation_core import Plugin" and "from carbonation_core import FileBase" where it imports '
            "these two (FILE, line 2)",
        ),
        ("1 / 0", 'plugin "my_wrong" cannot be imported: ZeroDivisionError: division by zero (FILE, line 1)'),
        (
            "import json\n\njson.loads('{')",
            'plugin "my_wrong" cannot be imported: JSONDecodeError: Expecting property name enclosed in '
            "double quotes: line 1 column 2 (char 1) (FILE, line 3)",
        ),
        ("import sys\nsys.exit()", 'plugin "my_wrong" cannot be imported: SystemExit (FILE, line 2)'),
        (
            "import os\nos.nothing",
            "plugin \"my_wrong\" cannot be imported: AttributeError: module 'os' has no attribute 'nothing' "
            "(FILE, line 2)",
        ),
        (
            "plugin = (",
            "plugin \"my_wrong\" cannot be imported: SyntaxError: '(' was never closed (my_wrong.py, line 1)",
        ),
        (
            "from carbonation_core import Plugin\nplugin = Plugin(file_model=int)",
            'plugin "my_wrong": file_model should be a class that inherits from carbonation_core.FileBase',
        ),
        (
            SOUND.replace('"files"', '"groups"'),
            'plugin "my_wrong": file_model should have __tablename__ = "files"',
        ),
        (
            SOUND.replace("str | None", "str"),
            'plugin "my_wrong": column "category" of file_model should be nullable: '
            "a group has a row before it has metadata",
        ),
        (
            SOUND.replace("str | None]", "bytes | None]"),
            'plugin "my_wrong": column "category" of file_model cannot be LargeBinary(): its values are '
            "kept as JSON, too, which has no bytes; keep text, or the path of a file",
        ),
        (SOUND.replace(": read}", ': "read"}'), 'plugin "my_wrong": extractors["read"] should be callable'),
        (
            SOUND.replace(": read}", ': read}, integrity_functions={"opens": 1}'),
            'plugin "my_wrong": integrity_functions["opens"] should be callable',
        ),
        (
            SOUND.replace(": read}", ': read}, query_defaults={"lmit": 5}'),
            'plugin "my_wrong" cannot be imported: ConfigError: query_defaults has "lmit"; '
            'did you mean "limit"? (FILE, line ',
        ),
        (
            SOUND.replace(": read}", ': read}, query_defaults={"order_by": "-strat"}'),
            'plugin "my_wrong": query_defaults: order_by: there is no column "-strat"; known: "archive_dir',
        ),
    ],
)
def test_a_plugin_that_is_none_says_why(tmp_path: Path, source: str, sentence: str) -> None:
    # SQLAlchemy remembers classes by the names of their modules, so each has its own.
    module = f"my_wrong_{hash((source, sentence)) & 0xFFFF}"
    (tmp_path / f"{module}.py").write_text(source)
    sentence = sentence.replace("my_wrong", module).replace("FILE", str(tmp_path / f"{module}.py"))
    assert fault(config(tmp_path, module)).startswith(sentence)


def test_a_plugin_of_the_earlier_release_is_told_so_though_that_is_installed_too(tmp_path: Path) -> None:
    (tmp_path / "carbonation.py").write_text("class Plugin: pass")
    (tmp_path / "my_earlier.py").write_text("from carbonation import Plugin\nplugin = Plugin()")
    assert fault(config(tmp_path, "my_earlier")).startswith(
        'plugin "my_earlier" imports "carbonation", which is the earlier release; write "from '
    )


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (None, QueryDefaults()),
        ({}, QueryDefaults()),
        (
            {"limit": 5, "order_by": "-id", "columns": ["id"]},
            QueryDefaults(limit=5, order_by="-id", columns=("id",)),
        ),
        (QueryDefaults(limit=5), QueryDefaults(limit=5)),
    ],
)
def test_the_defaults_of_a_query_may_be_a_dict(given: Any, taken: QueryDefaults) -> None:
    assert Plugin(File, query_defaults=given).query_defaults == taken


def test_destinations_are_checked_against_the_columns(tmp_path: Path) -> None:
    (tmp_path / "my_columns.py").write_text(SOUND)
    loaded = config(tmp_path, "my_columns")
    with loaded.path.open("a") as file:
        file.write('[[archive]]\nname = "main"\ndestination = "archive/{categroy}/{category:%Y}"\n')
    loaded = load_config(loaded.path)
    with pytest.raises(ConfigError) as raised:
        load_rules("[default]\n", loaded, load_plugin(loaded).names)
    unknown, misfit = raised.value.faults
    assert unknown == (
        f'{loaded.path}: [[archive]] "main": key "destination": placeholder "{{categroy}}" names no column '
        'of the plugin; did you mean "category"?'
    )
    assert 'placeholder "{category:%Y}" has a format that its column does not take' in misfit


class File(FileBase):
    """A model with a column of each kind."""

    __tablename__ = "files"

    text: Mapped[str | None]
    count: Mapped[int | None]
    share: Mapped[float | None]
    flag: Mapped[bool | None]
    price: Mapped[Decimal | None]
    day: Mapped[date | None]
    start: Mapped[datetime | None] = mapped_column(UtcDateTime())
    local: Mapped[datetime | None] = mapped_column(DateTime())
    tags: Mapped[Any | None] = mapped_column(JSON())


PLUGIN = Plugin(file_model=File)
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def test_values_of_the_right_type_are_kept() -> None:
    values = {
        "text": "a", "count": 1, "share": 1.5, "flag": True, "price": Decimal("1.5"),
        "day": date(2024, 5, 1), "start": NOON, "tags": ["a"],
    }  # fmt: skip
    assert checked_metadata(PLUGIN, values) == values


@pytest.mark.parametrize("column", ["text", "count", "share", "flag", "price", "day", "start", "tags"])
def test_none_is_a_value_of_every_column(column: str) -> None:
    assert checked_metadata(PLUGIN, {column: None}) == {column: None}


def test_a_naive_time_means_utc() -> None:
    assert checked_metadata(PLUGIN, {"start": datetime(2024, 5, 1, 12)}) == {"start": NOON}  # noqa: DTZ001


def test_another_zone_becomes_utc() -> None:
    time = datetime(2024, 5, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    assert checked_metadata(PLUGIN, {"start": time})["start"].isoformat() == NOON.isoformat()


def test_a_whole_number_fits_a_fractional_column() -> None:
    assert checked_metadata(PLUGIN, {"share": 2, "price": 2}) == {"share": 2.0, "price": Decimal(2)}


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        (None, "the extractor should return a dict, not NoneType"),
        ([("text", 1)], "the extractor should return a dict, not list"),
        ({"id": 1}, 'the extractor returned "id", which is a column of the service itself'),
        (
            {"txt": "a"},
            'the extractor returned "txt", which is no column of the plugin; columns: '
            '"count", "day", "flag", "local", "price", "share", "start", "tags", "text"',
        ),
        ({"text": 5}, "column \"text\" takes UTF-8 text, not int '5'"),
        ({"count": "5"}, "column \"count\" takes an int of 64 bits, not str '5'"),
        ({"count": True}, "column \"count\" takes an int of 64 bits, not bool 'True'"),
        ({"count": 1.5}, "column \"count\" takes an int of 64 bits, not float '1.5'"),
        ({"flag": 1}, "column \"flag\" takes True or False, not int '1'"),
        ({"day": NOON}, "column \"day\" takes a date, not datetime '2024-05-01 12:00:00+00:00'"),
        ({"start": "2024"}, "column \"start\" takes a datetime, not str '2024'"),
    ],
)
def test_what_an_extractor_may_not_return_names_column_type_and_value(
    returned: object, sentence: str
) -> None:
    with pytest.raises(AttemptFailed) as raised:
        checked_metadata(PLUGIN, returned)
    assert str(raised.value) == sentence
