"""What is legal but surely wrong gets one sentence that names file, table and key."""

import os
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbonation_core.config.loading import Config, load_config
from carbonation_core.disk.paths import real_path
from carbonation_core.rules.lint import advice, common_name, disk_advice, keyword_advice
from carbonation_core.rules.rule_sets import PluginNames, load_rules

WATCH = '[[watch]]\nname = "incoming"\npath = "incoming"\nrules = "default"\n'
OTHER = '[[watch]]\nname = "other"\npath = "other"\nrules = "default"\n'
ARCHIVE = '[[archive]]\nname = "main"\ndestination = "archive/{file_type}"\n'
RULES = '[default]\narchive = "main"\n'
PAIR = '[default.completeness]\ngroup_by = "stem"\nexpected_extensions = [".dat", ".json"]\n'
SUMS = '[[default.integrity]]\ntype = "checksum"\nsidecar = ".sha256"\n'
LISTED = '[[default.integrity]]\ntype = "checksum"\nmanifest = "*SUMS"\n'
TO_ALL = '[[default.routing]]\nmatch = "*"\narchive = "main"\n'
TO_SOME = '[[default.routing]]\nmatch = "a*"\narchive = "main"\n'
OFFERED = PluginNames(extractors=("sidecar",), routing_functions=("by_kind",))


def load(directory: Path, config: str) -> Config:
    (directory / "config.toml").write_text(config)
    return load_config(directory / "config.toml")


def advised(directory: Path, config: str, rules: str = RULES) -> list[str]:
    loaded = load(directory, config)
    lines = advice(loaded, load_rules(rules, loaded, OFFERED))
    return [
        line.replace(f"{loaded.path}: ", "C: ")
        .replace(f"{loaded.rules.file}: ", "R: ")
        .replace(str(directory), "/here")
        for line in lines
    ]


def test_a_sound_configuration_gets_no_advice(tmp_path: Path) -> None:
    config = f'{WATCH}patterns = ["*.dat", "*.json"]\n{OTHER}recursive = true\n{ARCHIVE}'
    assert advised(tmp_path, config, RULES + PAIR) == []


