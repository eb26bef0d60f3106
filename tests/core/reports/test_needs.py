"""What needs somebody, of a project with a failed check, a plugin that raises and a group that is late."""

from pathlib import Path

from carbonation_core.lifecycle import FileStatus
from carbonation_core.reports.status import status
from tests import databases
from tests.site import PAIRS, Site, SiteMaker

pytestmark = databases.one  # what is made of rows that other tests state

BROKEN = PAIRS + '[pairs.metadata]\nextract = "broken"\n'


def needs(site: Site) -> dict[str, tuple[str, str]]:
    return {Path(need.name).name: (need.status, need.command) for need in status(site.project).needs}


def test_what_failed_is_told_with_its_reason_and_the_command_that_goes_on(make: SiteMaker) -> None:
    site = make(BROKEN)
    site.deliver("run 1.dat", "run 1.json", content=b"broken")
    site.deliver("run2.dat", content=b"")
    site.deliver("run3.dat", "run3.json")
    site.one_pass()
    assert needs(site) == {
        "run2.dat": ("integrity_failed", "carbonation retry --watch-name incoming --status integrity_failed"),
        "run 1": (
            "retry_pending",
            "carbonation retry --watch-name incoming --group-key 'run 1'",
        ),
    }
    first, second = status(site.project).needs
    assert first.reason == "has 0 bytes, fewer than min_size = 1"
    assert "the file says it is broken" in second.reason
    assert second.until == site.component("run 1.dat").retry_at


def test_what_was_given_up_needs_a_plain_retry(make: SiteMaker) -> None:
    site = make(BROKEN, service={"max_retries": "0"})
    site.deliver("run1.dat", "run1.json", content=b"broken")
    site.one_pass()
    assert site.component("run1.dat").status == FileStatus.FAILED
    assert needs(site) == {"run1": ("failed", "carbonation retry --watch-name incoming --group-key run1")}


def test_who_waits_too_long_is_told_of_once(make: SiteMaker) -> None:
    site = make(BROKEN)
    site.deliver("run1.dat")
    site.one_pass()
    assert needs(site) == {}
    site.tick(2 * 86_400)
    assert needs(site) == {"run1": ("waiting", "carbonation explain run1 --watch-name incoming")}
