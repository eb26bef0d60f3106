"""`carbonation explain`."""

import json
import re

import pytest

from tests import databases
from tests.acceptance._helpers.command import TOGETHER, Desk, deliver, one_pass

pytestmark = [TOGETHER, databases.one]  # arguments and sentences


@pytest.mark.parametrize("what", ["run1", "incoming/run1.dat", "run1.json"])
def test_the_story_of_an_archived_group(archive: Desk, what: str) -> None:
    told = archive.good("explain", what)
    lines = [line.strip() for line in told.splitlines()]
    assert lines[0] == "group run1 of watch incoming"
    assert lines[1].startswith("is complete since 20")
    assert f"{archive.directory}/archive/lidar/2026/01/01/run1.dat" in told
    assert any(
        re.search("run run-1 on [^ ]+: archived: ", line) and "routing number 1: " in line for line in lines
    )
    assert any("in the feed as number " in line and line.endswith(": completed") for line in lines)
    assert any("run1.json  detected → waiting, grouped" in line for line in lines)


def test_an_archived_path_leads_to_its_group(archive: Desk) -> None:
    path = next((archive.directory / "archive").rglob("run3.dat"))
    assert archive.good("explain", str(path)).startswith("group run3 of watch incoming\n")


@databases.each
def test_the_story_is_valid_json(archive: Desk) -> None:
    told = json.loads(archive.good("explain", "run1", "--json"))
    assert (told["known"], told["groups"][0]["complete"]) == (True, True)
    assert told["groups"][0]["files"][0]["copies"][0]["superseded_at"] is None
    answer = archive("explain", "nothing", "--json")
    assert answer.code == 1
    assert json.loads(answer.out)["known"] is False


def test_what_a_group_waits_for_and_until_when(desk: Desk) -> None:
    desk.good("db", "init")
    deliver(desk, "run1", "lidar", 1)
    (desk.directory / "incoming" / "run1.json").write_bytes(b"")
    one_pass(desk)
    told = desk.good("explain", "run1")
    assert "waits for .json until 20" in told
    assert "run1.json failed a check: it has 0 bytes, fewer than min_size = 1" in told


def test_of_what_nobody_has_seen_the_watches_say_whether_they_would_take_it(desk: Desk) -> None:
    desk.good("db", "init")
    (desk.directory / "incoming" / "new.dat").touch()
    (desk.directory / "incoming" / "new.tmp").touch()
    answer = desk("explain", "incoming/new.dat")
    assert answer.code == 1
    assert answer.out.endswith('takes it, by rule set "instrument"; its next look will see it\n')
    assert answer.err == ('nothing is known of "incoming/new.dat": no watch has seen such a file or group\n')
    assert '"*.tmp" of ignore_patterns' in desk("explain", "new.tmp").out


def test_what_is_not_known_at_all_is_a_sentence(archive: Desk) -> None:
    assert 'nothing is known of "nothing"' in archive.wrong("explain", "nothing", code=1)
    assert "no watch looks there" in archive.wrong("explain", "/nowhere/a.dat", code=1)
    assert 'there is no watch "x"; known: incoming' in archive.wrong("explain", "run1", "--watch-name", "x")
