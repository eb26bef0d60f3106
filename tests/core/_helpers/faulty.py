"""Wrong config.toml and rules.toml, for the tests of what is said of them."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from carbonation_core.config.loading import Config, load_config
from carbonation_core.errors import ConfigError
from carbonation_core.rules.rule_sets import PluginNames, load_rules

WATCH = '[[watch]]\nname = "incoming"\npath = "incoming"\nrules = "default"\n'
ARCHIVE = '[[archive]]\nname = "main"\ndestination = "archive/{category}"\n'
GOOD = WATCH + ARCHIVE
OFFERED = PluginNames(("csv",), ("by_day",), ("recent",), ("by_kind",), ("opens",))


def of(faults: Iterable[tuple[str, str, str]]) -> pytest.MarkDecorator:
    """A test for each of these: its name, the text of the file, the sentence."""
    return pytest.mark.parametrize(
        ("text", "fault"), [pytest.param(text, fault, id=name) for name, text, fault in faults]
    )


def written(directory: Path, text: str) -> Path:
    """A config.toml of that text."""
    file = directory / "config.toml"
    file.write_text(text, encoding="utf-8")
    return file


def faults_of_config(file: Path) -> list[str]:
    """What is wrong with a config.toml, a sentence each."""
    with pytest.raises(ConfigError) as raised:
        load_config(file)
    return list(raised.value.faults)


def faults_of_rules(text: str, config: Config, offered: PluginNames = OFFERED) -> list[str]:
    """What is wrong with a rules.toml beside that config.toml, a sentence each."""
    with pytest.raises(ConfigError) as raised:
        load_rules(text, config, offered)
    return list(raised.value.faults)


def require_fault_of_config(directory: Path, text: str, fault: str) -> None:
    """That config.toml has one fault, and is told so."""
    file = written(directory, text)
    assert faults_of_config(file) == [f"{file}: {fault}".replace("{here}", str(directory))]


def require_fault_of_rules(directory: Path, text: str, fault: str) -> None:
    """That rules.toml has one fault, and is told so. In `fault` R is that file and C config.toml."""
    config = load_config(written(directory, GOOD))
    expected = fault.replace("R: ", f"{config.rules.file}: ").replace("C: ", f"{config.path}: ")
    assert faults_of_rules(text, config) == [expected.replace("{here}", str(directory))]
