"""What a group has, what it should have, what it still lacks, and until when that is waited for.

The one place that says so, from the rules and the names of the group's files. Pure.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from carbonation_core.lifecycle import ASKING, FileStatus
from carbonation_core.rules import decide
from carbonation_core.rules.completeness import Completeness
from carbonation_core.rules.member_sets import MOST_NAMED, MemberSet
from carbonation_core.rules.path_patterns import Value
from carbonation_core.rules.rule_sets import RuleSet


@dataclass(frozen=True)
class Member:
    """What the completeness of a group depends on, of one of its files, by its path below the watch."""

    path: str
    status: FileStatus
    in_delivery: bool
    in_archive: bool
    lists: tuple[str, ...] | int | None = None  # of a manifest: the paths of members, or how many

    @property
    def filename(self) -> str:
        """Its name without directories."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Shortfall:
    """What a group lacks: `names` of files and extensions, `tallies` of sets, and those that are only wanted.

    A tally is `19 of 24 segments of channel IR_108; lacks 3, 7-9, 22`.
    """

    names: tuple[str, ...] = ()
    tallies: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()

    @property
    def is_required(self) -> bool:
        """Whether it lacks what it must have."""
        return bool(self.names or self.tallies)

    @property
    def waits(self) -> str:
        """What is waited for, after "waits" or "waited": `for .json`, `with 19 of 24 …`."""
        tallies = self.tallies if self.is_required else self.wanted
        parts = [f"for {', '.join(self.names)}"] if self.names else []
        return ", ".join([*parts, *(["; and ".join(f"with {one}" for one in tallies)] if tallies else [])])

    @property
    def in_words(self) -> str | None:
        """All that it lacks, as a group bears it that was archived all the same; None: nothing."""
        names = [f"lacks {', '.join(self.names)}"] if self.names else []
        return "; and ".join([*names, *self.tallies, *self.wanted]) or None


WHOLE = Shortfall()


@dataclass(frozen=True)
class Readiness:
    """Whether a group may be worked on, and what it waits for if not.

    `not_before`: it is ready from then on, as it lacks only what is wanted.
    """

    ready: bool
    idle: bool  # none of its files asks for work
    lacks: Shortfall = WHOLE
    not_before: datetime | None = None


def readiness(
    members: Collection[Member], rules: RuleSet, unsettled: bool, timed_out: bool, opened_at: datetime
) -> Readiness:
    """Whether a group with these files, last opened at that time, is whole.

    `unsettled`: a file that belongs to it has not settled yet. `timed_out`: its
    timeout has passed, which under "archive_partial" makes it whole, and so does
    it that a part of it is archived already.
    """
    if not any(member.status in ASKING for member in members):
        return Readiness(ready=False, idle=True)
    asking = [m for m in members if m.status in ASKING and m.in_delivery]
    done = [m for m in members if _is_done(m, rules)]
    there = [*asking, *done]
    lacks = shortfall(there, rules)
    # A name says nothing new beside its extension.
    sums = decide.unaccompanied([m.filename for m in asking], [m.filename for m in there], rules)
    names = lacks.names + tuple(name for name in sums if not name.endswith(lacks.names))
    lacks = Shortfall(names, lacks.tallies, lacks.wanted)
    unsettled = unsettled or any(m.status is FileStatus.DETECTED and m.in_delivery for m in members)
    is_begun = any(m.in_archive for m in done)
    partial = (timed_out or is_begun) and rules.waits.on_timeout == "archive_partial"
    partial = partial and rules.completeness is not None
    ready = (not lacks.is_required or partial) and not unsettled
    # What comes to a group that is archived without it joins at once.
    waits = ready and bool(lacks.wanted) and not timed_out and not is_begun
    not_before = opened_at + rules.waits.patience if waits else None
    return Readiness(ready, idle=False, lacks=lacks, not_before=not_before)


def _is_done(member: Member, rules: RuleSet) -> bool:
    if member.status is FileStatus.NOT_SELECTED:
        return member.in_delivery and decide.is_set_aside(member.filename, rules)
    return member.status is FileStatus.ARCHIVED and member.in_archive


def shortfall(there: Collection[Member], rules: RuleSet) -> Shortfall:
    """What a group that has these files, and no others, lacks."""
    completeness = rules.completeness
    if completeness is None:
        return WHOLE
    names = _missing_extensions([member.filename for member in there], rules, completeness)
    if completeness.manifest is not None and not any(m.lists is not None for m in there):
        names += (completeness.manifest.name,)
    if not _is_counted(completeness):
        return Shortfall(names)
    files = [m for m in there if decide.sidecar_extension(m.filename, rules) is None]
    fields = [found for m in files if (found := completeness.fields_of(m.path)) is not None]
    group = next((key for one in fields if (key := completeness.group_of(one)) is not None), {})

    def lacking(sets: tuple[MemberSet, ...]) -> Iterator[str]:
        for one in sets:
            yield from one.lacks(group, fields)

    tallies = (
        *lacking(completeness.required_sets),
        *_count(completeness, files, fields, group),
        *_unlisted(there),
    )
    return Shortfall(names, tallies, tuple(lacking(completeness.wanted_sets)))


def _is_counted(completeness: Completeness) -> bool:
    return bool(
        completeness.required
        or completeness.wanted
        or completeness.count
        or completeness.count_field
        or completeness.manifest
    )


def _unlisted(there: Collection[Member]) -> Iterator[str]:
    """What manifests list, and is not there."""
    paths = {member.path for member in there}
    for member in there:
        if isinstance(member.lists, int) and len(there) < member.lists:
            yield f"{len(there)} of {member.lists} files, as {member.filename} says"
        elif isinstance(member.lists, tuple) and (lacking := [p for p in member.lists if p not in paths]):
            number = len(member.lists)
            more = f" and {len(lacking) - MOST_NAMED} more" if len(lacking) > MOST_NAMED else ""
            names = ", ".join(lacking[:MOST_NAMED])
            yield f"{number - len(lacking)} of {number} files of {member.filename}; lacks {names}{more}"


def _missing_extensions(
    filenames: Collection[str], rules: RuleSet, completeness: Completeness
) -> tuple[str, ...]:
    there = {decide.extension(filename, rules) for filename in filenames}
    there |= {sidecar for name in filenames if (sidecar := decide.sidecar_extension(name, rules))}
    lacking = (one for one in completeness.expected_extensions if not there.intersection(one))
    return tuple(" or ".join(one) for one in lacking)


def _count(
    completeness: Completeness,
    files: Collection[Member],
    fields: Collection[Mapping[str, Value]],
    group: Mapping[str, Value],
) -> Iterator[str]:
    """That a group has fewer files than it should, if it has a number at all."""
    wanted = completeness.count or 0
    if completeness.count_field is not None:
        said = [one.get(completeness.count_field) for one in fields]
        wanted = max([wanted, *(number for number in said if isinstance(number, int))])
    optional = completeness.optional_sets
    there = len(files) - sum(any(one.holds(group, member) for one in optional) for member in fields)
    there -= sum(m.filename.endswith(completeness.optional_extensions) for m in files)
    if there < wanted:
        yield f"{there} of {wanted} files"
