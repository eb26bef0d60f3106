"""The command line as a person runs it, in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from carbonation_dagster.cli.scaffold import scaffold

ROOT = Path(__file__).parents[2]
COMMAND = [
    *(sys.executable, "-W", "error", "-c"),
    "from carbonation_dagster.cli import main; main(prog_name='carbonation')",
]
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


@dataclass(frozen=True)
class Desk:
    """A directory in which commands are run."""

    directory: Path

    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CARBONATION_")}
        return {**clean, "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(self.directory / "nothing")}

    def __call__(self, *arguments: str) -> Answer:
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.directory,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Answer(done.returncode, done.stdout, done.stderr)

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
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("[[archive]]", "settle_seconds = 0.1\n\n[[archive]]"), encoding="utf-8")
    return Desk(directory)


def deliver(desk: Desk, key: str, instrument: str, day: int) -> None:
    """A pair of files that the scaffolded rules take for a group."""
    (desk.directory / "incoming" / f"{key}.dat").write_bytes(b"data")
    sidecar = SIDECAR.format(instrument, day)
    (desk.directory / "incoming" / f"{key}.json").write_text(sidecar, encoding="utf-8")


# The same as `run --once`, without the seconds that Dagster takes to be imported.
PASS = """
import time
from carbonation_core.claim import claim
from carbonation_core.observe import observe
from carbonation_core.pipeline import Stage, work
from carbonation_core.project import open_project

project = open_project()
observe(project, "incoming")
time.sleep(0.15)
observe(project, "incoming")
for offer in claim(project, "incoming", "here"):
    with work(project, offer.batch_id, "run-1") as job:
        for stage in Stage:
            job.advance(stage)
        job.finish()
"""


def one_pass(desk: Desk) -> None:
    """Archive what was delivered."""
    subprocess.run(
        [sys.executable, "-c", PASS],
        cwd=desk.directory,
        env=desk.environment(),
        check=True,
        capture_output=True,
    )
