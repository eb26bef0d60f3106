"""What is legal in the two files but surely wrong, a sentence each. Nothing here refuses anything."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from carbonation_core.config.loading import Config
from carbonation_core.config.sections import Archive, Watch
from carbonation_core.config.templates import FACTS, constant_directory, placeholders
from carbonation_core.config.toml import place
from carbonation_core.names import matches_any, to_text
from carbonation_core.rules.decide import reachable_archives
from carbonation_core.rules.rule_sets import Kind, Rules, RuleSet
from carbonation_core.text import listing, nearest

WATCHDOG = timedelta(seconds=300)  # WatchdogSec of the unit that `carbonation init --systemd` writes
LINKS = ("hardlink", "symlink")
_GLOB_PART = re.compile(r"\[!?\]?[^\]]*\]|.", re.DOTALL)
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
_ODD = "qzxj8"  # in place of a `*`: what no sane pattern asks for


def advice(config: Config, rules: Rules) -> list[str]:
    """A sentence for each thing that is legal but surely wrong, as the files themselves show it.

    Both must have been loaded without faults. Each sentence names file, table and key.
    """
    config_file, rules_file = str(config.path), str(config.rules.file)
    return [
        *_about_service(config, config_file),
        *_about_notify(config, config_file),
        *(line for archive in config.archive for line in _about_archive(archive, config_file)),
        *(line for name, found in rules.sets.items() for line in _about_rule_set(name, found, rules_file)),
        *_unused_rule_sets(config, rules),
        *(line for watch in config.watch for line in _about_watch(watch, rules.sets[watch.rules], config)),
        *(line for watch in config.watch for line in _about_metadata(watch, rules, config)),
        *_shared_files(config),
    ]


def disk_advice(
    config: Config, is_directory: Callable[[Path], bool], real_path: Callable[[Path], Path]
) -> list[str]:
    """A sentence for each watch whose directory is missing, or that shares files by way of a symlink.

    The two functions look at the disk: `os.path.isdir` and `paths.real_path`.
    """
    found = []
    there = []
    for watch in config.watch:
        where = place(config.path, f'[[watch]] "{watch.name}"', "path")
        if is_directory(watch.path):
            there.append(watch.model_copy(update={"path": real_path(watch.path)}))
            found += [f"{where}: {fault}" for fault in _by_symlink(watch, there[-1], config, real_path)]
        else:
            found.append(f'{where}: there is no directory "{watch.path}"')
    said = {(watch.name, other.name) for watch, other in _sharing(config.watch)}
    for watch, other in _sharing(there):
        where = place(config.path, f'[[watch]] "{watch.name}"', "path")
        if (watch.name, other.name) not in said:
            found.append(
                f'{where}: by way of a symlink watch "{other.name}" takes the same files, as this one is '
                f'"{watch.path}" and that one "{other.path}"; they are archived twice'
            )
    return found


def _by_symlink(
    watch: Watch, real: Watch, config: Config, real_path: Callable[[Path], Path]
) -> Iterator[str]:
    """What lies in a watch, or it in, as only its path without symlinks shows."""
    for archive in config.archive:
        for base in map(real_path, (archive.base, Path(constant_directory(archive.destination)))):
            if real.path.is_relative_to(base) or _lies_in(base, real):
                yield (
                    f'by way of a symlink this watch and archive "{archive.name}" share files, as it is '
                    f'"{real.path}" and the archive "{base}"; what is archived would be delivered again'
                )
                break
    for what, file in _files_of_service(config):
        if _takes(real_path(file.parent) / file.name, real) and not _takes(file, watch):
            yield (
                f'by way of a symlink {what}, "{file}", lies in this watch '
                "and would be taken for a delivered file"
            )


def keyword_advice(config: Config, rules: Rules, takes: Callable[[Kind, str], list[str] | None]) -> list[str]:
    """A sentence for each keyword argument that a function of the plugin does not take.

    `takes` says which a function does take, None if any.
    """
    found: list[str] = []
    for name, rules_of in rules.sets.items():
        asked: list[tuple[Kind, str, int, str | None, Mapping[str, Any]]] = [
            *(
                ("integrity function", "integrity", n, b.function, b.kwargs)
                for n, b in enumerate(rules_of.integrity, 1)
            ),
            *(
                ("selection function", "selection", n, b.function, b.kwargs)
                for n, b in enumerate(rules_of.selection, 1)
            ),
        ]
        for kind, table, number, function, kwargs in asked:
            known = takes(kind, function) if function else None
            where = place(config.rules.file, f"[[{name}.{table}]] number {number}", "kwargs")
            found += [
                f'{where}: {kind} "{function}" takes no "{key}"; {nearest(key, known)}'
                for key in kwargs
                if known is not None and key not in known
            ]
    return found


def access_advice(config: Config, text: str, mode: Callable[[Path], int | None]) -> list[str]:
    """A sentence for each file of the service that users may read who have no business with it.

    `text` is config.toml as it stands; `mode` gives the mode of what lies there,
    None when nothing does. Archives and the log are as open as they were made to be.
    """
    private = [(config.directory / ".dagster", "what Dagster keeps")]
    if config.database.drivername == "sqlite":
        private += [(Path(config.database.name + end), "the database") for end in ("", "-wal", "-shm")]
    if any(secret in text for secret in config.secrets):
        private.append((config.path, "a secret"))
    return [
        f'all users can read {what} in "{path}"; run: chmod o-rwx {path}'
        for path, what in private
        if (found := mode(path)) is not None and found & 0o004
    ]


def _about_service(config: Config, file: str) -> Iterator[str]:
    service = config.service
    if 2 * service.heartbeat_interval > WATCHDOG:
        yield (
            f"{place(file, '[service]', 'heartbeat_interval')}: is more than half of "
            f"WatchdogSec={WATCHDOG.total_seconds():.0f} of carbonation.service, which would not start"
        )
    if service.retry_delay_max < service.retry_delay:
        yield (
            f'{place(file, "[service]", "retry_delay_max")}: is less than "retry_delay", '
            "so that no retry ever waits as long as that says"
        )


def _about_notify(config: Config, file: str) -> Iterator[str]:
    section = config.notify
    if not section.on and (section.command or section.webhook):
        yield f"{place(file, '[notify]', 'on')}: is empty, so that nobody is told of anything"
    if section.token is not None and section.webhook is None:
        yield f'{place(file, "[notify]", "token")}: is sent to nobody, as there is no "webhook"'


def _about_archive(archive: Archive, file: str) -> Iterator[str]:
    if archive.action not in LINKS:
        return
    table = f'[[archive]] "{archive.name}"'
    yield (
        f"{place(file, table, 'action')}: a {archive.action} keeps no bytes of its own; "
        "a file that is changed or lost in delivery is changed or lost in the archive"
    )
    if "file_mode" in archive.model_fields_set:
        yield (
            f'{place(file, table, "file_mode")}: has no effect with action = "{archive.action}", '
            "as a link has the mode of its file"
        )


def _about_rule_set(name: str, rules: RuleSet, file: str) -> Iterator[str]:
    completeness = rules.completeness
    if completeness and completeness.primary_extension and completeness.extensions:
        primary = completeness.primary_extension
        where = place(file, f"[{name}.completeness]", "primary_extension")
        if primary in completeness.optional_extensions:
            yield (
                f'{where}: "{primary}" is only optional, so that a group can be archived '
                "without the file whose path it bears"
            )
        elif primary not in completeness.expected:
            yield (
                f'{where}: "{primary}" is not expected, so that a group may never have it; '
                f"expected: {listing(completeness.expected)}"
            )
    for number, check in enumerate(rules.integrity, 1):
        if check.manifest and set(check.manifest) == {"*"}:
            yield (
                f"{place(file, f'[[{name}.integrity]] number {number}', 'manifest')}: "
                f'"{check.manifest}" takes every file for a manifest, so that none is ever archived'
            )
    for number, routing in enumerate(rules.routing[:-1], 1):
        if _matches_all(routing.match):
            yield (
                f"{place(file, f'[[{name}.routing]] number {number}', 'match')}: "
                f'"{routing.match}" matches every group, so that the blocks after it are never asked'
            )
            break


def _unused_rule_sets(config: Config, rules: Rules) -> Iterator[str]:
    used = {watch.rules for watch in config.watch}
    for name in rules.sets:
        if used and name not in used:
            where = place(config.rules.file, f"[{name}]")
            yield f"{where}: no watch uses this rule set; used: {listing(used)}"


def _about_metadata(watch: Watch, rules: Rules, config: Config) -> Iterator[str]:
    found = rules.sets[watch.rules]
    if found.metadata or any(routing.function for routing in found.routing):
        return
    reachable = reachable_archives(watch, rules, config)
    for archive in config.archive:
        lacking = dict.fromkeys(
            name
            for name in placeholders(archive.destination)
            if name not in FACTS and name not in found.waits.examples
        )
        if lacking and archive.name in reachable:
            yield (
                f"{place(config.rules.file, f'[{watch.rules}.metadata]', 'extract')}: is absent, and the "
                f'"destination" of archive "{archive.name}" needs {listing(lacking)}; '
                f'groups of watch "{watch.name}" that go there will fail'
            )


def _about_watch(watch: Watch, rules: RuleSet, config: Config) -> Iterator[str]:
    table = f'[[watch]] "{watch.name}"'
    for key in ("patterns", "ignore_patterns"):
        for pattern in getattr(watch, key):
            if "/" in pattern:
                yield (
                    f'{place(config.path, table, key)}: "{pattern}" has a "/" and so never matches, '
                    "as patterns are tested against single names"
                )
    for pattern in watch.patterns:
        if _is_ignored(pattern, watch.ignore_patterns):
            yield (
                f'{place(config.path, table, "patterns")}: "{pattern}" takes nothing, '
                f'as "ignore_patterns" shuts out all of it: {listing(watch.ignore_patterns)}'
            )
    for extension in rules.completeness.expected if rules.completeness else ():
        ends = (
            f'every name that ends in "{extension}", which rule set "{watch.rules}" expects; '
            "no group will ever be complete"
        )
        if watch.patterns and not any(common_name(f"*{_literal(extension)}", p) for p in watch.patterns):
            yield f"{place(config.path, table, 'patterns')}: shut out {ends}"
        elif _is_ignored(f"*{_literal(extension)}", watch.ignore_patterns):
            yield f"{place(config.path, table, 'ignore_patterns')}: shut out {ends}"
    deep = [one for one in rules.waits.patterns if "/" in one]
    if deep and not watch.recursive and len(deep) == len(rules.waits.patterns):
        yield (
            f"{place(config.path, table, 'recursive')}: is false, and all patterns of rule set "
            f'"{watch.rules}" have a directory in them, such as "{deep[0]}"; no file will ever fit one'
        )
    yield from _about_checksums(watch, rules, config, table)
    if not (rules.archive or watch.archive or _routes_all(rules)):
        which = "groups that no routing block matches" if rules.routing else "its groups"
        yield (
            f"{place(config.path, table, 'archive')}: {which} have no archive to go to and will fail; "
            f'name one here, in rule set "{watch.rules}", or in a last routing block with match = "*"'
        )
    for what, file in _files_of_service(config):
        if _takes(file, watch):
            yield (
                f'{place(config.path, table, "path")}: {what}, "{file}", lies in this watch '
                "and would be taken for a delivered file"
            )


def _files_of_service(config: Config) -> list[tuple[str, Path]]:
    found = [("config.toml", config.path), ("the rules", config.rules.file)]
    if config.logging.file is not None:
        found.append(("the log", config.logging.file))
    if config.database.drivername == "sqlite":
        found.append(("the database", Path(config.database.name)))
    return found


def _takes(file: Path, watch: Watch) -> bool:
    return _lies_in(file.parent, watch) and watch.takes(file.name)


def _about_checksums(watch: Watch, rules: RuleSet, config: Config, table: str) -> Iterator[str]:
    globs = {f"*{sidecar}": f'every sidecar "{sidecar}"' for sidecar in rules.sidecars}
    globs |= {manifest: f'every manifest "{manifest}"' for manifest in rules.manifests}
    for glob, what in globs.items():
        ends = f'{what}, which rule set "{watch.rules}" needs; no file will ever have its checksum'
        if watch.patterns and not any(common_name(glob, pattern) for pattern in watch.patterns):
            yield f"{place(config.path, table, 'patterns')}: shut out {ends}"
        elif _is_ignored(glob, watch.ignore_patterns):
            yield f"{place(config.path, table, 'ignore_patterns')}: shut out {ends}"


def _shared_files(config: Config) -> Iterator[str]:
    for watch, other in _sharing(config.watch):
        where = place(config.path, f'[[watch]] "{watch.name}"', "path")
        yield f'{where}: watch "{other.name}" takes the same files, which are then archived twice'


def _sharing(watches: Sequence[Watch]) -> Iterator[tuple[Watch, Watch]]:
    """Each two watches that take the same files."""
    for number, watch in enumerate(watches):
        for other in watches[:number]:
            if (_lies_in(watch.path, other) or _lies_in(other.path, watch)) and _take_alike(watch, other):
                yield watch, other


def _lies_in(directory: Path, watch: Watch) -> bool:
    if directory == watch.path or not directory.is_relative_to(watch.path):
        return directory == watch.path
    return watch.enters(to_text(str(directory.relative_to(watch.path))))


def _take_alike(one: Watch, other: Watch) -> bool:
    names = (common_name(p, q) for p in one.patterns or ("*",) for q in other.patterns or ("*",))
    ignored = (*one.ignore_patterns, *other.ignore_patterns)
    return any(name is not None and not matches_any(name, ignored) for name in names)


def _routes_all(rules: RuleSet) -> bool:
    # A function of the plugin may know an archive for every group; nobody can tell from here.
    return any(routing.function or _matches_all(routing.match) for routing in rules.routing)


def _matches_all(pattern: str | None) -> bool:
    return bool(pattern) and set(pattern or "") == {"*"}


def _is_ignored(pattern: str, ignore_patterns: Collection[str]) -> bool:
    """Whether all that a pattern matches is ignored, judged by an unlikely name that it matches."""
    name = common_name(pattern, "*")
    return name is not None and matches_any(name, ignore_patterns)


def _literal(text: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", text)


def common_name(one: str, other: str) -> str | None:
    """A name that both globs match, as unlike a special case as can be; None if there is none."""
    mine, theirs = _GLOB_PART.findall(one), _GLOB_PART.findall(other)
    nothing: list[str | None] = [None] * (len(theirs) + 2)
    later = nothing  # by the number of their parts that are left out, what goes on from the next of mine
    for here in ("", *reversed(mine)):
        now = nothing.copy()
        for number, there in reversed(list(enumerate([*theirs, ""]))):
            now[number] = _common(here, there, later[number], now[number + 1], later[number + 1])
        later = now
    return later[0]


def _common(
    one: str, other: str, without_one: str | None, without_other: str | None, without_both: str | None
) -> str | None:
    """A name for all that begins with these parts, from those for what comes after one, other or both."""
    if not one and not other:
        return ""
    if one == other == "*":
        rest = _first(without_one, without_other)
        return None if rest is None else _ODD + rest
    if other == "*":
        one, other, without_one, without_other = other, one, without_other, without_one
    if one == "*":
        char = _char(other, "?") if other else None
        return _first(char + without_other if char and without_other is not None else None, without_one)
    char = _char(one, other) if one and other else None
    return None if char is None or without_both is None else char + without_both


def _first(*found: str | None) -> str | None:
    return next((name for name in found if name is not None), None)


@cache
def _char(one: str, other: str) -> str | None:
    """A character that both single parts of a glob match."""
    candidates = f"{_LETTERS}{one}{other}"
    return next((c for c in candidates if matches_any(c, [one]) and matches_any(c, [other])), None)
