"""What every test of the core starts from: no configuration of the machine it runs on."""

import os
from pathlib import Path

import pytest

from tests.core._helpers.reconciling import QUICK
from tests.site import Site, SiteMaker


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An empty user's config directory; no `CARBONATION_` variable is set."""
    for variable in [name for name in os.environ if name.startswith("CARBONATION_")]:
        monkeypatch.delenv(variable)
    directory = tmp_path_factory.mktemp("user-config")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(directory))
    return directory


@pytest.fixture
def full(make: SiteMaker) -> Site:
    """Two archived pairs."""
    site = make(watch=QUICK)
    site.deliver("run1.dat", "run1.json", "run2.dat", "run2.json")
    site.one_pass()
    return site


@pytest.fixture
def routed(make: SiteMaker) -> Site:
    """Files in directories by their first line."""
    site = make(
        '[single.metadata]\nextract = "sizes"\n',
        archive={"destination": '"archive/{category}"'},
        watch=QUICK,
    )
    for name in ("a", "b", "A"):
        site.deliver(f"{name}.dat", content=name.encode())
    site.one_pass()
    assert sorted(site.archived()) == ["A/A.dat", "a/a.dat", "b/b.dat"]
    return site
