"""`init`, `check config`, `db`, `status`, `retry` and `reconcile delivery`."""

import json
import os
import sqlite3
from pathlib import Path

import pytest

from carbonation_core.retry import RETRIABLE
from carbonation_dagster.cli.retry import STATUSES
from tests.acceptance.command import Desk, deliver, new_desk, one_pass

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


def test_a_new_project_is_valid_and_makes_its_database_once(desk: Desk) -> None:
    assert "not initialised" in desk.good("check", "config")
    assert desk.good("db", "init").endswith("carbonation.db is initialised\n")
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
    (desk.directory / "incoming").rmdir()
    config = desk.directory / "config.toml"
    config.write_text(config.read_text().replace('action = "copy"', 'action = "hardlink"'))
    answer = desk("check", "config")
    assert answer.code == 0
    assert "keeps no bytes of its own" in answer.out
    assert "there is no directory" in answer.out
    assert answer.out.rstrip().endswith("with 3 warnings")


def test_check_config_names_faulty_rules(desk: Desk) -> None:
    rules = desk.directory / "rules.toml"
    rules.write_text(rules.read_text().replace('extract = "sidecar"', 'extract = "sidcar"'))
    assert "sidecar" in desk.wrong("check", "config", code=1)


def test_check_config_counts_what_belongs_to_no_watch_any_more(archive: Desk, tmp_path: Path) -> None:
    text = (archive.directory / "config.toml").read_text()
    renamed = archive.directory / "renamed.toml"
    renamed.write_text(text.replace('name = "incoming"', 'name = "renamed"'))
    found = archive.good("-c", str(renamed), "check", "config")
    assert '4 groups in the database belong to watch "incoming", which is configured no more' in found
    renamed.unlink()


def test_db_status_says_what_is_pending(desk: Desk) -> None:
    answer = desk("db", "status")
    assert answer.code == 1
    assert "run: carbonation db init" in answer.err
    assert not (desk.directory / "carbonation.db").exists()
    desk.good("db", "init")
    assert desk.good("db", "status").splitlines()[1:] == ["applied core_0001", "applied my_plugin_0001"]
    with sqlite3.connect(desk.directory / "carbonation.db") as connection:
        connection.execute("UPDATE carbonation_version SET version_num = 'core_0001'")
    connection.close()
    answer = desk("db", "status")
    assert (answer.code, "pending my_plugin_0001" in answer.out) == (1, True)
    assert "run: carbonation db upgrade" in desk.wrong("db", "init", code=1)
    assert "run: carbonation db upgrade" in desk.wrong("status", code=1)


def test_db_status_says_where_tables_differ(desk: Desk) -> None:
    desk.good("db", "init")
    with sqlite3.connect(desk.directory / "carbonation.db") as connection:
        connection.execute("ALTER TABLE files ADD COLUMN stray INTEGER")
    connection.close()
    answer = desk("db", "status")
    assert (answer.code, "stray" in answer.out) == (1, True)


def test_status_before_the_first_start(desk: Desk) -> None:
    assert "not initialised; run: carbonation db init" in desk.wrong("status", code=1)
    told = json.loads(desk("status", "--json").out)
    assert (told["healthy"], len(told["problems"])) == (False, 1)
    assert not (desk.directory / "carbonation.db").exists()
    desk.good("db", "init")
    answer = desk("status")
    assert answer.code == 1
    assert "problem: the service has never run" in answer.out
    assert "rules in force: none yet" in answer.out


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
    with sqlite3.connect(desk.directory / "carbonation.db") as connection:
        old = "'2026-01-01 00:00:00.000000'"
        connection.execute(f"UPDATE service_state SET started_at = {old}, last_heartbeat = {old}")
    connection.close()
    assert "warning: no service is running; start it: carbonation run" in desk.good("status")
    with sqlite3.connect(desk.directory / "carbonation.db") as connection:
        connection.execute(
            "INSERT INTO service_state SELECT 'service', started_at, last_heartbeat, ? FROM service_state",
            [json.dumps({"running": True, "pid": 7, "host": "there"})],
        )
    connection.close()
    answer = desk("status")
    assert answer.code == 1
    assert "problem: the service (pid 7 on there): no heartbeat for" in answer.out
    assert "problem: watch incoming: was not looked at for" in answer.out
    (desk.directory / "incoming").rmdir()
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
    assert desk.good("retry") == "nothing to try again: no such component in delivery is failed\n"
    told = desk.good("retry", "--status", "integrity_failed")
    assert told == "1 component will be tried again, from the next look on\n"
    assert desk.good("retry", "--status", "integrity_failed").startswith("nothing to try again")
    told = desk.good("retry", "--watch-name", "incoming", "--group-key", "run1")
    assert told.startswith("nothing to try again")


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


def test_retry_offers_the_statuses_that_can_be_retried() -> None:
    assert STATUSES == RETRIABLE
