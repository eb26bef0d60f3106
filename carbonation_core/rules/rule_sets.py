"""rules.toml as frozen values: named rule sets, checked against what the plugin offers."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from carbonation_core.config.loading import Config
from carbonation_core.config.templates import misfits
from carbonation_core.config.toml import LONGEST_VALUE, Duration, Section, parse, parse_toml, place
from carbonation_core.errors import ConfigError
from carbonation_core.names import matches_any
from carbonation_core.rules.completeness import Completeness, Extension
from carbonation_core.rules.expressions import Expression
from carbonation_core.text import listing, nearest

Algorithm = Literal["md5", "sha1", "sha256", "sha512"]
Kind = Literal[  # of a plugin's function
    "extractor",
    "group function",
    "selection function",
    "routing function",
    "integrity function",
    "member function",
]
Sidecar = Literal[".md5", ".sha1", ".sha256", ".sha512"]  # a sidecar's extension names its algorithm


LARGEST_FILE = 2**62  # bytes; more than a file system takes, and less than what a system call does


@dataclass(frozen=True)
class PluginNames:
    """The names a plugin offers to rule sets.

    `columns` are those of its metadata, each with a value that it may have; None: they are not known.
    """

    extractors: Collection[str] = ()
    group_functions: Collection[str] = ()
    selection_functions: Collection[str] = ()
    routing_functions: Collection[str] = ()
    integrity_functions: Collection[str] = ()
    columns: Mapping[str, object] | None = None
    member_functions: Collection[str] = ()


def _expression(value: object) -> Expression:
    if isinstance(value, Expression):
        return value
    if not isinstance(value, str):
        raise ValueError("should be a regular expression")
    return Expression(value)


def _size_or_bytes(value: object) -> int | str:
    if isinstance(value, str):
        if len(value) > LONGEST_VALUE:
            raise ValueError(f"should have at most {LONGEST_VALUE} characters")
        return value
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("should be a whole number, or hexadecimal text for magic")
    if not 0 <= value <= LARGEST_FILE:
        raise ValueError("should be at least 0" if value < 0 else f"should be at most {LARGEST_FILE}")
    return value


def _manifest(value: object) -> str:
    if not isinstance(value, str) or not value or "/" in value:
        raise ValueError('should be the name of a file, such as "SHA256SUMS", or a glob for it')
    return value


def _unless_empty(value: object) -> object:
    return None if value == {} else value


Pattern = Annotated[Expression, BeforeValidator(_expression)]

_KEYS = {  # of each type of check, beside those that all have
    "min_size": ("value",),
    "max_size": ("value",),
    "magic": ("value", "offset"),
    "checksum": ("sidecar", "manifest", "algorithm", "archive_sidecar", "grace"),
    "function": ("function", "kwargs"),
}


class IntegrityRule(Section):
    """A check that every component must pass, or those with certain extensions."""

    type: Literal["min_size", "max_size", "magic", "checksum", "function"] = Field(
        description="`min_size`: at least `value` bytes; `max_size`: at most; `magic`: begins with `value`; "
        "`checksum`: has the digest that a sidecar or a manifest says; `function`: ask the plugin"
    )
    extensions: tuple[Extension, ...] = Field(
        (), strict=False, description="the files it holds for; absent: all but the sidecars of checksums"
    )
    value: Annotated[int | str | None, PlainValidator(_size_or_bytes)] = Field(
        None,
        description='for sizes the number of bytes; for `magic` the bytes in hexadecimal, such as "89504e47"',
    )
    offset: int = Field(0, ge=0, le=LARGEST_FILE, description="for `magic`: how many bytes stand before them")
    sidecar: Sidecar | None = Field(
        None,
        description="for `checksum`: extension of the file with the digest, added to the whole name or in "
        "place of the extension; each file waits for its own",
    )
    manifest: Annotated[str, BeforeValidator(_manifest)] | None = Field(
        None,
        description="for `checksum`: name, or glob for it, of a list of digests in the same directory, "
        "such as `SHA256SUMS`",
    )
    algorithm: Algorithm | None = Field(
        None, description="for a `manifest`: of its digests; absent: their length says"
    )
    archive_sidecar: bool = Field(
        True, description="for a `sidecar`: whether it is archived beside its file, or stays in delivery"
    )
    grace: Duration = Field(
        timedelta(minutes=10),
        description="for `checksum`: how long a wrong or missing digest waits for a corrected delivery",
    )
    function: str | None = Field(None, description="for `function`: the plugin's function")
    kwargs: Mapping[str, Any] = Field({}, description="for `function`: keyword arguments for it")

    @model_validator(mode="after")
    def _keys_fit(self) -> "IntegrityRule":
        own = ("type", "extensions", *_KEYS[self.type])
        for key in type(self).model_fields:
            if key in self.model_fields_set and key not in own:
                raise ValueError(f'type = "{self.type}" has no key "{key}"; its keys: {listing(own)}')
        if self.type in ("min_size", "max_size") and not isinstance(self.value, int):
            raise ValueError(f'type = "{self.type}" needs as "value" the number of bytes')
        if self.type == "magic" and not self._is_hexadecimal():
            raise ValueError('type = "magic" needs a "value" in hexadecimal text, such as "89504e47"')
        if self.type == "function" and self.function is None:
            raise ValueError('type = "function" needs a "function" beside it')
        if "file_path" in self.kwargs:
            raise ValueError('"kwargs" has "file_path", which the function is given in any case')
        if self.type == "checksum":
            self._sums_are_found()
        return self

    def _is_hexadecimal(self) -> bool:
        try:
            return isinstance(self.value, str) and bool(bytes.fromhex(self.value))
        except ValueError:
            return False

    def _sums_are_found(self) -> None:
        if self.sidecar is None and self.manifest is None:
            raise ValueError('type = "checksum" needs a "sidecar" or a "manifest", or both')
        if self.sidecar is None and "archive_sidecar" in self.model_fields_set:
            raise ValueError('"archive_sidecar" needs a "sidecar" beside it')
        if self.manifest is None and self.algorithm is not None:
            raise ValueError('"algorithm" needs a "manifest" beside it; a sidecar\'s extension names its own')
        if self.sidecar and self.manifest and matches_any(f"x{self.sidecar}", [self.manifest]):
            raise ValueError(f'"manifest" takes every sidecar, too: "{self.manifest}"')

    @property
    def size(self) -> int:
        """The limit of `min_size` and `max_size`."""
        assert isinstance(self.value, int)
        return self.value

    @cached_property
    def leading(self) -> bytes:
        """The bytes of `magic`."""
        assert isinstance(self.value, str)
        return bytes.fromhex(self.value)


class MetadataRule(Section):
    """Where a group's metadata come from."""

    extract: str = Field(description="the plugin's extractor")