SHUT_OUT = ', which rule set "default" expects; no group will ever be complete'
TWICE = (
    'C: [[watch]] "other": key "path": watch "incoming" takes the same files, which are then archived twice'
)
DEEP = '[default.completeness]\ngroup_by = "pattern"\npatterns = "{day}/{name}.dat"\nkey = ["day", "name"]\n'
CASES = [
    (
        "patterns with directories in a watch that does not look into any",
        f"{WATCH}{ARCHIVE}",
        RULES + DEEP,
        'C: [[watch]] "incoming": key "recursive": is false, and all patterns of rule set "default" have a '
        'directory in them, such as "{day}/{name}.dat"; no file will ever fit one',
    ),
    (
        "a heartbeat that the watchdog of the unit would not wait for",
        f'[service]\nheartbeat_interval = "151s"\n{WATCH}{ARCHIVE}',
        RULES,
        'C: [service]: key "heartbeat_interval": is more than half of WatchdogSec=300 of '
        "carbonation.service, which would not start",
    ),
    (
        "a command that is told of nothing",
        f'[notify]\non = []\ncommand = ["page"]\n{WATCH}{ARCHIVE}',
        RULES,
        'C: [notify]: key "on": is empty, so that nobody is told of anything',
    ),
    (
        "a token without a webhook",
        f'[notify]\ntoken = "x"\n{WATCH}{ARCHIVE}',
        RULES,
        'C: [notify]: key "token": is sent to nobody, as there is no "webhook"',
    ),
    (
        "patterns that shut out an expected extension",
        f'{WATCH}patterns = ["*.dat", "*.js"]\n{ARCHIVE}',
        RULES + PAIR,
        f'C: [[watch]] "incoming": key "patterns": shut out every name that ends in ".json"{SHUT_OUT}',
    ),
    (
        "ignore_patterns that shut out an expected extension",
        f'{WATCH}ignore_patterns = ["*.json"]\n{ARCHIVE}',
        RULES + PAIR,
        f'C: [[watch]] "incoming": key "ignore_patterns": shut out every name that ends in ".json"{SHUT_OUT}',
    ),
    (
        "patterns that shut out the sidecars",
        f'{WATCH}patterns = ["*.dat"]\n{ARCHIVE}',
        RULES + SUMS,
        'C: [[watch]] "incoming": key "patterns": shut out every sidecar ".sha256", which rule set '
        '"default" needs; no file will ever have its checksum',
    ),
    (
        "ignore_patterns that shut out the manifests",
        f'{WATCH}ignore_patterns = ["*SUMS", "*.sha256"]\n{ARCHIVE}',
        RULES + LISTED,
        'C: [[watch]] "incoming": key "ignore_patterns": shut out every manifest "*SUMS", which rule set '
        '"default" needs; no file will ever have its checksum',
    ),
    (
        "a manifest that is every file",
        WATCH + ARCHIVE,
        RULES + LISTED.replace("*SUMS", "*"),
        'R: [[default.integrity]] number 1: key "manifest": "*" takes every file for a manifest, '
        "so that none is ever archived",
    ),
    (
        "a pattern that is ignored",
        f'{WATCH}patterns = ["*.dat", "raw*.tmp"]\n{ARCHIVE}',
        RULES,
        'C: [[watch]] "incoming": key "patterns": "raw*.tmp" takes nothing, '
        'as "ignore_patterns" shuts out all of it: '
        '"*.crdownload", "*.filepart", "*.part", "*.partial", "*.tmp", ".*"',
    ),
    (
        "a pattern for a path",
        f'{WATCH}patterns = ["*", "sub/*.dat"]\n{ARCHIVE}',
        RULES,
        'C: [[watch]] "incoming": key "patterns": "sub/*.dat" has a "/" and so never matches, '
        "as patterns are tested against single names",
    ),
    (
        "a primary extension that is not expected",
        WATCH + ARCHIVE,
        RULES + PAIR + 'primary_extension = ".xml"\n',
        'R: [default.completeness]: key "primary_extension": ".xml" is not expected, '
        'so that a group may never have it; expected: ".dat", ".json"',
    ),
    (
        "a primary extension that is optional",
        WATCH + ARCHIVE,
        RULES + PAIR + 'optional_extensions = [".xml"]\nprimary_extension = ".xml"\n',
        'R: [default.completeness]: key "primary_extension": ".xml" is only optional, '
        "so that a group can be archived without the file whose path it bears",
    ),
    (
        "no archive at all",
        WATCH + ARCHIVE,
        "[default]\n",
        'C: [[watch]] "incoming": key "archive": its groups have no archive to go to and will fail; '
        'name one here, in rule set "default", or in a last routing block with match = "*"',
    ),
    (
        "routing that does not match all",
        WATCH + ARCHIVE,
        TO_SOME,
        'C: [[watch]] "incoming": key "archive": groups that no routing block matches have no archive '
        'to go to and will fail; name one here, in rule set "default", or in a last routing block '
        'with match = "*"',
    ),
    (
        "routing that is never asked",
        WATCH + ARCHIVE,
        TO_ALL + TO_SOME,
        'R: [[default.routing]] number 1: key "match": "*" matches every group, '
        "so that the blocks after it are never asked",
    ),
    (
        "an archive of links",
        f'{WATCH}{ARCHIVE}action = "symlink"\n',
        RULES,
        'C: [[archive]] "main": key "action": a symlink keeps no bytes of its own; '
        "a file that is changed or lost in delivery is changed or lost in the archive",
    ),
    (
        "retries that never wait as long as they should",
        f'[service]\nretry_delay = "2h"\nretry_delay_max = "1h"\n{WATCH}{ARCHIVE}',
        RULES,
        'C: [service]: key "retry_delay_max": is less than "retry_delay", '
        "so that no retry ever waits as long as that says",
    ),
    (
        "two watches of one directory",
        WATCH + OTHER.replace('path = "other"', 'path = "incoming"') + ARCHIVE,
        RULES,
        TWICE,
    ),
    (
        "a watch inside a recursive one",
        WATCH + "recursive = true\n" + OTHER.replace('path = "other"', 'path = "incoming/sub"') + ARCHIVE,
        RULES,
        TWICE,
    ),
    (
        "a database in a watch",
        f'[database]\nname = "incoming/c.db"\n{WATCH}{ARCHIVE}',
        RULES,
        'C: [[watch]] "incoming": key "path": the database, "/here/incoming/c.db", lies in this watch '
        "and would be taken for a delivered file",
    ),
    (
        "a rule set that is meant for a watch and misspelt",
        f"{WATCH}{ARCHIVE}",
        f'{RULES}[defaults.metadata]\nextract = "sidecar"\n',
        'R: [defaults]: no watch uses this rule set; used: "default"',
    ),
    (
        "a destination that asks for metadata, and no extractor",
        f'{WATCH}[[archive]]\nname = "main"\ndestination = "archive/{{kind}}/{{watch_name}}"\n',
        RULES,
        'R: [default.metadata]: key "extract": is absent, and the "destination" of archive "main" needs '
        '"kind"; groups of watch "incoming" that go there will fail',
    ),
]


