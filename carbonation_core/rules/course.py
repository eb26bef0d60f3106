"""When a group would have been archived, by rules and the times at which its files came. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter

from carbonation_core.rules.readiness import Member, readiness, shortfall
from carbonation_core.rules.rule_sets import RuleSet


@dataclass(frozen=True)
class Course:
    """What becomes of a group: archived at a time, with so many files, without what; else it waits.

    `given_up`: it timed out. `late` files came after it was archived.
    """

    at: datetime | None
    files: int
    without: str | None
    given_up: bool = False
    late: int = 0


def course(arrivals: Sequence[tuple[datetime, Member]], rules: RuleSet, now: datetime) -> Course:
    """The course of a group whose files came at these times, in order, up to now.

    Members are as they came: waiting, in delivery. A run takes no time.
    """
    opened = arrivals[0][0]
    there: list[Member] = []
    given_up = False
    looks = [(at, [member for _, member in found]) for at, found in groupby(arrivals, itemgetter(0))]
    for number, (at, new) in enumerate(looks):
        if given_up:  # a sibling opens it again
            opened, given_up = at, False
        there += new
        until = looks[number + 1][0] if number + 1 < len(looks) else now
        state = readiness(there, rules, False, False, opened)
        if state.ready and (ready := max(at, state.not_before or at)) <= until:
            return _archived(ready, there, arrivals, rules)
        deadline = None if state.ready or rules.waits.timeout is None else opened + rules.waits.timeout
        if deadline is not None and deadline <= until:
            if rules.waits.on_timeout == "archive_partial":
                return _archived(max(at, deadline), there, arrivals, rules)
            given_up = rules.waits.on_timeout == "skip"
    return Course(None, len(there), shortfall(there, rules).in_words, given_up)


def _archived(
    at: datetime, there: Sequence[Member], arrivals: Sequence[tuple[datetime, Member]], rules: RuleSet
) -> Course:
    without = shortfall(there, rules).in_words
    return Course(at, len(there), without, late=len(arrivals) - len(there))
