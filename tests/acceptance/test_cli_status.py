"""`carbonation status`: healthy, or what is wrong."""

import json
import shutil

from tests import databases
from tests.acceptance._helpers.command import TOGETHER, Desk, deliver, one_pass

pytestmark = [TOGETHER, databases.one]  # arguments and sentences

LONG_AGO = "'2026-01-01 00:00:00.000000'"  # UTC, as it is everywhere


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


def test_an_archive_that_another_host_sees_is_shown_as_such(desk: Desk) -> None:
    config = desk.directory / "config.toml"
    config.write_text(config.read_text().replace("[[archive]]", '[[archive]]\nhosts = ["two"]', 1))
    desk.good("db", "init")
    (row,) = [line for line in desk("status").out.splitlines() if 'seen from "two"' in line]
    assert "%" not in row


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