@pytest.mark.parametrize(("config", "rules", "line"), [pytest.param(*case, id=name) for name, *case in CASES])
def test_what_is_surely_wrong_gets_one_sentence(tmp_path: Path, config: str, rules: str, line: str) -> None:
    assert advised(tmp_path, config, rules) == [line]


@pytest.mark.parametrize(("kind", "type_"), [("integrity", "function"), ("selection", "plugin")])
def test_a_keyword_that_a_function_does_not_take_is_named(tmp_path: Path, kind: str, type_: str) -> None:
    rules = f'{RULES}[[default.{kind}]]\ntype = "{type_}"\nfunction = "good"\nkwargs = {{ minimun = 1 }}\n'
    loaded = load(tmp_path, f"{WATCH}{ARCHIVE}")
    found = load_rules(
        rules, loaded, PluginNames(integrity_functions=("good",), selection_functions=("good",))
    )
    (line,) = keyword_advice(loaded, found, lambda kind, name: ["minimum"])
    assert line.endswith(f'key "kwargs": {kind} function "good" takes no "minimun"; did you mean "minimum"?')
    assert keyword_advice(loaded, found, lambda kind, name: None) == []


def test_a_mode_on_links_has_no_effect(tmp_path: Path) -> None:
    lines = advised(tmp_path, f'{WATCH}{ARCHIVE}action = "hardlink"\nfile_mode = 0o600\n')
    assert lines[1:] == [
        'C: [[archive]] "main": key "file_mode": has no effect with action = "hardlink", '
        "as a link has the mode of its file"
    ]


def test_patterns_may_let_sidecars_and_manifests_in(tmp_path: Path) -> None:
    config = f'{WATCH}patterns = ["*.dat*", "SHA*"]\n{ARCHIVE}'
    assert advised(tmp_path, config, RULES + SUMS + LISTED) == []


@pytest.mark.parametrize(
    "rules",
    [
        TO_SOME + TO_ALL,
        '[[default.routing]]\ntype = "plugin"\nfunction = "by_kind"\n',
    ],
)
def test_routing_can_be_the_way_to_an_archive(tmp_path: Path, rules: str) -> None:
    assert advised(tmp_path, WATCH + ARCHIVE, rules) == []


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("", "", True),
        ('patterns = ["*.dat"]', 'patterns = ["*.json"]', False),
        ('patterns = ["a*"]', 'patterns = ["*.dat"]', True),
        ('patterns = ["*.tmp", "*.a"]', 'ignore_patterns = []\npatterns = ["*.tmp"]', False),
        ('ignore_patterns = []\npatterns = [".*"]', "", False),
        ('patterns = ["[a-m]*"]', 'patterns = ["[n-z]*"]', False),
    ],
)
def test_watches_share_files_when_their_patterns_overlap(
    tmp_path: Path, one: str, other: str, shared: bool
) -> None:
    second = OTHER.replace('path = "other"', 'path = "incoming"')
    lines = advised(tmp_path, f"{WATCH}{one}\n{second}{other}\n{ARCHIVE}")
    assert any("takes the same files" in line for line in lines) is shared


def test_a_directory_below_a_watch_that_is_not_recursive_is_its_own(tmp_path: Path) -> None:
    second = OTHER.replace('path = "other"', 'path = "incoming/sub"')
    assert advised(tmp_path, WATCH + second + ARCHIVE) == []


def test_a_missing_watch_directory_is_named(tmp_path: Path) -> None:
    config = load(tmp_path, WATCH + ARCHIVE)
    there = f'{config.path}: [[watch]] "incoming": key "path": there is no directory "{tmp_path}/incoming"'
    assert disk_advice(config, os.path.isdir, real_path) == [there]
    (tmp_path / "incoming").mkdir()
    assert disk_advice(config, os.path.isdir, real_path) == []


def test_a_watch_that_lies_in_an_archive_by_way_of_a_symlink_is_named(tmp_path: Path) -> None:
    config = load(tmp_path, WATCH + ARCHIVE)
    (tmp_path / "archive" / "sst").mkdir(parents=True)
    (tmp_path / "incoming").symlink_to(tmp_path / "archive" / "sst")
    (line,) = disk_advice(config, os.path.isdir, real_path)
    assert line == (
        f'{config.path}: [[watch]] "incoming": key "path": by way of a symlink this watch and archive '
        f'"main" share files, as it is "{tmp_path}/archive/sst" and the archive "{tmp_path}/archive"; '
        "what is archived would be delivered again"
    )


