"""What a question must not wait for."""

import subprocess
import sys

from tests import databases
from tests.dagster._helpers.running import make_project
from tests.site import SiteMaker

pytestmark = databases.one

QUESTIONS = """
import sys
from click.testing import CliRunner
from carbonation_dagster.cli import main
for words in (["status"], ["query", "files"], ["explain", "a.dat"]):
    done = CliRunner().invoke(main, ["-c", sys.argv[1], *words])
    assert "Traceback" not in done.output and "schema" not in done.output, done.output
    found = {"alembic", "mako", "dagster", "grpc"} & set(sys.modules)
    assert not found, (words, found)
"""


def test_questions_to_a_current_database_import_neither_alembic_nor_dagster(make: SiteMaker) -> None:
    site = make_project(make)
    site.project.engine.dispose()
    subprocess.run([sys.executable, "-c", QUESTIONS, site.directory / "config.toml"], check=True)
