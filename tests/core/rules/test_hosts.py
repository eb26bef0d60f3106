"""Which hosts may work on groups of a watch, by the directories that each of them sees."""

from pathlib import Path

import pytest

from carbonation_core.config.loading import load_config
from carbonation_core.rules.hosts import are_named, host_faults, hosts_of, hosts_of_all
from carbonation_core.rules.rule_sets import PluginNames, load_rules
from tests.core._helpers.faulty import require_fault_of_config, written

WATCH = '[[watch]]\nname = "incoming"\npath = "incoming"\nrules = "default"\narchive = "main"\n'
MAIN = '[[archive]]\nname = "main"\ndestination = "main"\n'
OTHER = '[[archive]]\nname = "other"\ndestination = "other"\n'
PLAIN = "[default]\n"
ROUTED = '[[default.routing]]\nmatch = "a*"\narchive = "other"\n'
BY_PLUGIN = '[[default.routing]]\ntype = "plugin"\nfunction = "by_kind"\n'


def hosts(*names: str) -> str:
    return f"hosts = {list(names)}\n".replace("'", '"')


CASES = [
    ("nothing is said: any host", WATCH + MAIN, PLAIN, ""),
    ("the watch is seen from one host", WATCH + hosts("one") + MAIN, PLAIN, "one"),
    ("the archive is seen from one host", WATCH + MAIN + hosts("two"), PLAIN, "two"),
    (
        "both, and they have one in common",
        WATCH + hosts("one", "two") + MAIN + hosts("two", "x"),
        PLAIN,
        "two",
    ),
    ("an archive that nothing goes to says nothing", WATCH + MAIN + OTHER + hosts("x"), PLAIN, ""),
    ("an archive that a route leads to", WATCH + MAIN + OTHER + hosts("x"), ROUTED, "x"),
    ("any archive, where the plugin routes", WATCH + MAIN + OTHER + hosts("x"), BY_PLUGIN, "x"),
]


@pytest.mark.parametrize(("config", "rules", "expected"), [pytest.param(*c, id=name) for name, *c in CASES])
def test_hosts_of_a_watch_are_those_that_see_it_and_what_its_groups_go_to(
    tmp_path: Path, config: str, rules: str, expected: str
) -> None:
    loaded = load_config(written(tmp_path, config))
    found = load_rules(rules, loaded, PluginNames(routing_functions=("by_kind",)))
    assert hosts_of(loaded.watch[0], found, loaded) == frozenset(filter(None, [expected]))
    assert are_named(loaded) == ("hosts" in config)
    assert list(host_faults(found, loaded)) == []


def test_a_watch_with_an_archive_that_none_of_its_hosts_sees_is_a_fault(tmp_path: Path) -> None:
    loaded = load_config(written(tmp_path, WATCH + hosts("one", "two") + MAIN + hosts("x")))
    assert list(host_faults(load_rules(PLAIN, loaded, PluginNames()), loaded)) == [
        f'{loaded.path}: [[watch]] "incoming": key "hosts": no host sees this watch and all that its groups '
        'may go to: "incoming" is seen from "one", "two"; "main" is seen from "x"'
    ]


def test_what_concerns_all_directories_is_for_a_host_that_sees_all(tmp_path: Path) -> None:
    loaded = load_config(written(tmp_path, WATCH + hosts("one", "two") + MAIN + OTHER + hosts("two", "x")))
    assert hosts_of_all(loaded) == {"two"}


def test_a_host_is_called_as_hosts_are(tmp_path: Path) -> None:
    require_fault_of_config(
        tmp_path,
        WATCH + hosts("one host") + MAIN,
        '[[watch]] "incoming": key "hosts" number 1: should be of letters, digits, "_", "-" and "." only, '
        'not "one host"',
    )
