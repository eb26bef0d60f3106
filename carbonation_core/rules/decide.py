"""Decisions: settled, which group, whole, intact, selected, where to, when again.

All of them are pure; each verdict carries its reason. How a plugin is asked
comes in as an argument.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from carbonation_core.config.loading import Config
from carbonation_core.config.sections import ServiceSection, Watch
from carbonation_core.errors import Unroutable
from carbonation_core.names import matches_any
from carbonation_core.rules.path_patterns import Value
from carbonation_core.rules.rule_sets import (
    FieldCondition,
    IntegrityRule,
    Rules,
    RuleSet,
    Selection,
)
from carbonation_core.text import counted, listing, written

Ask = Callable[..., Any]  # a function of the plugin, by its kind and name, with arguments by name


@dataclass(frozen=True)
class Verdict:
    """A yes or no with its reason."""

    holds: bool
    reason: str


@dataclass(frozen=True)
class RetryDecision:
    """What follows a failed attempt: another one at a time, or none."""

    attempts: int  # used so far
    at: datetime | None  # None: gave up
    reason: str


def settles_in(quiet_since: datetime, now: datetime, settle_seconds: float) -> timedelta:
    """How long until a file unchanged since then has settled; 0 or less: it has."""
    return quiet_since + timedelta(seconds=settle_seconds) - now


def stat_fault(filename: str, size: int, rules: RuleSet) -> str | None:
    """Which integrity rule a file of that name and size fails, as far as a stat can tell."""
    for rule in rules.integrity:
        if rule.type == "min_size" and size < rule.size and holds_for(rule, filename, rules):
            return f"has {counted(size, 'byte')}, fewer than min_size = {rule.value}"
        if rule.type == "max_size" and size > rule.size and holds_for(rule, filename, rules):
            return f"has {counted(size, 'byte')}, more than max_size = {rule.value}"
    return None


def holds_for(rule: IntegrityRule, filename: str, rules: RuleSet) -> bool:
    """Whether an integrity rule of the rule set is about a file of that name."""
    if _lists_sums(filename, rules) or (rule.type == "checksum" and sidecar_extension(filename, rules)):
        return False
    if rule.extensions:
        return _ends_with(filename, rule.extensions) is not None
    return sidecar_extension(filename, rules) is None


def sidecar_extension(filename: str, rules: RuleSet) -> str | None:
    """The extension that says that a file holds the checksum of another; None: it does not."""
    return _ends_with(filename, rules.sidecars)


def is_manifest(filename: str, rules: RuleSet) -> bool:
    """Whether a file lists the checksums of its directory, and so belongs to no group.

    One that lists the members of its group, too, belongs to that.
    """
    return _lists_sums(filename, rules) and not lists_members(filename, rules)


def _lists_sums(filename: str, rules: RuleSet) -> bool:
    return matches_any(filename, rules.manifests)


def lists_members(filename: str, rules: RuleSet) -> bool:
    """Whether a file lists the members of its group."""
    manifest = rules.waits.manifest
    return manifest is not None and matches_any(filename, [manifest.name])


def is_set_aside(filename: str, rules: RuleSet) -> bool:
    """Whether a file is only read, and stays in delivery when its group is archived."""
    sidecar = sidecar_extension(filename, rules)
    return sidecar is not None and not any(
        rule.archive_sidecar for rule in rules.checksums if rule.sidecar == sidecar
    )


def may_fail_by_sums(filename: str, rules: RuleSet) -> bool:
    """Whether checksums have a say about a file of that name, or it holds some."""
    return sidecar_extension(filename, rules) is not None or any(
        holds_for(rule, filename, rules) for rule in rules.checksums
    )


def extension(filename: str, rules: RuleSet) -> str:
    """The file's extension: the longest known one that fits, else its last suffix.

    That of a sidecar begins with that of the file it names: ".dat.sha256". Where
    the rule set lists extensions, a name that ends in none of them is a stem.
    """
    known = rules.completeness.extensions if rules.completeness is not None else ()
    found = _ends_with(filename, known)
    sidecar = sidecar_extension(filename, rules)
    if sidecar is not None and (found is None or found == sidecar):
        named = filename.removesuffix(sidecar)
        listed = [*known, *(one for rule in rules.checksums for one in rule.extensions)]
        if not known or _ends_with(named, listed):
            return (_ends_with(named, known) or _last_suffix(named)) + sidecar
        return sidecar
    return found if found is not None else _last_suffix(filename)


def _ends_with(filename: str, extensions: Iterable[str]) -> str | None:
    for one in extensions:
        if filename.endswith(one) and filename != one:
            return one
    return None


def _last_suffix(filename: str) -> str:
    stem, _, suffix = filename.rpartition(".")
    return f".{suffix}" if stem and suffix else ""


def group_key(path: str, rules: RuleSet) -> str | None:
    """The key of a file by its path relative to the watch, when no plugin decides; None: no pattern fits it.

    A sidecar has that of the file it names.
    """
    directory, _, filename = path.rpartition("/")
    if rules.completeness is None:
        return path.removesuffix(sidecar_extension(filename, rules) or "")
    if rules.completeness.group_by == "pattern":
        group = group_fields(path, rules)
        return rules.completeness.key_of(group) if group is not None else None
    stem = filename.removesuffix(extension(filename, rules))
    return f"{directory}/{stem}" if directory and not rules.completeness.across_directories else stem


def group_fields(path: str, rules: RuleSet) -> Mapping[str, Value] | None:
    """The fields of the key of a file's group, by its path relative to the watch; None: it has none."""
    completeness = rules.completeness
    if completeness is None or completeness.group_by != "pattern":
        return None
    sidecar = sidecar_extension(path.rpartition("/")[2], rules)
    fields = completeness.fields_of(path.removesuffix(sidecar) if sidecar else path)
    return completeness.group_of(fields) if fields is not None else None


