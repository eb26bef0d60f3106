"""What tests of several packages share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.site import Site, SiteMaker, make_site


@pytest.fixture
def make(tmp_path: Path) -> Iterator[SiteMaker]:
    """Makes projects in the test's own directory; see `tests.site.make_site`."""
    made: list[Site] = []

    def maker(*arguments: object, **options: object) -> Site:
        made.append(make_site(tmp_path, *arguments, **options))  # type: ignore[arg-type]
        return made[-1]

    yield maker
    for site in made:
        site.project.engine.dispose()


@pytest.fixture
def site(make: SiteMaker) -> Site:
    """A watch of pairs of .dat and .json, archived flat by copying."""
    return make()
