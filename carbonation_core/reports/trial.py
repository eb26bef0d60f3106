"""What would become of some files if they were delivered now, with no database asked."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from carbonation_core.config.loading import Config
from carbonation_core.config.sections import Watch
from carbonation_core.config.toml import place
from carbonation_core.disk.scan import EVERYTHING, Hints
from carbonation_core.errors import ConfigError
from carbonation_core.lifecycle import FAILED_OUTCOMES
from carbonation_core.names import to_text
from carbonation_core.pipeline.context import StageContext
from carbonation_core.plugin import Plugin
from carbonation_core.project import Project
from carbonation_core.reports.preview import LEFT_ALONE, Preview, of_watch
from carbonation_core.rules.rule_sets import Kind, Rules, RuleSet
from carbonation_core.text import listing


@dataclass(frozen=True)
class Trial:
    """What would become of each group, and the functions that rules.toml names and none of them came to."""

    groups: tuple[Preview, ...]
    unasked: tuple[tuple[Kind, str], ...] = ()

    @property
    def failed(self) -> tuple[Preview, ...]:
        """The groups of which an attempt would fail."""
        return tuple(one for one in self.groups if one.verdict in FAILED_OUTCOMES)


def try_files(
    project: Project, rules: Rules, paths: Sequence[Path] = (), watch_name: str | None = None
) -> Trial:
    """Try these files and directories, or all that lies in the watches; nothing is written.

    What lies in a watch is tried as its. Of all else the nearest common directory is
    taken for that of the watch of that name, or the only one. Each file counts as new
    and as settled. Raises `ConfigError` when nobody can tell which watch is meant.
    """
    plugin = _Listening.to(project.plugin)
    listened = replace(project, plugin=plugin)
    found: list[Preview] = []
    named: dict[tuple[Kind, str], None] = {}
    for watch, hints in _deliveries(project.config, paths, watch_name):
        context = StageContext(listened, watch, rules.sets[watch.rules])
        named |= dict.fromkeys(_functions(context.rules))
        found += _left_alone(watch, hints)
        found += of_watch(context, hints, fresh=True)
    return Trial(tuple(found), tuple(one for one in named if one not in plugin.heard))


@dataclass(frozen=True)
class _Listening(Plugin):
    """A plugin that remembers which of its functions were asked."""

    heard: set[tuple[Kind, str]] = field(default_factory=set)

    @classmethod
    def to(cls, plugin: Plugin) -> "_Listening":
        return cls(**{one.name: getattr(plugin, one.name) for one in fields(Plugin)})

    def asked(self, kind: Kind, name: str, /, *arguments: object, **keywords: object) -> Any:
        self.heard.add((kind, name))
        return super().asked(kind, name, *arguments, **keywords)


def _functions(rules: RuleSet) -> Iterator[tuple[Kind, str]]:
    """The functions of the plugin that a rule set names."""
    named: list[tuple[Kind, str | None]] = [
        ("group function", rules.waits.group_function),
        ("member function", rules.waits.manifest.function if rules.waits.manifest else None),
        *(("integrity function", check.function) for check in rules.integrity),
        ("extractor", rules.metadata.extract if rules.metadata else None),
        *(("selection function", block.function) for block in rules.selection),
        *(("routing function", block.function) for block in rules.routing),
    ]
    return ((kind, name) for kind, name in named if name is not None)


def _deliveries(
    config: Config, paths: Sequence[Path], watch_name: str | None
) -> Iterator[tuple[Watch, Hints]]:
    """The watches that the paths are tried in, and which of their files are meant."""
    watches = [config.watch_named(watch_name)] if watch_name else list(config.watch)
    if not paths:
        yield from ((watch, EVERYTHING) for watch in watches)
        return
    others = [Path(os.path.normpath(path.absolute())) for path in paths]
    for watch in watches:
        own = [path for path in others if path.is_relative_to(watch.path)]
        others = [path for path in others if path not in own]
        if own:
            yield watch, _hints(watch.path, own)
    if not others:
        return
    if len(watches) > 1:
        names = listing(watch.name for watch in watches)
        where = place(config.path, "[[watch]]")
        raise ConfigError(f"{where}: {others[0]} lies in no watch; say as whose it is to be tried: {names}")
    root = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in others]))
    yield watches[0].model_copy(update={"path": root}), _hints(root, others)


def _hints(root: Path, paths: Iterable[Path]) -> Hints:
    paths = set(paths)
    relative = {path: to_text(os.path.relpath(path, root)) for path in paths - {root}}
    return Hints(
        files=frozenset(name for path, name in relative.items() if not path.is_dir()),
        directories=frozenset(name for path, name in relative.items() if path.is_dir()),
        everything=root in paths,
    )


def _left_alone(watch: Watch, hints: Hints) -> Iterator[Preview]:
    """What was named, and its watch does not look at."""
    for path in sorted(hints.files):
        if not watch.takes(path):
            yield Preview(watch.name, path, LEFT_ALONE, _why_not(watch, path))
    for path in sorted(hints.directories):
        if not watch.enters(path):
            yield Preview(watch.name, path, LEFT_ALONE, _why_not(watch, f"{path}/"))


def _why_not(watch: Watch, path: str) -> str:
    if "/" in path and not watch.recursive:
        return "it lies in a directory, and its watch is not recursive"
    if watch.ignores(path):
        return "its watch leaves such names alone, by ignore_patterns"
    return f"its name matches none of the patterns of its watch: {listing(watch.patterns)}"
