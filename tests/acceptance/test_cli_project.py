"""`init`, `check config`, `db`, `status`, `retry` and `reconcile delivery`."""

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
from tests.core._helpers.earlier import in_sqlite

pytestmark = [TOGETHER, databases.one]  # arguments and sentences

LONG_AGO = "'2026-01-01 00:00:00.000000'"  # UTC, as it is everywhere
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
def test_db_import_lists_what_is_not_as_it_was(desk: Desk) -> None:
    desk.good("db", "init")
    earlier = in_sqlite(desk.directory / "old.db", desk.directory / "incoming", desk.directory / "archive")
    earlier.pair("run1")
    earlier.file("run2.txt", earlier.group("run2"), "failed", error_message="no space")
    earlier.file("young.txt", status="detected")
    earlier.engine.dispose()
    (desk.directory / "old.toml").write_text('[database]\nname = "old.db"\n')
    notes = (
        'columns that no column of the plugin is for are not imported: "category", "size"\n'
        f'group "run2" of watch incoming is not complete here: {desk.directory}/incoming/run2.txt: no space\n'
    )
    young = "files in delivery that the first look judges as new: 1\n"
    trial = desk.good("db", "import", "old.toml", "--dry-run")
    assert trial == f"{notes}would be imported: 2 groups, 3 files\n{young}"
    done = desk.good("db", "import", "old.toml")
    assert done == f"{notes}imported: 2 groups, 3 files\nentries of the feed: 1\n{young}"
    again = desk.good("db", "import", "old.toml")
    assert (
        "imported: 0 groups, 0 files\nentries of the feed: 0\nthere already, groups and files: 5\n" in again
    )
    assert "is one of this release" in desk("db", "import", "config.toml").err
    (desk.directory / "old.toml").write_text('[database]\nname = "nowhere.db"\n')
    assert "nowhere.db cannot be reached" in desk("db", "import", "old.toml").err
    assert not (desk.directory / "nowhere.db").exists()


@databases.each
def test_db_copy_prints_the_lines_with_which_the_service_goes_on(desk: Desk) -> None:
    desk.good("db", "init")
    deliver(desk, "run1", "lidar", 1)
    one_pass(desk)
    before = desk.good("query", "files", "--format", "json")
    (desk.directory / "other").mkdir()
    url = databases.as_url(databases.fresh(desk.directory / "other"))
    summary, _, after = desk.good("db", "copy", "--to", url).partition("\nThe service goes on there")
    assert {"rows    files 1", "rows    feed 1"} <= set(summary.splitlines())
    assert "compared: as many rows in each table, and the feed is the same" in summary
    config = desk.directory / "config.toml"
    lines = after[after.index("[database]") : after.index("\nThen: ")]
    of_tables = config.read_text()
    config.write_text(f"{lines}\n{of_tables[of_tables.index('[plugins]') :]}")
    assert desk.good("db", "status").startswith(f"database {url}")
    assert desk.good("query", "files", "--format", "json") == before
    deliver(desk, "run2", "lidar", 2)
    one_pass(desk)
    assert len(json.loads(desk.good("query", "files", "--format", "json"))) == 2
    assert "is the one that config.toml names" in desk.wrong("db", "copy", "--to", url, code=1)


def test_db_status_says_what_is_pending(desk: Desk) -> None:
    answer = desk("db", "status")
    assert answer.code == 1
    assert "run: carbonation db init" in answer.err
    assert "run: carbonation db init" in desk.wrong("db", "upgrade", code=1)
    assert not (desk.directory / "carbonation.db").exists()
    desk.good("db", "init")
    told = desk.good("db", "status").splitlines()[1:]
    *of_core, of_plugin = [line for line in told if not line.startswith("rows ")]
    assert all(line.startswith("applied core_") for line in of_core)
    assert of_plugin == "applied my_plugin_0001"
    assert {"rows    files 0", "rows    file_components 0"} <= set(told)
    desk.execute("DELETE FROM carbonation_version WHERE version_num = 'my_plugin_0001'")
    answer = desk("db", "status")
    assert (answer.code, "pending my_plugin_0001" in answer.out) == (1, True)
    assert "run: carbonation db upgrade" in desk.wrong("db", "init", code=1)
    assert "run: carbonation db upgrade" in desk.wrong("status", code=1)