def names_of_sums(filename: str, sidecar: str, rules: RuleSet) -> tuple[str, str]:
    """The names that a file's sidecar may have: by its whole name, or by its stem."""
    return f"{filename}{sidecar}", f"{filename.removesuffix(extension(filename, rules))}{sidecar}"


def unaccompanied(asking: Collection[str], there: Collection[str], rules: RuleSet) -> tuple[str, ...]:
    """The sidecars that files asking for work lack, and the files that sidecars asking for work lack.

    A rule that also names a manifest waits for no sidecar.
    """
    lacking = [
        f"{filename}{rule.sidecar}"
        for rule in rules.checksums
        if rule.sidecar is not None and rule.manifest is None
        for filename in asking
        if holds_for(rule, filename, rules)
        and not any(name in there for name in names_of_sums(filename, rule.sidecar, rules))
    ]
    for filename in asking:
        sidecar = sidecar_extension(filename, rules)
        if sidecar is not None and not any(
            filename in names_of_sums(one, sidecar, rules)
            for one in there
            if sidecar_extension(one, rules) is None
        ):
            lacking.append(filename.removesuffix(sidecar))
    return tuple(sorted(set(lacking)))


def in_order(filename: str, rules: RuleSet) -> tuple[bool, int, str]:
    """Sorts a group's files: primary first, then as the rule set lists extensions, then by name.

    Sidecars come last.
    """
    is_sidecar = sidecar_extension(filename, rules) is not None
    completeness = rules.completeness
    if completeness is None:
        return (is_sidecar, 0, filename)
    listed = [
        *([completeness.primary_extension] if completeness.primary_extension else []),
        *completeness.expected,
        *completeness.optional_extensions,
    ]
    own = extension(filename, rules)
    return (is_sidecar, listed.index(own) if own in listed else len(listed), filename)


def selected(metadata: Mapping[str, Any], rules: RuleSet, ask: Ask) -> Verdict:
    """Whether a group with these metadata is wanted; raises what `ask` does."""
    if not rules.selection:
        return Verdict(True, "there is no selection")
    reasons = []
    for number, block in enumerate(rules.selection, 1):
        reason = _objection(metadata, block, ask)
        if reason is None:
            return Verdict(True, f"selection number {number} holds")
        reasons.append(f"selection number {number}: {reason}")
    return Verdict(False, "; ".join(reasons))