def by_symlink(directory: Path, text: str) -> list[str]:
    """What the disk shows of that config.toml, what is missing left out."""
    lines = disk_advice(load(directory, text), os.path.isdir, real_path)
    assert all(f'{directory}/config.toml: [[watch]] "' in line for line in lines)
    return [line.partition('key "path": ')[2] for line in lines if "there is no directory" not in line]


@pytest.mark.parametrize(
    ("target", "below", "shared"),
    [("incoming", False, True), ("incoming/x", False, False), ("incoming/x", True, True)],
)
def test_two_watches_on_one_directory_by_way_of_a_symlink_are_named(
    tmp_path: Path, target: str, below: bool, shared: bool
) -> None:
    (tmp_path / "incoming" / "x").mkdir(parents=True)
    (tmp_path / "other").symlink_to(target)
    recursive = "recursive = true\n" if below else ""
    (*line,) = by_symlink(tmp_path, f"{WATCH}{recursive}{OTHER}{ARCHIVE}")
    said = (
        f'by way of a symlink watch "incoming" takes the same files, as this one is "{tmp_path}/{target}" '
        f'and that one "{tmp_path}/incoming"; they are archived twice'
    )
    assert line == [said] * shared


def test_watches_that_the_file_itself_shows_to_share_are_named_once(tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    assert by_symlink(tmp_path, WATCH + OTHER.replace('path = "other"', 'path = "incoming"') + ARCHIVE) == []


def test_an_archive_that_lies_in_a_watch_by_way_of_a_symlink_is_named(tmp_path: Path) -> None:
    (tmp_path / "incoming" / "sub").mkdir(parents=True)
    (tmp_path / "archive").symlink_to("incoming/sub")
    assert by_symlink(tmp_path, WATCH + ARCHIVE) == []
    (line,) = by_symlink(tmp_path, f"{WATCH}recursive = true\n{ARCHIVE}")
    assert f'share files, as it is "{tmp_path}/incoming" and the archive "{tmp_path}/incoming/sub"' in line
    (tmp_path / "incoming" / "sub").rename(tmp_path / "incoming" / ".sub")
    (tmp_path / "archive").unlink()
    (tmp_path / "archive").symlink_to("incoming/.sub")
    assert by_symlink(tmp_path, f"{WATCH}recursive = true\n{ARCHIVE}") == []


def test_a_destination_that_leads_into_a_watch_by_way_of_a_symlink_is_named(tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "way").symlink_to(tmp_path / "incoming")
    archive = '[[archive]]\nname = "main"\nbase_path = "base"\ndestination = "way/{category}"\n'
    (line,) = by_symlink(tmp_path, WATCH + archive)
    assert f'and the archive "{tmp_path}/incoming"' in line


def test_a_symlink_that_leads_to_itself_is_no_fault_of_the_check(tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    (tmp_path / "archive").symlink_to("archive")
    assert by_symlink(tmp_path, WATCH + ARCHIVE) == []


def test_the_rules_in_a_watch_by_way_of_a_symlink_are_named(tmp_path: Path) -> None:
    (tmp_path / "incoming").symlink_to(".")
    found = by_symlink(tmp_path, f"{WATCH}recursive = true\n{ARCHIVE}")
    assert len(found) == 4  # the archive, config.toml, the rules, the database
    assert found[1] == (
        f'by way of a symlink config.toml, "{tmp_path}/config.toml", lies in this watch '
        "and would be taken for a delivered file"
    )


GLOBS = st.lists(st.sampled_from(["*", "?", "a", "b", ".", "[ab]", "[!a]", "[.]"]), max_size=6).map("".join)


@given(GLOBS, GLOBS)
def test_a_common_name_matches_both_globs(one: str, other: str) -> None:
    name = common_name(one, other)
    if name is not None:
        assert fnmatchcase(name, one)
        assert fnmatchcase(name, other)


@pytest.mark.parametrize("glob", ["*" * 255, "*a" * 127, "?*" * 127, "x" * 255])
def test_the_longest_globs_have_a_common_name(glob: str) -> None:
    assert common_name(glob, glob) is not None


@given(GLOBS, GLOBS, st.text(alphabet="ab.c", max_size=6))
def test_where_a_name_matches_both_globs_one_is_found(one: str, other: str, name: str) -> None:
    if fnmatchcase(name, one) and fnmatchcase(name, other):
        assert common_name(one, other) is not None
