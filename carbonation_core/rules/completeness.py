"""[completeness] of a rule set: how files make a group, and what it should have."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, model_validator

from carbonation_core.config.toml import Duration, Section
from carbonation_core.rules import path_patterns
from carbonation_core.rules.member_sets import MemberSet, Slot, member_set, slot_of
from carbonation_core.rules.path_patterns import PathPattern, Value, path_pattern
from carbonation_core.text import listing, nearest

OnTimeout = Literal["warn", "skip", "archive_partial"]


def _extension(value: object) -> str:
    if not isinstance(value, str) or len(value) < 2 or value[0] != "." or "/" in value:
        raise ValueError('should be an extension with its dot, such as ".json"')
    return value


def _alternatives(value: object) -> object:
    """An extension, or some of which any will do."""
    if isinstance(value, list) and not value:
        raise ValueError('should be an extension, or alternatives such as [".json", ".txt"]')
    return (
        tuple(_extension(one) for one in value) if isinstance(value, list | tuple) else (_extension(value),)
    )


def _one_or_several(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _zone(value: object) -> str:
    try:
        ZoneInfo(value)  # type: ignore[arg-type]  # what is no name raises
    except (ValueError, TypeError, OSError):
        raise ValueError('should be a time zone such as "Europe/Berlin"') from None
    return str(value)


Extension = Annotated[str, BeforeValidator(_extension)]
Alternatives = Annotated[tuple[str, ...], BeforeValidator(_alternatives)]
Sets = tuple[Mapping[str, Any], ...]
_OF_PATTERNS = (  # keys that need group_by = "pattern"
    "patterns",
    "types",
    "key",
    "slot",
    "tolerance",
    "timezone",
    "required",
    "wanted",
    "optional",
    "count_field",
)


def _glob(value: object) -> str:
    if not isinstance(value, str) or not value or "/" in value:
        raise ValueError('should be the name of a file, such as "manifest.txt", or a glob for it')
    return value


class Manifest(Section):
    """A file of the group that lists its members, by names relative to its own directory."""

    name: Annotated[str, BeforeValidator(_glob)] = Field(
        description="its name, or a glob for it; it may come first or last"
    )
    format: Literal["lines", "checksums", "csv", "plugin"] = Field(
        "lines",
        description="`lines`: a name in each; `checksums`: as in SHA256SUMS; `csv`: see `column`; "
        "`plugin`: see `function`",
    )
    column: str | None = Field(None, description='heading of the column with the names, for `format = "csv"`')
    function: str | None = Field(
        None,
        description='the plugin\'s member function, for `format = "plugin"`: it says the names, or how many',
    )

    @model_validator(mode="after")
    def _format_fits(self) -> "Manifest":
        for key, needed in (("column", "csv"), ("function", "plugin")):
            if (getattr(self, key) is not None) != (self.format == needed):
                raise ValueError(f'format = "{needed}" and "{key}" go together; one of them is missing')
        return self


class Completeness(Section):
    """How files make a group, and when it is whole."""

    group_by: Literal["stem", "pattern", "plugin"] = Field(
        "stem",
        description="`stem`: the file's name less its extension; `pattern`: fields of its path, see "
        "`patterns`; `plugin`: `group_function` says",
    )
    group_function: str | None = Field(None, description='the plugin\'s function, for `group_by = "plugin"`')
    patterns: Annotated[tuple[str, ...], BeforeValidator(_one_or_several)] = Field(
        (),
        strict=False,
        description="for the path below the watch; the first that fits counts: "
        "`{satellite}_{channel}_{start:%Y%m%d%H%M}_{segment:d}.nat`; or regular expressions",
    )
    types: Mapping[str, str] = Field(
        {}, description='formats of the fields of regular expressions: `{ segment = "d", start = "%Y%m%d" }`'
    )
    key: tuple[str, ...] = Field(
        (), strict=False, description="the fields by which files belong together, for `patterns`"
    )
    slot: Duration | None = Field(
        None, description="the time in `key` is cut to parts of a day: one group each `15m`, `6h`, `1d`"
    )
    tolerance: Duration | None = Field(
        None, description="what is so little earlier than a slot belongs to it; for `slot`"
    )
    timezone: Annotated[str, BeforeValidator(_zone)] = Field("UTC", description="of the times in names")
    required: Sets = Field(
        (),
        strict=False,
        description="members without which a group is not whole, by their fields: "
        '`{ channel = ["IR_108", "HRV"], segment = "1-24" }` is each channel with each segment',
    )
    wanted: Sets = Field(
        (), strict=False, description="members that are waited for until `wanted_minutes`, then done without"
    )
    optional: Sets = Field((), strict=False, description="members that are taken along, and not counted")
    wanted_minutes: float = Field(
        10, gt=0, le=525_600, allow_inf_nan=False, description="how long a group waits for `wanted` alone"
    )
    count: int | None = Field(None, ge=1, le=1_000_000, description="how many files a group has when whole")
    count_field: str | None = Field(
        None, description="the field of `patterns` that says in each name how many files there are"
    )
    manifest: Manifest | None = Field(None, description="a file that lists the members of its group")
    expected_extensions: tuple[Alternatives, ...] = Field(
        (),
        strict=False,
        description='a group is whole when it has one file of each; `[".json", ".txt"]`: of one of these',
    )
    optional_extensions: tuple[Extension, ...] = Field(
        (), strict=False, description="taken along when there, never waited for"
    )
    primary_extension: Extension | None = Field(
        None, description="the file whose archive path the group bears"
    )
    across_directories: bool = Field(False, description="equal stems in different directories are one group")
    timeout_minutes: float = Field(
        120, le=525_600, allow_inf_nan=False, description="how long a group may wait; 0 or less: for ever"
    )
    on_timeout: OnTimeout = Field(
        "warn",
        description="`warn`: say so once and go on waiting; `skip`: give the group up; "
        "`archive_partial`: go on with what is there",
    )

    @model_validator(mode="after")
    def _function_fits(self) -> "Completeness":
        if self.group_by == "plugin" and self.group_function is None:
            raise ValueError('group_by = "plugin" needs a "group_function" beside it')
        if self.group_by != "plugin" and self.group_function is not None:
            raise ValueError('"group_function" needs group_by = "plugin" beside it')
        flat = {extension for one in self.expected_extensions for extension in one}
        both = flat & set(self.optional_extensions)
        if both:
            raise ValueError(f"an extension is either expected or optional, not both: {listing(both)}")
        return self

    @model_validator(mode="after")
    def _patterns_fit(self) -> "Completeness":
        if self.group_by != "pattern":
            for name in _OF_PATTERNS:
                if name in self.model_fields_set:
                    raise ValueError(f'"{name}" needs group_by = "pattern" beside it')
        elif not self.patterns:
            raise ValueError('group_by = "pattern" needs "patterns" beside it')
        else:
            self._fields_fit()
        if "wanted_minutes" in self.model_fields_set and not self.wanted:
            raise ValueError('"wanted_minutes" needs "wanted" beside it')
        if self.across_directories and self.group_by == "pattern":
            raise ValueError(
                '"across_directories" has no use with group_by = "pattern"; "key" says what counts'
            )
        return self

    def _fields_fit(self) -> None:
        for name in self.types:
            if name not in self.fields:
                raise ValueError(
                    f'"types" has "{name}", and no pattern has such a field; {nearest(name, self.fields)}'
                )
        if self.types and all(pattern.parts for pattern in self.compiled):
            raise ValueError('"types" is for regular expressions; in a pattern it is as in "{segment:d}"')
        for pattern in self.compiled:
            for name, field in pattern.fields.items():
                before = self.fields[name].kind
                if field.kind != before:
                    raise ValueError(
                        f'field "{name}" is {field.kind} in "{pattern.text}", and {before} before'
                    )
        if not self.key:
            raise ValueError(f'group_by = "pattern" needs a "key", of the fields {listing(self.fields)}')
        for name in self.key:
            if name not in self.fields:
                raise ValueError(
                    f'"key" has "{name}", and no pattern has such a field; {nearest(name, self.fields)}'
                )
            for pattern in self.compiled:
                if name not in pattern.fields:
                    raise ValueError(f'"key" has "{name}", which "{pattern.text}" has not')
        if self.slot is None and self.tolerance is not None:
            raise ValueError('"tolerance" needs a "slot" beside it')
        _ = self.slots
        if self.count_field is not None:
            counter = self.fields.get(self.count_field)
            if counter is None or not counter.is_number:
                what = (
                    f"it is {counter.kind}, not a whole number" if counter else "no pattern has such a field"
                )
                raise ValueError(f'"count_field" is "{self.count_field}", and {what}')
        for name in ("required", "wanted", "optional"):
            _ = self._sets(name)

    @cached_property
    def compiled(self) -> tuple[PathPattern, ...]:
        """The patterns, ready to be used."""
        return tuple(path_pattern(text, self.types) for text in self.patterns)

    @cached_property
    def fields(self) -> Mapping[str, path_patterns.Field]:
        """The fields of all patterns, each as the first has it that has it."""
        found: dict[str, path_patterns.Field] = {}
        for pattern in self.compiled:
            found |= {name: field for name, field in pattern.fields.items() if name not in found}
        return found

    @cached_property
    def slots(self) -> Slot | None:
        """How the time in the key is cut."""
        if self.slot is None:
            return None
        return slot_of(self.slot, self.tolerance, self.zone, [self.fields[name] for name in self.key])

    @cached_property
    def zone(self) -> ZoneInfo:
        """That of the times in names."""
        return ZoneInfo(self.timezone)

    @cached_property
    def required_sets(self) -> tuple[MemberSet, ...]:
        """What a group must have."""
        return self._sets("required")

    @cached_property
    def wanted_sets(self) -> tuple[MemberSet, ...]:
        """What is waited for a while."""
        return self._sets("wanted")

    @cached_property
    def optional_sets(self) -> tuple[MemberSet, ...]:
        """What is not counted."""
        return self._sets("optional")

    def _sets(self, name: str) -> tuple[MemberSet, ...]:
        found = []
        for number, one in enumerate(getattr(self, name), 1):
            try:
                found.append(member_set(one, self.fields, self.key, self.slots))
            except ValueError as error:
                raise ValueError(f'"{name}" number {number}: {error}') from None
        return tuple(found)

    def fields_of(self, path: str) -> Mapping[str, Value] | None:
        """The fields of a file by its path below the watch; None if no pattern fits, or there are none."""
        for pattern in self.compiled:
            found = pattern.fields_of(path)
            if found is not None:
                return found
        return None

    def misfit(self, path: str) -> str:
        """Why no pattern fits a path, by the one that fits the most of it."""
        return max(pattern.misfit(path) for pattern in self.compiled)[1]

    def group_of(self, fields: Mapping[str, Value]) -> Mapping[str, Value] | None:
        """The fields of the key, a time cut to its slot; None if one of them has no value."""
        found = {name: fields[name] for name in self.key if name in fields}
        if len(found) < len(self.key):
            return None
        slot = self.slots
        if slot is not None:
            at = found[slot.field.name]
            assert isinstance(at, datetime)
            found[slot.field.name] = slot.begin(at)
        return found

    def key_of(self, group: Mapping[str, Value]) -> str:
        """The key of a group, its fields as names spell them, with slashes between."""
        texts = [self.fields[name].spelled(value) for name, value in group.items()]
        return "/".join(text.replace("/", "\\x2f") for text in texts)

    def offered(self, group: Mapping[str, Value]) -> dict[str, object]:
        """The fields of a group's key as metadata have them: times aware, in UTC."""
        return {
            name: value.replace(tzinfo=self.zone).astimezone(UTC) if isinstance(value, datetime) else value
            for name, value in group.items()
        }

    @property
    def examples(self) -> dict[str, object]:
        """The fields of a group's key, each with a value that it may have."""
        values = {"a time": datetime(2026, 1, 1, tzinfo=UTC), "a whole number": 1}
        return {name: values.get(self.fields[name].kind, "text") for name in self.key}

    @property
    def timeout(self) -> timedelta | None:
        """How long a group may wait; None is for ever."""
        return timedelta(minutes=self.timeout_minutes) if self.timeout_minutes > 0 else None

    @property
    def patience(self) -> timedelta:
        """How long a group waits for what is only wanted."""
        return timedelta(minutes=self.wanted_minutes)

    @cached_property
    def expected(self) -> tuple[str, ...]:
        """The expected extensions, alternatives one by one."""
        return tuple(extension for one in self.expected_extensions for extension in one)

    @cached_property
    def extensions(self) -> tuple[str, ...]:
        """Expected and optional ones, the longest first."""
        both = {*self.expected, *self.optional_extensions}
        return tuple(sorted(both, key=lambda extension: (-len(extension), extension)))
