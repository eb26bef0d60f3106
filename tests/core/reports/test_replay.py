"""Other rules tried on the groups of a real database."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event

from carbonation_core import ConfigError
from carbonation_core.reports.replay import Difference, Replayed, candidate_rules, left_out, replay
from tests import databases
from tests.site import PAIRS, PLUGIN, Site, SiteMaker

pytestmark = databases.one  # what rules decide

SIZED = PAIRS + '    [pairs.metadata]\n    extract = "sizes"\n'
OTHER = '[[archive]]\nname = "other"\ndestination = "elsewhere/{category}"\n'
ONLY_A = '    [[pairs.selection]]\n    field = [{ name = "category", matches = ["^a"] }]\n'
TO_OTHER = '    [[pairs.routing]]\n    match = "run1"\n    archive = "other"\n'
D = Difference


@pytest.fixture
def site(make: SiteMaker) -> Site:
    return make(SIZED, more=OTHER)


def complete(site: Site, key: str, content: bytes = b"a") -> None:
    site.deliver(f"{key}.dat", f"{key}.json", content=content)
    site.one_pass()


def tried(site: Site, rules: str) -> dict[str, Replayed]:
    file = site.directory / "candidate.toml"
    file.write_text(rules, encoding="utf-8")
    found = list(replay(site.project, candidate_rules(site.project, file)))
    assert len({one.group_key for one in found}) == len(found)
    return {one.group_key: one for one in found}


def differences(site: Site, rules: str) -> dict[str, Difference]:
    return {key: one.difference for key, one in tried(site, rules).items()}


def test_the_same_rules_change_nothing(site: Site) -> None:
    complete(site, "run1")
    site.deliver("run2.dat")
    site.deliver("run3.dat", "run3.json", content=b"")
    site.settle()
    assert differences(site, SIZED) == dict.fromkeys(("run1", "run2", "run3")[:2], D.UNCHANGED)


def test_a_group_that_selection_no_longer_takes_is_rejected_with_the_reason(site: Site) -> None:
    complete(site, "run1", b"a")
    complete(site, "run2", b"b")
    found = tried(site, SIZED + ONLY_A)
    assert (found["run1"].difference, found["run2"].difference) == (D.UNCHANGED, D.REJECTED)
    assert found["run2"].reason == 'selection number 1: "category" is "b", which does not match "^a"'
    assert (found["run2"].before, found["run2"].after) == (("main", str(site.archive)), None)


def test_a_group_that_was_rejected_and_would_be_taken_is_newly_accepted(make: SiteMaker) -> None:
    site = make(SIZED + ONLY_A, more=OTHER)
    complete(site, "run1", b"b")
    assert set(site.statuses().values()) == {"not_selected"}
    (one,) = tried(site, SIZED).values()
    assert (one.difference, one.before, one.after) == (D.ACCEPTED, None, ("main", str(site.archive)))


def test_another_archive_or_directory_is_rerouted(site: Site) -> None:
    complete(site, "run1", b"a")
    complete(site, "run2", b"b")
    found = tried(site, SIZED + TO_OTHER)
    assert found["run1"].difference is D.REROUTED
    assert found["run1"].before == ("main", str(site.archive))
    assert found["run1"].after == ("other", str(site.directory / "elsewhere" / "a"))
    assert found["run1"].reason == 'routing number 1: "run1" matches "run1"'
    assert found["run2"].difference is D.UNCHANGED


@databases.each
def test_where_a_group_lies_by_earlier_rules_is_no_change_of_these(site: Site) -> None:
    complete(site, "run1")
    site.set_rules(SIZED + TO_OTHER)
    site.tick()
    assert differences(site, SIZED + TO_OTHER) == {"run1": D.UNCHANGED}
    assert differences(site, SIZED) == {"run1": D.UNCHANGED}


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (
            '    [[pairs.integrity]]\n    type = "max_size"\n    value = 0\n',
            "has 1 byte, more than max_size = 0",
        ),
        (
            '    [[pairs.routing]]\n    type = "plugin"\n    function = "nowhere"\n',
            "chose an archive that is not there",
        ),
        (
            '    [[pairs.selection]]\n    type = "plugin"\n    function = "broken"\n',
            'selection function "broken" raised KeyError',
        ),
        ('    [[pairs.routing]]\n    match = "*"\n    archive = "strange"\n', 'names "start"'),
    ],
)
def test_what_would_fail_says_why(make: SiteMaker, more: str, reason: str) -> None:
    plugin = replace(
        PLUGIN,
        routing_functions={"nowhere": lambda metadata: "nowhere"},
        selection_functions={"broken": lambda metadata: metadata["none"]},
    )
    strange = '[[archive]]\nname = "strange"\ndestination = "strange/{start}"\n'
    site = make(SIZED, plugin=plugin, more=strange)
    complete(site, "run1")
    (one,) = tried(site, SIZED + more).values()
    assert one.difference is D.FAILING
    assert reason in one.reason


def test_a_group_that_failed_a_check_of_its_size_and_would_pass_is_not_described_yet(site: Site) -> None:
    complete(site, "run1", b"a")
    strict = SIZED + '    [[pairs.integrity]]\n    type = "min_size"\n    value = 3\n'
    site.set_rules(strict)
    complete(site, "run2", b"aaa")
    site.deliver("run3.dat", content=b"aaaa")
    site.deliver("run3.json", content=b"a")
    site.settle()
    found = tried(site, SIZED)
    assert found["run2"].difference is D.UNCHANGED
    assert found["run3"].difference is D.UNDECIDED
    assert found["run3"].reason == "it has no metadata yet, by which it is selected and routed"


def test_a_group_that_would_lack_a_file_waits(site: Site) -> None:
    complete(site, "run1")
    more = SIZED.replace('[".dat", ".json"]', '[".dat", ".json", ".xml"]')
    (one,) = tried(site, more).values()
    assert (one.difference, one.reason) == (D.WAITING, "waits for .xml")


def test_a_group_that_waits_and_would_be_whole_is_newly_accepted(make: SiteMaker) -> None:
    site = make(PAIRS)
    site.deliver("run1.dat")
    site.settle()
    fewer = PAIRS.replace('[".dat", ".json"]', '[".dat"]')
    assert differences(site, fewer) == {"run1": D.ACCEPTED}
    assert differences(site, PAIRS) == {"run1": D.UNCHANGED}


def test_what_was_archived_in_part_is_no_change(make: SiteMaker) -> None:
    partial = PAIRS.replace("primary", 'timeout_minutes = 1\n    on_timeout = "archive_partial"\n    primary')
    site = make(partial)
    site.deliver("run1.dat")
    site.settle()
    site.tick(120)
    site.run_all()
    assert site.statuses() == {"run1.dat": "archived"}
    assert differences(site, partial) == {"run1": D.UNCHANGED}


def test_files_that_would_belong_to_other_groups_are_told(make: SiteMaker) -> None:
    site = make(PAIRS, watch={"recursive": "true"})
    site.deliver("a/run1.dat", "a/run1.json")
    site.one_pass()
    across = PAIRS.replace("primary", "across_directories = true\n    primary")
    (one,) = tried(site, across).values()
    name = one.reason.split()[0]
    assert (one.difference, one.reason) == (D.REGROUPED, f'{name} would belong to group "run1"')


def test_what_failed_by_its_contents_stays_failed_until_other_checks_read_it(make: SiteMaker) -> None:
    magic = (
        PAIRS + '    [[pairs.integrity]]\n    type = "magic"\n    value = "00"\n    extensions = [".dat"]\n'
    )
    site = make(magic)
    complete(site, "run1")
    assert site.statuses()["run1.dat"] == "integrity_failed"
    assert differences(site, magic) == {"run1": D.UNCHANGED}
    (one,) = tried(site, PAIRS).values()
    assert one.difference is D.UNDECIDED
    assert one.reason.endswith("; other checks would read it anew")


def test_what_a_replay_cannot_tell_is_said(site: Site) -> None:
    site.tick()
    file = site.directory / "candidate.toml"
    file.write_text(
        """
        [pairs.completeness]
        group_by = "plugin"
        group_function = "by_first_letter"
        [pairs.metadata]
        extract = "broken"
        [[pairs.integrity]]
        type = "magic"
        value = "00"
        """,
        encoding="utf-8",
    )
    assert left_out(site.project, candidate_rules(site.project, file)) == [
        'watch "incoming": groups are judged by the metadata they have; extractor "broken" is not asked',
        'watch "incoming": files are not read, so their contents pass every new check',
        'watch "incoming": groups keep their keys; group function "by_first_letter" is not asked',
    ]


def test_a_fault_of_the_candidate_names_its_file(site: Site) -> None:
    file = site.directory / "candidate.toml"
    file.write_text(SIZED.replace("expected_extensions", "expected_extension"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"candidate\.toml.*did you mean .expected_extensions"):
        candidate_rules(site.project, file)
    with pytest.raises(ConfigError, match="nowhere: there is no such file"):
        candidate_rules(site.project, Path("nowhere"))


@databases.each
def test_a_replay_writes_nothing_and_looks_at_no_directory(site: Site) -> None:
    complete(site, "run1", b"b")
    for name in ("incoming", "archive"):
        (site.directory / name).rename(site.directory / f"{name}.away")
    statements: list[str] = []

    def note(*arguments: object) -> None:
        statements.append(str(arguments[2]).split(maxsplit=1)[0])

    event.listen(site.project.engine, "before_cursor_execute", note)
    site.set_rules("this is no rules.toml")
    assert differences(site, SIZED + ONLY_A) == {"run1": D.REJECTED}
    assert set(statements) <= {"SELECT", "BEGIN", "PRAGMA"}


@databases.each
def test_groups_come_a_page_at_a_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        site.deliver(f"run{number}.dat", f"run{number}.json", content=b"a")
    site.one_pass()
    monkeypatch.setattr("carbonation_core.db.groups.PAGE", 2)
    candidate = candidate_rules(site.project, site.project.config.rules.file)
    found = list(replay(site.project, candidate))
    assert sorted(one.group_key for one in found) == [f"run{number}" for number in range(5)]
