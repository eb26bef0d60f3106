"""For the tests of a plugin: what the service would make of a delivery, as values.

Nothing is written and no database is asked; `carbonation check plugin` does the same.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from carbonation_core.config.loading import Config, config_from
from carbonation_core.config.toml import parse_toml, read_toml
from carbonation_core.db.columns import jsonable
from carbonation_core.db.engine import make_engine
from carbonation_core.plugin import Plugin
from carbonation_core.project import Project
from carbonation_core.reports.preview import Preview, StageVerdict
from carbonation_core.reports.trial import try_files
from carbonation_core.rules.rule_sets import load_rules

__all__ = ["Preview", "StageVerdict", "try_delivery"]

ROOT = "/archive"  # of archives that are made up; nothing is written there


def try_delivery(
    plugin: Plugin,
    rules: str | Path,
    paths: Iterable[str | Path],
    *,
    archives: Mapping[str, str] = MappingProxyType({}),
    rule_set: str | None = None,
) -> list[Preview]:
    """What would become of each group of these files, or of a file that gets no group.

    `rules` is the path of a rules.toml, or its text; `rule_set` the one that holds, if
    there are several. `paths` are files and directories; their nearest common directory
    is the watch, which is recursive. `archives` are destinations by name, relative ones
    below `/archive`; an archive that the rules name and that is not among them is made
    up. The first is the default. Raises `ConfigError` as the service would.
    """
    file = _normal(rules) if isinstance(rules, Path) else Path.cwd() / "rules.toml"
    text = read_toml(file) if isinstance(rules, Path) else rules
    found = [_normal(Path(path)) for path in paths]
    config = _config(file, text, found, archives, rule_set)
    engine = make_engine(config.database, jsonable, config.path)
    project = Project(config, plugin, engine)
    return list(try_files(project, load_rules(text, config, plugin.names), found).groups)


def _normal(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))


def _config(
    file: Path, text: str, paths: Iterable[Path], archives: Mapping[str, str], rule_set: str | None
) -> Config:
    """A configuration for these files: a watch, and the archives that the rules may lead to."""
    tables = parse_toml(text, str(file))
    places = [path if path.is_dir() else path.parent for path in paths]
    made_up = {name: name for table in tables.values() for name in _archives(table)}
    destinations = {**archives, **{name: where for name, where in made_up.items() if name not in archives}}
    destinations = destinations or {"archive": "archive"}
    return config_from(
        {
            "rules": {"file": str(file)},
            "watch": [
                {
                    "name": "delivery",
                    "path": os.path.commonpath(places) if places else str(file.parent),
                    "recursive": True,
                    "rules": rule_set or next(iter(tables), ""),
                    "archive": next(iter(destinations)),
                }
            ],
            "archive": [
                {"name": name, "destination": where} | ({} if where.startswith("/") else {"base_path": ROOT})
                for name, where in destinations.items()
            ],
        },
        file.with_name("config.toml"),
    )


def _archives(table: object) -> Iterable[str]:
    """The archives that a rule set names."""
    if not isinstance(table, Mapping):
        return
    blocks = table.get("routing", ())
    for one in (table, *(blocks if isinstance(blocks, list) else ())):
        name = one.get("archive") if isinstance(one, Mapping) else None
        if isinstance(name, str):
            yield name
