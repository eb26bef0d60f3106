"""Which hosts see the directories that a watch's groups come from and go to."""

from collections.abc import Iterable, Iterator

from carbonation_core.config.loading import Config
from carbonation_core.config.sections import Archive, Watch
from carbonation_core.config.toml import place
from carbonation_core.rules.decide import reachable_archives
from carbonation_core.rules.rule_sets import Rules
from carbonation_core.text import listing


def hosts_of(watch: Watch, rules: Rules | None, config: Config) -> frozenset[str]:
    """The hosts that may work on groups of a watch; empty where any may."""
    return _in_common(_places(watch, rules, config)) or frozenset(watch.hosts)


def are_named(config: Config) -> bool:
    """Whether some directory is not seen from everywhere."""
    return any(watch.hosts for watch in config.watch) or any(archive.hosts for archive in config.archive)


def is_seen_from(place: Watch | Archive, host: str) -> bool:
    """Whether that host has the directory before it."""
    return not place.hosts or host in place.hosts


def hosts_of_all(config: Config) -> frozenset[str]:
    """The hosts that see everything; empty where any does, or none."""
    return _in_common([*config.watch, *config.archive])


def host_faults(rules: Rules, config: Config) -> Iterator[str]:
    """A sentence for each watch with an archive that none of its hosts sees."""
    for watch in config.watch:
        places = _places(watch, rules, config)
        if any(one.hosts for one in places) and not _in_common(places):
            seen = "; ".join(f'"{one.name}" is seen from {listing(one.hosts)}' for one in places if one.hosts)
            where = place(config.path, f'[[watch]] "{watch.name}"', "hosts")
            yield f"{where}: no host sees this watch and all that its groups may go to: {seen}"


def _places(watch: Watch, rules: Rules | None, config: Config) -> list[Watch | Archive]:
    reach = reachable_archives(watch, rules, config)
    return [watch, *(archive for archive in config.archive if archive.name in reach)]


def _in_common(places: Iterable[Watch | Archive]) -> frozenset[str]:
    named = [frozenset(one.hosts) for one in places if one.hosts]
    return frozenset.intersection(*named) if named else frozenset()
