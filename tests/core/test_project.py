"""What an opened project says of this process."""

import importlib.metadata

import pytest

from carbonation_core.project import installed_release, release
from tests import databases
from tests.site import SINGLE, SiteMaker

pytestmark = databases.one


def test_a_process_is_of_the_release_that_it_loaded_whatever_is_installed_later(
    make: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make(SINGLE)
    loaded = release()
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9")
    assert (release(), installed_release()) == (loaded, "9.9")
    assert site.project.fingerprint.release == loaded


def test_in_the_middle_of_an_upgrade_nobody_knows_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", gone)
    assert installed_release() is None
