"""A fixture for the tests of a plugin.

In the topmost conftest.py: `pytest_plugins = ["carbonation_core.pytest_plugin"]`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from carbonation_core.plugin import Plugin
from carbonation_core.testing import Preview, try_delivery


@pytest.fixture
def deliver(tmp_path: Path) -> Callable[..., list[Preview]]:
    """`deliver(plugin, rules, {"run1.dat": b"data", "run1.json": "{}"})`: what would become of such files.

    They are written into a directory of the test. Whatever else `try_delivery` takes can be given, too.
    """

    def of(
        plugin: Plugin, rules: str | Path, files: Mapping[str, str | bytes], **options: Any
    ) -> list[Preview]:
        directory = tmp_path / "delivery"
        for name, content in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return try_delivery(plugin, rules, [directory], **options)

    return of
