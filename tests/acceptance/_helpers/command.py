"""The command line as a person runs it, in a process of its own.

It is forked from one that has imported all of it before, which is most of what a
command costs. What a command imports by itself is tried where that matters.
"""

import json
import multiprocessing
import os
import pkgutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing import reduction
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

import carbonation_core
from carbonation_core.config.loading import load_config
from carbonation_core.db.engine import make_engine, make_file, writing
from carbonation_core.delivery.observe import observe
from carbonation_core.pipeline.claim import claim
from carbonation_core.pipeline.work import Stage, work
from carbonation_core.project import open_project
from carbonation_dagster import cli
from carbonation_dagster.cli.scaffold import scaffold
from tests import databases

ROOT = Path(__file__).parents[3]
TOGETHER = pytest.mark.xdist_group("commands")  # they share the process that is forked, and an archive
COMMAND = [
    *(sys.executable, "-W", "error", "-c"),
    "from carbonation_dagster.cli import main; main(prog_name='carbonation')",
]
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    [
        module.name
        for package in (carbonation_core, cli)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
)
SIDECAR = (
    '{{"instrument": "{0}", "start": "2026-01-0{1}T12:00:00", '
    '"stop": "2026-01-0{1}T13:00:00", "quality": 0.{1}}}'
)
# Several commands in one process, as most of the time of one goes into its imports.
SEVERAL = """
import contextlib, io, json, sys
from carbonation_dagster.cli import main
answers = []
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments, prog_name="carbonation")
        except SystemExit as end:
            answers.append((end.code, out.getvalue(), err.getvalue()))
print(json.dumps(answers))
"""


@dataclass(frozen=True)
class Answer:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str


def _begin(directory: Path, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    warnings.simplefilter("error")


def _command(arguments: Sequence[str]) -> None:
    cli.main(arguments, prog_name="carbonation")


def _script(text: str, arguments: Sequence[str]) -> None:
    sys.argv = ["script", *arguments]
    exec(compile(text, "script", "exec"), {"__name__": "__main__"})


def _heard(
    directory: Path, environment: dict[str, str], out: Any, err: Any, what: Callable[..., None], *rest: Any
) -> None:
    _begin(directory, environment)
    for stream, number in ((out, 1), (err, 2)):
        os.dup2(stream.detach(), number)
    what(*rest)


def _pass(directory: Path, environment: dict[str, str]) -> None:
    _begin(directory, environment)
    project = open_project()
    while observe(project, "incoming").unsettled:
        time.sleep(0.05)
    for offer in claim(project, "incoming", "here"):
        with work(project, offer.batch_id, "run-1") as job:
            for stage in Stage:
                job.advance(stage)
            job.finish()


@dataclass(frozen=True)
class Desk:
    """A directory in which commands are run."""

    directory: Path

    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CARBONATION_")}
        return {**clean, "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(self.directory / "nothing")}

    def __call__(self, *arguments: str) -> Answer:
        return self._answer(_command, arguments)

    def script(self, text: str, *arguments: str) -> Answer:
        """What a script in Python said."""
        return self._answer(_script, text, arguments)

    def _answer(self, what: Callable[..., None], *rest: Any) -> Answer:
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            streams = reduction.DupFd(out.fileno()), reduction.DupFd(err.fileno())
            process = _PROCESSES.Process(
                target=_heard, args=(self.directory, self.environment(), *streams, what, *rest)
            )
            process.start()
            process.join()
            said, complained = (stream.seek(0) or stream.read() for stream in (out, err))
        assert "Traceback" not in complained, complained
        assert process.exitcode is not None
        return Answer(process.exitcode, said, complained)

    def execute(self, statement: str, **values: object) -> None:
        """What somebody does to the database behind our back."""
        engine = make_engine(load_config(self.directory / "config.toml").database)
        make_file(engine)
        with writing(engine) as connection:
            connection.execute(text(statement), values)
        engine.dispose()

    def several(self, commands: Iterable[Sequence[str]]) -> list[Answer]:
        """What each command said, which must leave the process as it found it."""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", SEVERAL, json.dumps(list(map(list, commands)))],
            cwd=self.directory,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [Answer(*answer) for answer in json.loads(done.stdout)]

    def good(self, *arguments: str) -> str:
        """What a command printed that must end well, with nothing on standard error."""
        answer = self(*arguments)
        assert (answer.code, answer.err) == (0, ""), answer
        return answer.out

    def wrong(self, *arguments: str, code: int = 2) -> str:
        """What a command said that must end with that code, having printed nothing."""
        answer = self(*arguments)
        assert (answer.code, answer.out) == (code, ""), answer
        return answer.err


def new_desk(directory: Path) -> Desk:
    """A desk with a project as `carbonation init` writes it, which settles at once."""
    list(scaffold(directory))
    config = directory / "config.toml"
    written = config.read_text(encoding="utf-8").replace("[[archive]]", "settle_seconds = 0.1\n\n[[archive]]")
    database = databases.as_toml(databases.fresh(directory))
    config.write_text(f"{database}\n{written}", encoding="utf-8")
    return Desk(directory)


def deliver(desk: Desk, key: str, instrument: str, day: int) -> None:
    """A pair of files that the scaffolded rules take for a group."""
    (desk.directory / "incoming" / f"{key}.dat").write_bytes(b"data")
    sidecar = SIDECAR.format(instrument, day)
    (desk.directory / "incoming" / f"{key}.json").write_text(sidecar, encoding="utf-8")


def one_pass(desk: Desk) -> None:
    """Archive what was delivered: the same as `run --once`, without the seconds that Dagster takes."""
    process = _PROCESSES.Process(target=_pass, args=(desk.directory, desk.environment()))
    process.start()
    process.join()
    assert process.exitcode == 0


def archived(directory: Path) -> Desk:
    """A desk with four archived groups."""
    desk = new_desk(directory)
    desk.good("db", "init")
    deliver(desk, "run1", "lidar", 1)
    deliver(desk, "run2", "lidar", 2)
    deliver(desk, "run3", "radar", 3)
    deliver(desk, "umlaut-ä", 'a,\\"b', 4)
    one_pass(desk)
    return desk
