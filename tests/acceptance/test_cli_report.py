"""`carbonation report`."""

from tests import databases
from tests.acceptance._helpers.command import TOGETHER, Desk

pytestmark = [TOGETHER, databases.one]  # arguments and a file


def test_a_report_is_a_page_of_one_file(desk: Desk) -> None:
    desk.good("db", "init")
    assert desk.good("report", "--html", "r.html", "--since", "7d") == "written: r.html\n"
    page = (desk.directory / "r.html").read_text(encoding="utf-8")
    assert "<h2>incoming</h2>" in page
    assert "Nothing was delivered." in page
    assert desk.good("report", "--html", "-").startswith("<!doctype html>")
    assert 'there is no watch "x"; known: "incoming"' in desk.wrong(
        "report", "--html", "-", "--watch-name", "x"
    )
    refused = desk("report", "--html", "nowhere/r.html")
    assert refused.err == "Error: nowhere/r.html cannot be written: No such file or directory\n"
    assert refused.code == 1