class FieldCondition(Section):
    """What one metadata value must look like."""

    name: str = Field(min_length=1, description="the metadata key")
    matches: tuple[Pattern, ...] = Field(
        (), strict=False, description="regular expressions, at least one of which must be found in it"
    )
    not_matches: tuple[Pattern, ...] = Field(
        (), strict=False, description="regular expressions, none of which may be found in it"
    )

    @model_validator(mode="after")
    def _says_something(self) -> "FieldCondition":
        if not self.matches and not self.not_matches:
            raise ValueError('needs "matches" or "not_matches", or both')
        return self


class Selection(Section):
    """Conditions that must all hold; a rule set's blocks are alternatives."""

    type: Literal["plugin"] | None = Field(None, description="`plugin`: ask a function of the plugin")
    function: str | None = Field(None, description='the plugin\'s function, for `type = "plugin"`')
    kwargs: Mapping[str, Any] = Field({}, description="keyword arguments for it")
    has_keys: tuple[str, ...] = Field((), strict=False, description="metadata keys that must be there")
    lacks_keys: tuple[str, ...] = Field((), strict=False, description="metadata keys that must not be there")
    field: tuple[FieldCondition, ...] = Field(
        (),
        strict=False,
        description="conditions on values; in the older form a name, with `matches`, `not_matches` beside it",
    )

    @model_validator(mode="before")
    @classmethod
    def _older_form(cls, data: object) -> object:
        if isinstance(data, Mapping) and isinstance(data.get("field"), str):
            rest = {k: v for k, v in data.items() if k not in ("matches", "not_matches")}
            moved = {k: v for k, v in data.items() if k in ("matches", "not_matches")}
            return {**rest, "field": [{"name": data["field"], **moved}]}
        return data

    @model_validator(mode="after")
    def _says_something(self) -> "Selection":
        if (self.type == "plugin") != (self.function is not None):
            raise ValueError('type = "plugin" and "function" go together; one of them is missing')
        if self.kwargs and self.function is None:
            raise ValueError('"kwargs" needs a "function"')
        if "metadata" in self.kwargs:
            raise ValueError('"kwargs" has "metadata", which the function is given in any case')
        if not (self.function or self.has_keys or self.lacks_keys or self.field):
            raise ValueError("has no condition; without any block all groups are selected")
        return self


