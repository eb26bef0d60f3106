"""Which members a group should have, as sets over fields of their names, and in words what it lacks.

{channel = ["IR_108", "HRV"], segment = "1-24"} is each channel with each segment.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import product
from zoneinfo import ZoneInfo

from carbonation_core.rules.path_patterns import Field, Value
from carbonation_core.text import LONGEST, listing, nearest, parse_duration

LARGEST_SET = 100_000  # members
MOST_NAMED = 12  # values that a sentence names
MOST_CLAUSES = 4

_RANGE = re.compile(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9})\s*)?")
_EVERY = re.compile(r"every\s+(\S.*)")
DAY = timedelta(days=1)

Combination = tuple[Value, ...]


@dataclass(frozen=True)
class Slot:
    """Groups that are made by time: each has the files of a part of a day, as clocks of a zone show it."""

    field: Field
    length: timedelta
    tolerance: timedelta
    zone: ZoneInfo

    def begin(self, at: datetime) -> datetime:
        """When the slot begins that a time belongs to; what comes a little too early does, too."""
        at += self.tolerance
        midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight + (at - midnight) // self.length * self.length

    def times(self, begin: datetime, step: timedelta) -> frozenset[Combination]:
        """The times that a clock shows in a slot, one each `step`, less those that spring leaves out."""
        return _times(self.zone, begin, begin + self.length, step)


@lru_cache(maxsize=64)  # it is asked for each look and for each member
def _times(zone: ZoneInfo, begin: datetime, end: datetime, step: timedelta) -> frozenset[Combination]:
    found, at = set(), begin.replace(tzinfo=zone).timestamp()
    last = end.replace(tzinfo=zone).timestamp()
    while at < last:
        found.add((datetime.fromtimestamp(at, zone).replace(tzinfo=None, fold=0),))
        at += step.total_seconds()
    return frozenset(found)


@dataclass(frozen=True)
class MemberSet:
    """Members by the values of their fields: every combination of those of `fields`.

    `of_groups` are values of the key, and say for which groups this holds;
    `every` is the step of times that go through a group's slot.
    """

    fields: tuple[Field, ...]
    combinations: frozenset[Combination]
    of_groups: Mapping[str, frozenset[Value]]
    slot: Slot | None = None
    every: timedelta | None = None

    def wanted(self, group: Mapping[str, Value]) -> frozenset[Combination]:
        """The members that a group should have, by the fields of its key."""
        if any(group.get(name) not in values for name, values in self.of_groups.items()):
            return frozenset()
        if self.every is None or self.slot is None:
            return self.combinations
        begin = group.get(self.slot.field.name)
        return self.slot.times(begin, self.every) if isinstance(begin, datetime) else frozenset()

    def combination(self, member: Mapping[str, Value]) -> Combination:
        """Where a file stands in the set; it need not be in it."""
        return tuple(member.get(field.name, "") for field in self.fields)

    def holds(self, group: Mapping[str, Value], member: Mapping[str, Value]) -> bool:
        """Whether a file of a group is in the set."""
        return self.combination(member) in self.wanted(group)

    def lacks(self, group: Mapping[str, Value], members: Iterable[Mapping[str, Value]]) -> tuple[str, ...]:
        """What a group with these lacks, each `19 of 24 segments of channel IR_108; lacks 3, 7-9, 22`."""
        wanted = self.wanted(group)
        lacking = wanted - {self.combination(member) for member in members}
        return tuple(self._in_words(wanted, lacking)) if lacking else ()

    def _in_words(self, wanted: Collection[Combination], lacking: Collection[Combination]) -> Iterable[str]:
        listed, others = self.fields[-1], self.fields[:-1]
        in_all: dict[Combination, int] = defaultdict(int)
        missing: dict[Combination, list[Value]] = defaultdict(list)
        for one in wanted:
            in_all[one[:-1]] += 1
        for one in lacking:
            missing[one[:-1]].append(one[-1])
        alike: dict[tuple[int, tuple[Value, ...]], list[Combination]] = defaultdict(list)
        for combination in sorted(missing, key=str):
            values = tuple(sorted(missing[combination], key=_sortable))
            alike[in_all[combination], values].append(combination)
        clauses = [
            _clause(listed, others, number, values, found, self.every)
            for (number, values), found in alike.items()
        ]
        yield from clauses[:MOST_CLAUSES]
        if len(clauses) > MOST_CLAUSES:
            yield f"{len(clauses) - MOST_CLAUSES} more that lack {_plural(listed.name)}"


def _clause(
    listed: Field,
    others: Sequence[Field],
    number: int,
    lacking: Sequence[Value],
    of: Sequence[Combination],
    every: timedelta | None,
) -> str:
    what = _plural(listed.name)
    whose = ""
    if others:
        each = " each" if len(of) > 1 else ""
        if len(others) == 1:
            name = others[0].name if len(of) == 1 else _plural(others[0].name)
            whose = f" of {name} {_compressed([one[0] for one in of], others[0], None)}{each}"
        else:
            named = [
                " ".join(
                    f"{field.name} {field.spelled(value)}" for field, value in zip(others, one, strict=True)
                )
                for one in of[:MOST_NAMED]
            ]
            more = f" and {len(of) - MOST_NAMED} more" if len(of) > MOST_NAMED else ""
            whose = f" of {', '.join(named)}{more}{each}"
    there = number - len(lacking)
    if not there and number > 1:
        return f"none of {number} {what}{whose}"
    return f"{there} of {number} {what}{whose}; lacks {_compressed(lacking, listed, every)}"


def _compressed(values: Sequence[Value], field: Field, every: timedelta | None) -> str:
    """Values in order, with those that follow each other as a range: `3, 7-9, 22`."""
    runs: list[list[Value]] = []
    for value in values:
        if runs and _follows(runs[-1][-1], value, every):
            runs[-1].append(value)
        else:
            runs.append([value])
    texts = [
        f"{_shown(run[0], field)}-{_shown(run[-1], field)}"
        if len(run) > 2
        else ", ".join(_shown(value, field) for value in run)
        for run in runs[:MOST_NAMED]
    ]
    more = sum(map(len, runs[MOST_NAMED:]))
    return ", ".join(texts) + (f" and {more} more" if more else "")


def _follows(one: Value, other: Value, every: timedelta | None) -> bool:
    if isinstance(one, int) and isinstance(other, int):
        return other == one + 1
    return isinstance(one, datetime) and isinstance(other, datetime) and other - one == every


def _shown(value: Value, field: Field) -> str:
    if isinstance(value, datetime):
        return f"{value:%H:%M:%S}" if value.second else f"{value:%H:%M}"
    return str(value)


def _sortable(value: Value) -> tuple[str, float | str]:
    if isinstance(value, datetime):
        return ("", value.timestamp())
    return (type(value).__name__, value)


def _plural(name: str) -> str:
    return name if name.endswith("s") else f"{name}s"


def member_set(
    table: Mapping[str, object], fields: Mapping[str, Field], key: Collection[str], slot: Slot | None
) -> MemberSet:
    """The set that a table of rules.toml says; raises `ValueError` that says what is wrong with it."""
    if not table:
        raise ValueError('has no field; it should be as in { channel = ["IR_108", "HRV"], segment = "1-24" }')
    of_groups: dict[str, frozenset[Value]] = {}
    ranges: dict[Field, Sequence[Value]] = {}
    every = None
    for name, given in table.items():
        field = fields.get(name)
        if field is None:
            raise ValueError(f'the patterns have no field "{name}"; {nearest(name, fields)}')
        if field.is_time:
            every = _step(field, given, slot)
            ranges[field] = ()
        elif name in key:
            of_groups[name] = frozenset(_values(field, given))
        else:
            ranges[field] = _values(field, given)
    if not ranges:
        raise ValueError(
            f"says for which groups it holds ({listing(of_groups)}), and not which members these should have"
        )
    if every is not None and len(ranges) > 1:
        raise ValueError("has times and other fields; times go through a slot alone")
    number = 1
    for values in ranges.values():
        number *= len(values) or 1
    if number > LARGEST_SET:
        raise ValueError(f"has {number:,} members, more than {LARGEST_SET:,}")
    combinations = frozenset() if every else frozenset(product(*ranges.values()))
    return MemberSet(tuple(ranges), combinations, of_groups, slot, every)


def _step(field: Field, given: object, slot: Slot | None) -> timedelta:
    match = _EVERY.fullmatch(given) if isinstance(given, str) else None
    if match is None:
        raise ValueError(f'field "{field.name}" is a time, so it should be as in {field.name} = "every 15m"')
    if slot is None or slot.field.name != field.name:
        raise ValueError(
            f'"every" goes through a slot, so "slot" should be given, and "{field.name}" be in "key"'
        )
    step = parse_duration(match[1])
    if step < timedelta(seconds=1) or slot.length % step:
        raise ValueError(f'"{given}" does not go into the slot; it should be a part of it')
    return step


def _values(field: Field, given: object) -> list[Value]:
    """The values that are meant, in order, each once."""
    found: dict[Value, None] = {}
    for one in given if isinstance(given, list | tuple) else [given]:
        found |= dict.fromkeys(_numbers(field, one) if field.is_number else _texts(field, one, one is given))
    if not found:
        raise ValueError(f'field "{field.name}" has no values')
    return list(found)


def _numbers(field: Field, given: object) -> Iterable[Value]:
    if isinstance(given, int) and not isinstance(given, bool):
        return [given]
    found: list[Value] = []
    for part in given.split(",") if isinstance(given, str) else [""]:
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ValueError(
                f'field "{field.name}" is a whole number, so it should be as in 3, "1-24", "1-3, 7-9", '
                f"not {given!r}"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f'"{part.strip()}" ends before it begins; it should be "{last}-{first}"')
        if last - first >= LARGEST_SET:
            raise ValueError(f'"{part.strip()}" has more than {LARGEST_SET:,} numbers')
        found += range(first, last + 1)
    return found


def _texts(field: Field, given: object, is_alone: bool) -> Iterable[Value]:
    if not isinstance(given, str) or not given:
        raise ValueError(
            f'field "{field.name}" is text, so it should be text in quotes, not {given!r}; '
            f'a number is read by "{{{field.name}:d}}" in the pattern'
        )
    if is_alone and re.fullmatch(r"[0-9]+\s*-\s*[0-9]+", given):
        raise ValueError(
            f'"{given}" is a range, and field "{field.name}" is text; '
            f'write "{{{field.name}:d}}" in the pattern'
        )
    return [given]


def slot_of(length: timedelta, tolerance: timedelta | None, zone: ZoneInfo, key: Sequence[Field]) -> Slot:
    """The slot of groups with that key; raises `ValueError` that says what is wrong with it."""
    times = [field for field in key if field.is_time]
    if len(times) != 1:
        raise ValueError(
            f'"slot" needs one time in "key", by which it is found; there: {listing(f.name for f in times)}'
        )
    if not times[0].has_date:
        raise ValueError(f'"slot" needs the date, and "{times[0].name}" has the format "{times[0].form}"')
    if length > DAY or DAY % length:
        raise ValueError('"slot" should be a day or a part that goes into it, such as "15m", "6h", "1d"')
    if tolerance is not None and tolerance >= length:
        raise ValueError('"tolerance" should be less than "slot"')
    assert length <= LONGEST
    return Slot(times[0], length, tolerance or timedelta(0), zone)
