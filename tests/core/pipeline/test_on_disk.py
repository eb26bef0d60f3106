"""The tests work in memory, where syncing costs nothing; what a disk may do otherwise is tried here."""

from pathlib import Path

import pytest

from tests import databases
from tests.site import PAIRS, make_site, touch

pytestmark = databases.one  # what a disk does


@pytest.mark.parametrize("durability", ["batch", "file"])
@pytest.mark.parametrize("action", ["copy", "move", "hardlink"])
def test_a_pair_and_its_redelivery_are_archived(on_disk: Path, action: str, durability: str) -> None:
    options = {"action": f'"{action}"', "durability": f'"{durability}"', "verify": '"read"'}
    site = make_site(on_disk, PAIRS, archive=options)
    site.deliver("run1.dat", "run1.json", content=b"first")
    site.one_pass()
    assert site.archived() == {"run1.dat": b"first", "run1.json": b"first"}

    if action == "hardlink":
        (site.incoming / "run1.dat").unlink()  # whoever writes into it writes into the archive
    touch(site.incoming / "run1.dat", b"second")
    site.one_pass()
    assert site.archived() == {"run1.dat": b"second", "run1.json": b"first"}
    assert site.feed() == [("run1", "completed"), ("run1", "replaced")]
    assert len(site.delivered()) == (0 if action == "move" else 2)
    site.close()
