"""What a process has loaded, and whether that has changed on disk since."""

import os
import sys
import sysconfig
import time
import traceback
from collections.abc import Collection
from pathlib import Path

from carbonation_core.config.loading import ACCEPTED_VARIABLE, find_config, load_config
from carbonation_core.errors import CarbonationError
from carbonation_core.plugin import load_plugin

CLOCK_STEP = 20_000_000  # ns; by so much the time of a file may be behind the clock

_LIBRARIES = tuple({f"{sysconfig.get_path(name)}/" for name in ("stdlib", "purelib", "platlib")})

Stamp = tuple[int, int, int]  # size, time of content, time of change: a copy may keep the former two
Stamps = dict[str, Stamp]


def files_loaded(plugin_package: str, also: Collection[str] = ()) -> set[str]:
    """Each file that a run depends on: the configuration in force, and code.

    Of what is installed, that is this release and the plugin; of the rest, all
    that is not, as it may be edited.
    """
    found = {os.environ.get(ACCEPTED_VARIABLE) or str(find_config()), *also}
    installed = {"carbonation_core", "carbonation_dagster", plugin_package}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and (name.partition(".")[0] in installed or not file.startswith(_LIBRARIES)):
            found.add(file)
    return found


def stamps_of(files: Collection[str]) -> Stamps:
    """The stamp of each of them now."""
    return {file: stamp(file) for file in files}


def stamp(file: str) -> Stamp:
    """That of a file as it is now; zeros where there is none."""
    try:
        seen = Path(file).stat()
    except OSError:
        return 0, 0, 0
    return seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def unchanged(stamps: Stamps, began: int) -> Stamps:
    """Those of files that did not change since `began` (ns): of the others nobody knows what was loaded."""
    now = time.time_ns()  # a file of the future is one of a clock that was set back
    return {file: seen for file, seen in stamps.items() if not began - CLOCK_STEP <= seen[2] <= now}


def files_behind(error: BaseException | None) -> set[str]:
    """The files that a fault came from: what could not be imported is no module."""
    found: set[str] = set()
    while error is not None:
        found |= {frame.filename for frame in traceback.extract_tb(error.__traceback__)}
        if isinstance(error, SyntaxError) and error.filename:
            found.add(error.filename)
        error = error.__cause__ or error.__context__
    return found


def plugin_package() -> str:
    """The package that the plugin is of; empty where it cannot be loaded."""
    try:
        return load_plugin(load_config()).file_model.__module__.partition(".")[0]
    except CarbonationError:
        return ""
