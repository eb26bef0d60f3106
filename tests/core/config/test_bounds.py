"""Nothing in the two files is longer or larger than what takes it: a column, a file system, Dagster."""

from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest

from carbonation_core.config.loading import Config
from carbonation_core.config.toml import Section, is_array, parse, section_in
from carbonation_core.errors import ConfigError
from carbonation_core.rules.rule_sets import RuleSet
from tests.core._helpers.faulty import GOOD, faults_of_config, of, require_fault_of_config, written
from tests.site import SiteMaker

LONG, LARGE = "x" * 100_000, 2**70
FREE = ("kwargs", "match_", "matches", "not_matches")  # what only the plugin or a regular expression takes
NEEDED = {  # the keys without which a table says nothing of the one that is tried
    "watch": {"name": "w", "path": "w", "rules": "r"},
    "archive": {"name": "a", "destination": "a"},
    "integrity": {"type": "magic"},
    "completeness": {"group_by": "stem"},
    "field": {"name": "n", "matches": ["x"]},
    "selection": {"has_keys": ["k"]},
}


def keys(model: type[Section], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], type[Section]]]:
    """Every key of the tables below a model, by the tables that lead to it."""
    for name, field in model.model_fields.items():
        inner = section_in(field.annotation)
        if inner is not None:
            yield from keys(inner, (*path, name))
        elif name not in FREE:
            yield (*path, name), model


def tried(annotation: Any) -> list[object]:
    """Values of that type that nothing takes."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return tried(parts[0])
    if origin in (Union, UnionType):
        return [value for part in parts for value in tried(part)]
    if origin is tuple:
        return [[value] for value in tried(parts[0])]
    if annotation in (str, Path):
        return [LONG, "http://host/" + LONG, "a\0b"]
    return [LARGE] if annotation in (int, float) else []


def faults(root: type[Section], path: tuple[str, ...], value: object) -> list[str]:
    """What is wrong with a file in which only that key stands, and what its table needs."""
    *tables, key = path
    model, data = root, {}
    here: dict[str, object] = data
    for name in tables:
        inner: dict[str, object] = dict(NEEDED.get(name, {}))
        annotation = model.model_fields[name].annotation
        here[name] = [inner] if is_array(annotation) else inner
        here, model = inner, section_in(annotation)  # type: ignore[assignment]  # a table leads to a section
    here[key] = value
    try:
        parse(root, data, "file")
    except ConfigError as error:
        return list(error.faults)
    return []


@pytest.mark.parametrize(
    ("root", "path"),
    [
        pytest.param(root, path, id=".".join(path))
        for root in (Config, RuleSet)
        for path, model in keys(root)
        if tried(model.model_fields[path[-1]].annotation)
    ],
)
def test_no_key_takes_what_nothing_can_hold(root: type[Section], path: tuple[str, ...]) -> None:
    model = next(model for one, model in keys(root) if one == path)
    for value in tried(model.model_fields[path[-1]].annotation):
        found = faults(root, path, value)
        assert any(f'"{path[-1]}"' in fault for fault in found), (str(value)[:20], found)
        assert all(len(fault) < 500 for fault in found)


FAULTS = [
    (
        "a label that no column takes",
        GOOD.replace("[[archive]]", f'type = "{"t" * 256}"\n[[archive]]'),
        f'[[watch]] "incoming": key "type": should have at most 255 characters, not "{"t" * 76}...',
    ),
    (
        "a password is never repeated, however long",
        f'[database]\npassword = "{"p" * 20_000}"\n{GOOD}',
        '[database]: key "password": should have at most 10000 characters',
    ),
    (
        "a character that ends texts elsewhere",
        f'[database]\nusername = "a\\u0000b"\n{GOOD}',
        '[database]: key "username": should have no NUL character in it, not "a\\u0000b"',
    ),
    (
        "a directory with a name that no file system takes",
        GOOD.replace('path = "incoming"', f'path = "{"d" * 256}"'),
        f'[[watch]] "incoming": key "path": should have names of at most 255 bytes, not "{"d" * 76}...',
    ),
    (
        "a path that no system call takes",
        GOOD.replace('path = "incoming"', f'path = "{"d/" * 3000}"'),
        f'[[watch]] "incoming": key "path": should have at most 4095 bytes, not "{"d/" * 38}...',
    ),
    (
        "a placeholder wider than a name",
        GOOD.replace("{category}", "{category:>100000000}"),
        '[[archive]] "main": key "destination": placeholder "{category:>100000000}" is wider than any '
        "name may be, 255 characters",
    ),
]


@of(FAULTS)
def test_what_nothing_can_hold_is_said_by_its_key(tmp_path: Path, text: str, fault: str) -> None:
    require_fault_of_config(tmp_path, text, fault)


def test_a_file_of_many_megabytes_is_not_read(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD + "#" * (1 << 20))
    assert faults_of_config(file) == [f"{file}: has more than 1 MiB, too much for a file that people write"]


def test_a_file_with_a_nul_character_says_where(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD + "\n# \0\n")
    assert faults_of_config(file) == [f"{file}: has a NUL character in line 9"]


def test_the_longest_label_is_stored_on_each_database(make: SiteMaker) -> None:
    site = make(watch={"type": f'"{"ü" * 255}"'})
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    assert site.group("run1").file_type == "ü" * 255


def test_rules_that_no_text_column_takes_are_refused_on_each_database(make: SiteMaker) -> None:
    site = make()
    site.one_pass()
    site.set_rules("[pairs]\n# \0\n")
    site.tick(10)  # goes on with the accepted ones
    site.set_rules("[pairs]\n#" + "x" * (20 << 20))
    site.tick(10)
