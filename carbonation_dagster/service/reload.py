"""SIGHUP, or the UI: configuration, rules and plugin are read again; what changed, or is wrong, is said."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from carbonation_core.config.loading import Config
from carbonation_core.config.sections import Archive, Watch
from carbonation_core.config.toml import Section, is_array, shown
from carbonation_core.errors import CarbonationError
from carbonation_core.pipeline.claim import recall
from carbonation_core.project import Project, open_project, rules_in_force
from carbonation_core.text import counted, format_duration
from carbonation_dagster.service.processes import Process

CHECK_TIMEOUT = 60.0  # seconds
LONGEST_WAIT = 10.0  # seconds, for runs that have begun before the change; what comes waits as long
STEP = 0.2  # seconds between two looks at them
CHECK = "import sys; from carbonation_dagster.cli import main; main(['-c', sys.argv[1], 'check', 'config'])"


@dataclass(frozen=True)
class Reread:
    """What came of it, in sentences. `project` is None when it is refused; then all stays as it was.

    `successor` is a code server that has loaded what holds now.
    """

    sentences: tuple[str, ...]
    project: Project | None = None
    config_changed: bool = False
    successor: Process | None = None


class Rereading:
    """Reads again in a thread of its own, as long as that takes; `result` is None until then.

    `apply` gets the project as it was, and as it is with a valid configuration; it puts that
    into effect, and returns a successor for the code server, if it needs one. `by_ui` says
    who asked for it.
    """

    def __init__(
        self,
        before: Project,
        apply: Callable[[Project, Project], Process | None],
        by_ui: bool = False,
    ) -> None:
        self.by_ui = by_ui
        self.result: Reread | None = None
        self._before, self._apply = before, apply
        threading.Thread(target=self._work, daemon=True, name="rereading").start()

    def _work(self) -> None:
        try:
            self.result = self._read()
        except CarbonationError as error:
            self.result = Reread((f"refused, so that all stays as it was: {error}",))
        except Exception as error:  # noqa: BLE001  # a service must live through its reload
            self.result = Reread((f"broke off: {type(error).__name__}: {error}",))

    def _read(self) -> Reread:
        path = self._before.config.path
        _require_valid(path)
        project = open_project(path)
        sentences = changes(self._before.config, project.config)
        rules = rules_in_force(project)
        successor = self._apply(self._before, project)
        return Reread(
            (
                *(sentences or ["config.toml is as it was"]),
                *_recalled(project),
                f"rules {rules.digest[:12]} are in force",
            ),
            project,
            bool(sentences),
            successor,
        )


def _recalled(project: Project) -> Iterator[str]:
    """Let nothing begin by an earlier configuration, and wait a while for what has begun by it.

    The new one holds by now, whatever comes of this.
    """
    end = time.monotonic() + LONGEST_WAIT
    try:
        while number := recall(project):
            if time.monotonic() > end:
                yield f"{counted(number, 'run')} that had begun before end by the earlier configuration"
                return
            time.sleep(STEP)
    except Exception as error:  # noqa: BLE001  # as the database has gone
        yield (
            "what was offered by the earlier configuration could not be taken back, and each run gives "
            f"back its own: {type(error).__name__}: {error}"
        )


def changes(before: Config, now: Config) -> list[str]:
    """A sentence for each key that differs; of secrets only that they do."""
    found: list[str] = []
    for table, field in Config.model_fields.items():
        old, new = getattr(before, table), getattr(now, table)
        found += _of_several(table, old, new) if is_array(field.annotation) else _of(f"[{table}]", old, new)
    return sorted(found)


def _of_several(
    kind: str, before: Sequence[Watch | Archive], now: Sequence[Watch | Archive]
) -> Iterator[str]:
    old, new = ({one.name: one for one in several} for several in (before, now))
    yield from (f'{kind} "{name}" is new' for name in new.keys() - old.keys())
    yield from (f'{kind} "{name}" is configured no more' for name in old.keys() - new.keys())
    for name in old.keys() & new.keys():
        yield from _of(f'[[{kind}]] "{name}"', old[name], new[name])


def _of(table: str, before: Section, now: Section) -> Iterator[str]:
    for key in type(now).model_fields:
        old, new = getattr(before, key), getattr(now, key)
        if old == new:
            continue
        is_secret = key in now.secret_keys()
        yield f"{table} {key}" + (" is another one" if is_secret else f": {_shown(old)}, now {_shown(new)}")


def _shown(value: object) -> str:
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, tuple):
        return shown(value)
    return "none" if value is None else str(value)


def _require_valid(path: Path) -> None:
    """Raise `CarbonationError` with the faults of configuration, rules and plugin.

    Another process looks, as this one has the plugin of its own start in memory.
    """
    done = subprocess.run(  # noqa: S603  # our own words
        [sys.executable, "-P", "-c", CHECK, str(path)],
        capture_output=True,
        text=True,
        timeout=CHECK_TIMEOUT,
        check=False,
    )
    if done.returncode != 0:
        raise CarbonationError(done.stderr.strip().removeprefix("Error: ") or f"exit {done.returncode}")
