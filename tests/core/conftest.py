"""What every test of the core starts from: no configuration of the machine it runs on."""

import os
from pathlib import Path

import pytest


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
