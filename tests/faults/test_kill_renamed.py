"""SIGKILL while a renamed directory takes over its copies, then a restart."""

import pytest

from tests import databases
from tests.faults._helpers.dying import pass_that_dies, recover
from tests.site import SiteMaker

pytestmark = databases.one  # what is done again

CONTENT = {"run1.dat": b"the data", "run1.json": b"{}"}
MOMENTS = [
    *(("copy", step, when) for step in ("plan", "record", "clean up") for when in ("before", "after")),
    *(("hardlink", step, "after") for step in ("plan", "publish", "record")),
    *(("symlink", step, "after") for step in ("write", "publish", "sync directories", "record", "release")),
]


@pytest.mark.parametrize(("action", "step", "when"), MOMENTS)
def test_a_killed_pass_over_a_renamed_directory_is_finished_by_the_next(
    make: SiteMaker, action: str, step: str, when: str
) -> None:
    site = make(watch={"recursive": "true"}, archive={"action": f'"{action}"'})
    for name, content in CONTENT.items():
        site.deliver(f"in/{name}", content=content)
    site.one_pass()
    (site.incoming / "in").rename(site.incoming / "done")

    assert pass_that_dies(site, step, when, 1)
    recover(site)
    site.tick_clock(3600)
    site.one_pass()

    assert site.archived() == CONTENT
    assert site.statuses() == {
        **{f"in/{name}": "cleared" for name in CONTENT},
        **{f"done/{name}": "archived" for name in CONTENT},
    }
    assert site.feed() == [("in/run1", "completed"), ("in/run1", "retracted"), ("done/run1", "completed")]
    of_new = {site.component(f"done/{name}").id for name in CONTENT}
    assert {copy.component_id for copy in site.copies() if copy.path_key} == of_new