class Routing(Section):
    """Which archive a group goes to; the first block that matches wins."""

    match: str | None = Field(
        None, min_length=1, description="glob on the group key, or on the name of a group of one"
    )
    archive: str | None = Field(None, description="archive for what matches")
    type: Literal["plugin"] | None = Field(None, description="`plugin`: ask a function of the plugin")
    function: str | None = Field(
        None, description="the plugin's function: metadata to archive name, or None for the next block"
    )

    @model_validator(mode="after")
    def _one_form(self) -> "Routing":
        by_match = self.match is not None and self.archive is not None
        by_plugin = self.type == "plugin" and self.function is not None
        given = {key for key in ("match", "archive", "type", "function") if getattr(self, key)}
        if not (by_match and given == {"match", "archive"}) and not (
            by_plugin and given == {"type", "function"}
        ):
            raise ValueError('needs either "match" and "archive", or type = "plugin" and "function"')
        return self


class RuleSet(Section):
    """What holds for the watches that name it."""

    archive: str | None = Field(None, description="default archive")
    integrity: tuple[IntegrityRule, ...] = Field((), strict=False, description="checks of each file")
    completeness: Annotated[Completeness | None, BeforeValidator(_unless_empty)] = Field(
        None, description="absent or empty: every file is a group of one"
    )
    metadata: MetadataRule | None = Field(None, description="absent: groups have no metadata")
    selection: tuple[Selection, ...] = Field((), strict=False, description="absent: all groups are selected")
    routing: tuple[Routing, ...] = Field((), strict=False, description="absent: the default archive")

    @cached_property
    def waits(self) -> Completeness:
        """How long groups wait, and what follows; a group of one may wait for its sidecar."""
        return self.completeness or Completeness()

    @cached_property
    def checksums(self) -> tuple[IntegrityRule, ...]:
        """The checks by checksum."""
        return tuple(rule for rule in self.integrity if rule.type == "checksum")

    @cached_property
    def sidecars(self) -> tuple[str, ...]:
        """The extensions of files that hold the checksums of others."""
        return tuple(dict.fromkeys(rule.sidecar for rule in self.checksums if rule.sidecar))

    @cached_property
    def manifests(self) -> tuple[str, ...]:
        """The globs for files that list the checksums of a directory."""
        return tuple(dict.fromkeys(rule.manifest for rule in self.checksums if rule.manifest))


@dataclass(frozen=True)
class Rules:
    """All rule sets of one text, with the digest that names this version of them."""

    sets: Mapping[str, RuleSet]
    digest: str
    text: str


