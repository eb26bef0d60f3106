"""Whether the tables are current, as it is told without Alembic: never yes where Alembic says no."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from carbonation_core.db.engine import writing
from carbonation_core.db.migrate import status, upgrade
from carbonation_core.db.schema import VERSION_TABLE, is_surely_current
from tests import databases
from tests.site import SiteMaker

pytestmark = databases.one

FIRST = """
revision = "mine_0001"
down_revision = None
branch_labels = ("mine",)
depends_on = "core"

def upgrade(): pass
"""
SECOND = """
revision: str = "mine_0002"
down_revision: str | None = "mine_0001"

def upgrade(): pass
"""


@pytest.fixture
def engine(make: SiteMaker) -> Engine:
    return make().project.engine


@pytest.fixture
def revisions(tmp_path: Path) -> Path:
    (tmp_path / "revisions").mkdir()
    (tmp_path / "revisions" / "mine_0001.py").write_text(FIRST)
    return tmp_path / "revisions"


def test_it_is_current_when_all_is_applied_and_not_while_anything_is_pending(
    engine: Engine, revisions: Path
) -> None:
    assert is_surely_current(engine, None)
    assert not is_surely_current(engine, revisions)
    upgrade(engine, revisions)
    assert is_surely_current(engine, revisions)

    (revisions / "mine_0002.py").write_text(SECOND)
    assert not is_surely_current(engine, revisions)
    upgrade(engine, revisions)
    assert is_surely_current(engine, revisions)
    assert status(engine, revisions).is_current


def test_what_a_newer_release_or_another_plugin_applied_is_not_current(
    engine: Engine, revisions: Path
) -> None:
    upgrade(engine, revisions)
    assert not is_surely_current(engine, None)


@pytest.mark.parametrize(
    "said",
    [
        FIRST.replace('"mine_0001"', '"mine_" + "0001"'),
        FIRST.replace("None", '"not_there"'),
        FIRST.replace('"core"', "7"),
        "nothing = 1\n",
        "no python",
    ],
    ids=["computed", "of nothing", "no name", "without a name", "not to be read"],
)
def test_revisions_that_say_no_plain_thing_are_left_to_alembic(
    engine: Engine, revisions: Path, said: str
) -> None:
    upgrade(engine, revisions)
    (revisions / "mine_0001.py").write_text(said)
    assert not is_surely_current(engine, revisions)


def test_an_empty_database_and_none_at_all_are_not_current_and_none_is_made(
    engine: Engine, make: SiteMaker
) -> None:
    with writing(engine) as connection:
        connection.execute(text(f"DELETE FROM {VERSION_TABLE}"))
    assert not is_surely_current(engine, None)
    with writing(engine) as connection:
        connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
    assert not is_surely_current(engine, None)
    file = Path(engine.url.database or "")
    engine.dispose()
    file.unlink()
    assert not is_surely_current(engine, None)
    assert not file.exists()
