"""Archives of two sites on one database: what lies at one path is one place for both."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from carbonation_core.db.engine import reading
from carbonation_core.db.models import FileComponent
from carbonation_core.delivery.observe import observe
from carbonation_core.pipeline.claim import claim
from tests.site import SINGLE, Site, SiteMaker


@pytest.fixture
def north(make: SiteMaker) -> Site:
    """A site that has archived "a"."""
    site = make(SINGLE, service={"site": '"north"'})
    site.deliver("a")
    site.one_pass()
    return site


@pytest.fixture
def south(north: Site, tmp_path: Path) -> Site:
    """Another one with a watch of its own, and with an archive of the same path."""
    config = north.project.config
    watch = config.watch[0].model_copy(update={"name": "other", "path": tmp_path / "other"})
    service = config.service.model_copy(update={"site": "south"})
    config = config.model_copy(update={"watch": (watch,), "service": service})
    watch.path.mkdir()
    site = Site(tmp_path, north.project, north.now)
    site.project = replace(north.project, config=config, clock=lambda: site.now)
    return site


def reason(site: Site, name: str, content: bytes = b"of south") -> str:
    """What is said of a file that one pass does not archive."""
    (site.directory / "other" / name).write_bytes(content)
    for seconds in (0, 3):
        site.tick_clock(seconds)
        observe(site.project, "other")
    for offer in claim(site.project, "other", "south"):
        site.run(offer)
    query = select(FileComponent.error_message).where(FileComponent.watch_name == "other")
    with reading(site.project.engine) as connection:
        return str(connection.execute(query.where(FileComponent.filename == name)).scalar_one())


def test_a_name_that_another_sites_file_has_is_said_to_be_so(south: Site) -> None:
    assert reason(south, "a").endswith(
        'archive/a" is taken by another delivered file, of site north (has that another disk at this path? '
        'then this archive needs another path); on_conflict = "error"'
    )


def test_an_empty_archive_of_which_only_another_site_had_files_is_said_to_be_so(
    north: Site, south: Site
) -> None:
    north.archive.rename(north.directory / "disk-of-north")
    north.archive.mkdir()
    assert reason(south, "b").endswith(
        "held files and is gone or empty; is it mounted? These were all of other sites: if they have another "
        "disk at this path, this archive needs another path"
    )


def test_an_empty_archive_that_had_files_of_both_is_not_mounted(north: Site, south: Site) -> None:
    assert reason(south, "b") == "None"
    north.archive.rename(north.directory / "elsewhere")
    assert reason(south, "c").endswith("is it mounted?")