def rules_digest(text: str) -> str:
    """The name of a version of rules.toml: SHA-256 of its UTF-8 text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def load_rules(text: str, config: Config, names: PluginNames) -> Rules:
    """The rule sets of a rules.toml for this configuration; raises `ConfigError`."""
    file = str(config.rules.file)
    data = parse_toml(text, file)
    faults: list[str] = []
    sets: dict[str, RuleSet] = {}
    for name, table in data.items():
        if not isinstance(table, Mapping | list):
            faults.append(
                f"{place(file, key=name)}: stands above the first heading; it belongs below a rule set's"
            )
            continue
        try:
            sets[name] = parse(RuleSet, table, file, name)
        except ConfigError as error:
            faults += error.faults
        else:
            faults += [
                f"{place(file, *where)}: {fault}" for where, fault in _faults(name, sets[name], config, names)
            ]
    for watch in config.watch:
        if watch.rules not in data:
            where = place(config.path, f'[[watch]] "{watch.name}"', "rules")
            faults.append(
                f'{where}: there is no rule set "{watch.rules}" in {file}; {nearest(watch.rules, data)}'
            )
    faults = faults or list(_misfits(config, names, sets.values()))
    if faults:
        raise ConfigError(*faults)
    return Rules(sets, rules_digest(text), text)


def _misfits(config: Config, names: PluginNames, sets: Iterable[RuleSet]) -> Iterator[str]:
    """A sentence for each placeholder of an archive that nothing can fill."""
    if names.columns is None:
        return
    fields = {name: value for rules in sets for name, value in rules.waits.examples.items()}
    for archive in config.archive:
        where = place(config.path, f'[[archive]] "{archive.name}"', "destination")
        for sentence in misfits(archive.destination, names.columns, fields):
            yield f"{where}: {sentence}"


def _faults(
    name: str, rules: RuleSet, config: Config, names: PluginNames
) -> Iterator[tuple[tuple[str, str], str]]:
    """Table and key, and sentence, of every name that leads nowhere."""
    archives = [archive.name for archive in config.archive]

    def archive(asked: str | None) -> str | None:
        if asked is None or asked in archives:
            return None
        return f'there is no archive "{asked}" in config.toml; known: {listing(archives)}'

    def offered(kind: str, asked: str | None, known: Collection[str]) -> str | None:
        if asked is None or asked in known:
            return None
        return f'the plugin has no {kind} "{asked}"; it has: {listing(known)}'

    def column(asked: str) -> str | None:
        if names.columns is None or asked in names.columns or asked in rules.waits.key:
            return None
        return f'the plugin has no column "{asked}"; {nearest(asked, [*names.columns, *rules.waits.key])}'

    checks: list[tuple[str, str, str | None]] = [(f"[{name}]", "archive", archive(rules.archive))]
    if rules.completeness:
        fault = offered("group function", rules.completeness.group_function, names.group_functions)
        checks.append((f"[{name}.completeness]", "group_function", fault))
    if manifest := rules.waits.manifest:
        fault = offered("member function", manifest.function, names.member_functions)
        checks.append((f"[{name}.completeness.manifest]", "function", fault))
    if rules.metadata:
        fault = offered("extractor", rules.metadata.extract, names.extractors)
        checks.append((f"[{name}.metadata]", "extract", fault))
    for number, check in enumerate(rules.integrity, 1):
        fault = offered("integrity function", check.function, names.integrity_functions)
        table = f"[[{name}.integrity]] number {number}"
        checks.append((table, "function", fault))
        both = set(check.extensions) & set(rules.sidecars) if check.type == "checksum" else ()
        fault = f"a sidecar has no checksum of its own: {listing(both)}" if both else None
        checks.append((table, "extensions", fault))
    for number, selection in enumerate(rules.selection, 1):
        fault = offered("selection function", selection.function, names.selection_functions)
        table = f"[[{name}.selection]] number {number}"
        checks.append((table, "function", fault))
        checks += [(table, "has_keys", column(key)) for key in selection.has_keys]
        checks += [(table, "lacks_keys", column(key)) for key in selection.lacks_keys]
        checks += [(table, "field", column(condition.name)) for condition in selection.field]
    for number, routing in enumerate(rules.routing, 1):
        table = f"[[{name}.routing]] number {number}"
        checks.append((table, "archive", archive(routing.archive)))
        fault = offered("routing function", routing.function, names.routing_functions)
        checks.append((table, "function", fault))
    return (((table, key), fault) for table, key, fault in checks if fault)
