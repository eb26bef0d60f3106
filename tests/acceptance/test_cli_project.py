"""A project by its commands: `init`, `check`, `retry`, `reconcile delivery`, and the faults that all tell."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import databases
from tests.acceptance._helpers.command import TOGETHER, Desk, deliver, new_desk, one_pass

pytestmark = [TOGETHER, databases.one]  # arguments and sentences

USERS_MISTAKES = (
    ("check", "config"),
    ("db", "init"),
    ("db", "status"),
    ("status",),
    ("retry",),
    ("explain", "run1"),
    ("reconcile", "delivery"),
)


def test_init_says_what_it_made_and_what_it_left(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    first = desk("init", "--dir", "new").out.splitlines()
    assert "CREATED new/config.toml" in first
    assert all(line.startswith("CREATED ") for line in first)
    second = desk("init", "--dir", "new").out.splitlines()
    assert second == [line.replace("CREATED", "SKIPPED") for line in first]


def test_init_writes_a_unit_that_systemd_accepts(
    desk: Desk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = desk.directory / "config.toml"
    outside = tmp_path_factory.mktemp("out") / "100% of $HOME"
    outside.mkdir()
    config.write_text(config.read_text().replace('path = "incoming"', f'path = "{outside}"'))
    assert "CREATED carbonation.service\n" in desk("init", "--systemd", "--user", "daemon").out
    unit = (desk.directory / "carbonation.service").read_text()
    keys = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and line[0] != "#")
    assert (keys["Type"], keys["User"], keys["WatchdogSec"], keys["Restart"]) == (
        "notify", "daemon", "300", "on-failure"
    )  # fmt: skip
    assert keys["ExecStart"].endswith(f" -c {config} run")
    assert f'"-{outside.parent}/100%% of $HOME"' in keys["ReadWritePaths"]
    assert f"-{desk.directory}" in keys["ReadWritePaths"].split()
    if shutil.which("systemd-analyze"):
        verify = ["systemd-analyze", "verify", desk.directory / "carbonation.service"]
        done = subprocess.run(verify, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    assert "SKIPPED carbonation.service\n" in desk("init", "--systemd").out
    assert "--user is whom" in desk.wrong("init", "--user", "daemon")


def test_init_writes_what_the_head_and_the_workers_of_a_site_need(desk: Desk) -> None:
    out = desk("init", "--systemd", "--role", "head").out
    assert "CREATED carbonation.service\n" in out
    assert "CREATED dagster/dagster.yaml\n" in out
    out = desk("init", "--systemd", "--role", "worker").out
    assert "CREATED carbonation-worker.service\n" in out
    assert "SKIPPED dagster/dagster.yaml\n" in out
    home = desk.directory / "dagster"
    assert (home / "environment").stat().st_mode & 0o777 == 0o600
    for name, command, patience in (("carbonation", "run", 30), ("carbonation-worker", "worker", 900)):
        unit = desk.directory / f"{name}.service"
        lines = unit.read_text().splitlines()
        assert {f"Environment=DAGSTER_HOME={home}", f"EnvironmentFile={home}/environment"} <= set(lines)
        assert f"TimeoutStopSec={patience}" in lines
        assert any(line.startswith("ExecStart=") and line.endswith(f" {command}") for line in lines)
        if shutil.which("systemd-analyze"):
            verify = ["systemd-analyze", "verify", unit]
            done = subprocess.run(verify, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, "")
    assert "--role is of the unit" in desk.wrong("init", "--role", "head")


@databases.each
def test_a_new_project_is_valid_and_makes_its_database_once(desk: Desk) -> None:
    assert "not initialised" in desk.good("check", "config")
    assert desk.good("db", "init").endswith(" is initialised\n")
    assert desk.good("db", "init").endswith("was initialised before\n")
    assert desk.good("db", "upgrade").endswith("is current\n")
    assert desk.good("check", "config").endswith("are valid\n")
    assert "warning" not in desk.good("check", "config")


@pytest.mark.parametrize("command", USERS_MISTAKES)
def test_a_faulty_configuration_is_a_sentence(desk: Desk, command: tuple[str, ...]) -> None:
    config = desk.directory / "config.toml"
    config.write_text(config.read_text().replace("settle_seconds", "setle_seconds"))
    message = desk.wrong(*command, code=1)
    assert 'there is no key "setle_seconds"; did you mean "settle_seconds"?' in message


def test_another_configuration_can_be_named(desk: Desk, tmp_path: Path) -> None:
    (desk.directory / "config.toml").rename(desk.directory / "other.toml")
    assert "other.toml" in desk.good("-c", "other.toml", "check", "config")
    assert "config.toml: there is no such file" in desk.wrong("check", "config", code=1)


def test_check_config_warns_of_what_is_surely_wrong(desk: Desk) -> None:
    shutil.rmtree(desk.directory / "incoming")
    config = desk.directory / "config.toml"
    config.write_text(config.read_text().replace('action = "copy"', 'action = "hardlink"'))
    answer = desk("check", "config")
    assert answer.code == 0
    assert "keeps no bytes of its own" in answer.out
    assert "there is no directory" in answer.out
    assert answer.out.rstrip().endswith("with 3 warnings")


def test_check_config_warns_of_an_installed_plugin_where_another_lies_beside_the_configuration(
    desk: Desk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    installed = tmp_path_factory.mktemp("installed")
    shutil.copytree(desk.directory / "my_plugin", installed / "my_plugin")
    check = "import sys; sys.path.insert(0, sys.argv.pop()); from carbonation_dagster.cli import main; main()"

    def warnings() -> str:
        command = [sys.executable, "-c", check, "check", "config", str(installed)]
        where: dict[str, Any] = {"cwd": desk.directory, "env": desk.environment()}
        return subprocess.run(command, **where, check=True, stdout=subprocess.PIPE, text=True).stdout

    assert "which is installed" not in warnings()
    (desk.directory / "my_plugin" / "rules.py").write_text("")
    assert f'which is installed; "{desk.directory / "my_plugin"}" is another' in warnings()


def test_check_config_names_faulty_rules(desk: Desk) -> None:
    rules = desk.directory / "rules.toml"
    rules.write_text(rules.read_text().replace('extract = "sidecar"', 'extract = "sidcar"'))
    assert "sidecar" in desk.wrong("check", "config", code=1)


@databases.each
def test_check_config_counts_what_belongs_to_no_watch_any_more(archive: Desk, tmp_path: Path) -> None:
    text = (archive.directory / "config.toml").read_text()
    renamed = archive.directory / "renamed.toml"
    renamed.write_text(text.replace('name = "incoming"', 'name = "renamed"'))
    found = archive.good("-c", str(renamed), "check", "config")
    assert '4 groups in the database of watch "incoming", which is configured no more' in found
    renamed.unlink()


@databases.each
def test_check_config_counts_what_lies_in_no_archive_any_more(archive: Desk) -> None:
    config, rules = (archive.directory / name for name in ("config.toml", "rules.toml"))
    before = {file: file.read_text() for file in (config, rules)}
    config.write_text(before[config].replace('name = "main"', 'name = "store"'))
    rules.write_text(before[rules].replace('archive = "main"', 'archive = "store"'))
    found = archive.good("check", "config")
    for file, text in before.items():
        file.write_text(text)
    assert ' in archive "main", which is configured no more: nothing compares what lies there' in found
    assert "configured no more" not in archive.good("check", "config")


@databases.each
def test_a_database_of_others_is_a_sentence_from_every_command(desk: Desk) -> None:
    desk.execute("CREATE TABLE files (id INTEGER PRIMARY KEY, path VARCHAR(255))")
    said = 'has tables of another program, under names that ours have: "files"; name an empty one'
    for command in (("db", "init"), ("db", "status"), ("query", "files"), ("run", "--dry-run")):
        assert said in desk.wrong(*command, code=1)
    assert said in desk.good("check", "config")


@databases.each
def test_a_project_lies_anywhere(tmp_path: Path, on_each_database: None) -> None:
    (tmp_path / "100% done").mkdir()
    desk = new_desk(tmp_path / "100% done")
    desk.good("db", "init")
    deliver(desk, "run1", "lidar", 1)
    one_pass(desk)
    assert "run1" in desk.good("query", "files")


def test_retry_says_how_many(desk: Desk) -> None:
    desk.good("db", "init")
    deliver(desk, "run1", "lidar", 1)
    (desk.directory / "incoming" / "empty.dat").write_bytes(b"")
    one_pass(desk)
    assert desk.good("retry") == "nothing to try again: no such file in delivery has the status failed\n"
    told = desk.good("retry", "--status", "integrity_failed")
    assert told == "1 component will be tried again, from the next look on\n"
    assert desk.good("retry", "--status", "integrity_failed").startswith("nothing to try again")
    told = desk.good("retry", "--watch-name", "incoming", "--group-key", "run1")
    assert told.startswith("nothing to try again")
    deliver(desk, "run2", "lidar", 1)
    (desk.directory / "incoming" / "run2.json").write_text("{")
    one_pass(desk)  # one attempt fails, and it waits for the next
    assert desk.good("retry").startswith("nothing to try again")
    assert desk.good("retry", "--group-key", "run2").startswith("2 components will be tried again")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--watch-name", "x"), 'there is no watch "x"; known: incoming'),
        (("--group-key", "x"), 'there is no group "x"'),
        (("--status", "archived"), "'archived' is not one of"),
    ],
)
def test_retry_of_what_is_not_there_is_wrong_usage(
    archive: Desk, arguments: tuple[str, ...], message: str
) -> None:
    assert message in archive.wrong("retry", *arguments)


def test_a_group_key_that_is_not_utf_8_is_a_sentence(archive: Desk) -> None:
    assert 'no group "a\\xff"' in archive.wrong("retry", "--group-key", os.fsdecode(b"a\xff"))
    assert archive.good("query", "files", "--count", "--group-key", os.fsdecode(b"a\xff")) == "0\n"


def test_reconcile_delivery_tells_each_watch(desk: Desk) -> None:
    desk.good("db", "init")
    deliver(desk, "run1", "lidar", 1)
    heading, row = desk.good("reconcile", "delivery").splitlines()
    assert heading.split() == ["watch", "seen", "new", "returned", "cleared", "rechecked"]
    assert row.split() == ["incoming", "2", "2", "0", "0", "0"]
    (desk.directory / "incoming" / "run1.dat").unlink()
    assert desk.good("reconcile", "delivery", "--watch", "incoming").split()[-3:] == ["0", "1", "0"]
    assert 'no watch "x"' in desk.wrong("reconcile", "delivery", "--watch", "x")


def test_reconcile_of_a_missing_directory_changes_nothing_and_does_the_others(tmp_path: Path) -> None:
    desk = new_desk(tmp_path)
    with (tmp_path / "config.toml").open("a") as config:
        config.write('[[watch]]\nname = "second"\npath = "second"\nrules = "instrument"\n')
    desk.good("db", "init")
    answer = desk("reconcile", "delivery")
    assert answer.code == 1
    assert "error: watch second: " in answer.err
    assert answer.out.splitlines()[1].split()[0] == "incoming"


@databases.each
def test_check_rules_says_what_would_change_group_by_group(archive: Desk, tmp_path: Path) -> None:
    rules = (archive.directory / "rules.toml").read_text()
    same = tmp_path / "same.toml"
    same.write_text(rules)
    lines = archive.good("check", "rules", str(same)).splitlines()
    assert [line.split() for line in lines][-1][-1] == "4"
    stricter = tmp_path / "stricter.toml"
    by_function = 'type = "plugin"\nfunction = "good_enough" # my_plugin/rules.py\nkwargs = { minimum = 0.0 }'
    assert by_function in rules
    stricter.write_text(rules.replace(by_function, 'field = [{ name = "instrument", matches = ["^lidar"] }]'))
    found = json.loads(archive.good("check", "rules", str(stricter), "--format", "json"))
    assert {one["difference"] for one in found["changes"]} == {"rejected"}
    assert sorted(one["group_key"] for one in found["changes"]) == ["run3", "umlaut-ä"]
    assert found["changes"][0]["from"]["archive"] == "main"
    assert found["changes"][0]["to"] is None
    assert (found["counts"]["rejected"], found["counts"]["unchanged"]) == (2, 2)
    text = archive.good("check", "rules", str(stricter))
    assert 'which does not match "^lidar"' in text
    assert text.splitlines()[0].split()[:4] == ["would", "be", "watch", "group"]


def test_rules_that_are_not_valid_are_a_sentence_that_names_their_file(desk: Desk, tmp_path: Path) -> None:
    desk.good("db", "init")
    file = tmp_path / "broken.toml"
    file.write_text("nonsense = 1\n")
    assert "broken.toml" in desk.wrong("check", "rules", str(file), code=1)
    assert "there is no such file" in desk.wrong("check", "rules", "nowhere.toml", code=1)
    assert "Missing argument" in desk.wrong("check", "rules")


def test_a_watch_of_another_site_is_refused_until_it_is_adopted(desk: Desk) -> None:
    desk.good("db", "init")
    one_pass(desk)
    desk.execute("UPDATE watches SET site = 'south'")
    for command in (("check", "config"), ("run", "--no-ui"), ("run", "--once")):
        answer = desk(*command)
        assert answer.code == 1
        assert "watch incoming belongs to site south, and this is site " in answer.err
    assert "problem: watch incoming belongs to site south" in desk("status").out

    assert desk.good("watch", "adopt", "incoming").endswith("now, and was site south's before\n")

    one_pass(desk)
    desk.good("check", "config")