def _objection(metadata: Mapping[str, Any], block: Selection, ask: Ask) -> str | None:
    for key in block.has_keys:
        if metadata.get(key) is None:
            return f'metadata lack "{key}"'
    for key in block.lacks_keys:
        if metadata.get(key) is not None:
            return f'metadata have "{key}"'
    for condition in block.field:
        reason = _mismatch(metadata.get(condition.name), condition)
        if reason is not None:
            return reason
    if block.function is not None:
        arguments = {"metadata": dict(metadata), **block.kwargs}
        if not ask("selection function", block.function, **arguments):
            return f'function "{block.function}" said no'
    return None


def _mismatch(value: object, condition: FieldCondition) -> str | None:
    name, value = condition.name, written(value)
    if condition.matches:
        wanted = listing(pattern.pattern for pattern in condition.matches)
        if value is None:
            return f'"{name}" has no value, so it does not match {wanted}'
        if not any(pattern.is_found_in(str(value)) for pattern in condition.matches):
            which = "does not match" if len(condition.matches) == 1 else "matches none of"
            return f'"{name}" is "{value}", which {which} {wanted}'
    for pattern in condition.not_matches:
        if value is not None and pattern.is_found_in(str(value)):
            return f'"{name}" is "{value}", which matches "{pattern.pattern}"'
    return None


def route(
    key: str,
    metadata: Mapping[str, Any],
    rules: RuleSet,
    watch: Watch,
    ask: Ask,
) -> tuple[str, str]:
    """The archive's name for a group, and why; raises `Unroutable` without one, and what `ask` does."""
    by_path = rules.completeness is None or rules.completeness.group_by == "stem"
    matched = key.rpartition("/")[2] if by_path else key
    for number, block in enumerate(rules.routing, 1):
        if block.match is not None and block.archive is not None:
            if matches_any(matched, [block.match]):
                return block.archive, f'routing number {number}: "{matched}" matches "{block.match}"'
        elif block.function is not None:
            name = ask("routing function", block.function, metadata=dict(metadata))
            if name is not None:
                return name, f'routing number {number}: function "{block.function}" chose it'
    if rules.archive is not None:
        return rules.archive, "the rule set's archive"
    if watch.archive is not None:
        return watch.archive, "the watch's archive"
    raise Unroutable("no routing matches, and neither rule set nor watch names an archive")


def after_failure(
    attempts: int, service: ServiceSection, now: datetime, reason: str, jitter: float
) -> RetryDecision:
    """What follows the failed attempt that makes it `attempts`.

    `jitter` is from 0 to 1 and spreads the wait over ±10 %.
    """
    if attempts > service.max_retries:
        return RetryDecision(attempts, None, reason)
    return RetryDecision(attempts, now + delay(attempts, service, jitter), reason)


def delay(attempts: int, service: ServiceSection, jitter: float) -> timedelta:
    """The wait after so many attempts (at least one)."""
    longest = service.retry_delay_max.total_seconds()
    first = service.retry_delay.total_seconds()
    # Growth is bounded by its logarithm: a float's power may overflow.
    grown = (attempts - 1) * math.log(service.retry_backoff)
    seconds = longest if grown > math.log(longest / first) else first * math.exp(grown)
    return timedelta(seconds=min(seconds, longest) * (0.9 + 0.2 * jitter))


def reachable_archives(watch: Watch, rules: Rules | None, config: Config) -> set[str]:
    """The archives that files of a watch can come to. Without usable rules: all."""
    rule_set = rules.sets[watch.rules] if rules is not None else None
    if rule_set is None or any(route.function for route in rule_set.routing):
        return {archive.name for archive in config.archive}
    routes = {route.archive for route in rule_set.routing}
    return {name for name in (*routes, rule_set.archive or watch.archive) if name}
