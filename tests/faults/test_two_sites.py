"""Two sites: two services with watches of their own, and one database, archive and feed; one dies."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance._helpers.command import Desk, deliver
from tests.faults._helpers.cluster import another, new_desk_on, said, service, started_cluster, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(300)]

FEED = """
from carbonation_core import connect

with connect("config.toml") as database:
    rows, cursor = database.get_new_files()
    again, _ = database.get_new_files(cursor)
print(*(f"{row['watch_name']}/{row['group_key']}" for row in (*rows, *again)))
"""
GROUPS = 3


def new_site(desk: Desk, directory: Path, name: str) -> Desk:
    """Another site that feeds the archive of a desk's, from a watch of its own."""
    made = another(desk, directory)
    (directory / "incoming").mkdir()
    config = directory / "config.toml"
    text = config.read_text(encoding="utf-8")
    for before, after in {
        'site = "north"': f'site = "{name}"',
        'name = "incoming"': f'name = "{name}"',
        f'path = "{desk.directory}/incoming"': 'path = "incoming"',
    }.items():
        assert before in text
        text = text.replace(before, after)
    config.write_text(text, encoding="utf-8")
    return made


def feed(desk: Desk) -> list[str]:
    """Watch and key of all that a program which polls gets there, in order."""
    answer = desk.script(FEED)
    assert (answer.code, answer.err) == (0, ""), answer
    return answer.out.split()


def test_two_sites_feed_one_archive_and_one_says_that_the_other_is_silent(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with ExitStack() as stack:
        north = new_desk_on(stack.enter_context(started_cluster()), tmp_path / "one", site="north")
        south = new_site(north, tmp_path / "two", "south")
        of_north = stack.enter_context(service(north))
        of_south = stack.enter_context(service(south))
        for number in range(1, GROUPS + 1):
            deliver(north, f"of_north{number}", "lidar", number)
            deliver(south, f"of_south{number}", "lidar", number)
        both = {
            f"{watch}/of_{site}{number}"
            for watch, site in (("incoming", "north"), ("south", "south"))
            for number in range(1, GROUPS + 1)
        }
        wait_for(north, lambda: len(feed(north)) >= len(both), 120)
        entries = feed(north)
        assert (len(entries), set(entries)) == (len(both), both)
        assert feed(south) == entries
        lying = {path.name for path in (north.directory / "archive").rglob("*.dat")}
        assert lying == {f"{entry.rpartition('/')[2]}.dat" for entry in both}
        for desk in (north, south):
            wait_for(desk, lambda desk=desk: desk("status").code == 0, 60)

        of_south.kill()
        wait_for(north, lambda: "problem: site south (host " in north("status").out, 120)
        answer = north("status")
        assert answer.code == 1
        (problem,) = (line for line in answer.out.splitlines() if line.startswith("problem: "))
        assert problem.endswith("; it has watch south")
        deliver(north, "later", "lidar", 9)
        wait_for(north, lambda: "incoming/later" in feed(north), 60)
        of_north.terminate()
        assert of_north.wait(30) == 0, said(north)