@databases.each
def test_db_status_says_where_tables_differ(desk: Desk) -> None:
    desk.good("db", "init")
    desk.execute("ALTER TABLE files ADD COLUMN stray INTEGER")
    answer = desk("db", "status")
    assert (answer.code, "stray" in answer.out) == (1, True)
    said = 'the tables differ: column "stray" in "files" belongs to no model; see: carbonation db status'
    assert said in desk.good("check", "config")


@databases.each
def test_a_model_that_has_changed_without_a_revision_says_what_to_run(desk: Desk) -> None:
    desk.good("db", "init")
    model = desk.directory / "my_plugin" / "model.py"
    column = "\n    instrument: "
    model.write_text(model.read_text().replace(column, f"\n    colour: Mapped[str | None]{column}", 1))
    said = (
        'column "colour" of the plugin is missing in "files"; run: carbonation db revision '
        '--autogenerate -m "what is new", and then: carbonation db upgrade'
    )
    for command in (("query", "files"), ("run", "--once"), ("db", "init")):
        assert said in desk.wrong(*command, code=1)
    assert said in desk.good("check", "config")
    answer = desk("db", "status")
    assert (answer.code, answer.err) == (1, f"Run{said.partition('; run')[2]}\n")
    assert 'differs column "colour" of the plugin is missing in "files"' in answer.out
    desk.good("db", "revision", "--autogenerate", "-m", "what is new")
    assert desk.good("db", "upgrade") == "applied my_plugin_0002\n"
    assert "colour" in desk.good("query", "files")


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


@databases.each
def test_status_before_the_first_start(desk: Desk) -> None:
    assert "not initialised; run: carbonation db init" in desk.wrong("status", code=1)
    told = json.loads(desk("status", "--json").out)
    assert (told["healthy"], len(told["problems"])) == (False, 2)
    assert told["problems"][1].startswith("no service runs here; start it: carbonation run")
    assert not (desk.directory / "carbonation.db").exists()
    desk.good("db", "init")
    answer = desk("status")
    assert answer.code == 1
    assert "problem: the service has never run" in answer.out
    assert "rules in force: none yet" in answer.out


@databases.each
def test_status_is_healthy_after_a_look(desk: Desk) -> None:
    desk.good("db", "init")
    deliver(desk, "run1", "lidar", 1)
    (desk.directory / "incoming" / "run2.dat").write_bytes(b"alone")
    one_pass(desk)
    text = desk.good("status")
    assert text.startswith("healthy\n")
    assert "oldest incomplete group: run2 of watch incoming" in text
    assert "1 waiting, waits until" in text
    told = json.loads(desk.good("status", "--json"))
    assert told["healthy"] is True
    assert told["components"]["archived"] == {"1h": 2, "4h": 2, "1d": 2, "7d": 2, "30d": 2, "all": 2}
    assert told["totals"]["complete_groups"] == 1
    assert told["watches"][0]["error"] is None
    assert told["parts"][0]["age"] < 60
    assert told["rules"]["accepted"] is True


def test_status_says_what_is_wrong(desk: Desk) -> None:
    desk.good("db", "init")
    one_pass(desk)
    desk.execute(f"UPDATE service_state SET started_at = {LONG_AGO}, last_heartbeat = {LONG_AGO}")
    assert "warning: no service is running; start it: carbonation run" in desk.good("status")
    desk.execute(
        "INSERT INTO service_state (site, host, part, started_at, last_heartbeat, details) "
        f"VALUES ('', '', 'service', {LONG_AGO}, {LONG_AGO}, :details)",
        details=json.dumps({"running": True, "pid": 7, "host": "there"}),
    )
    answer = desk("status")
    assert answer.code == 1
    assert "problem: the service (pid 7 on there): no heartbeat for" in answer.out
    assert "problem: watch incoming: was not looked at for" in answer.out
    shutil.rmtree(desk.directory / "incoming")
    assert desk("reconcile", "delivery").code == 1
    answer = desk("status")
    assert answer.code == 1
    assert "problem: watch incoming: " in answer.out
    assert "incoming" in answer.out


def test_status_tells_of_refused_rules(desk: Desk) -> None:
    desk.good("db", "init")
    one_pass(desk)
    with (desk.directory / "rules.toml").open("a") as rules:
        rules.write("[instrument.nonsense]\n")
    desk("reconcile", "delivery")
    answer = desk("status")
    assert answer.code == 1
    assert "rules.toml was refused, earlier rules stay in force" in answer.out
    told = json.loads(desk("status", "--json").out)
    assert "nonsense" in told["refused_rules"]["reason"]


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
