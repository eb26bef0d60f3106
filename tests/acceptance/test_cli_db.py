"""`carbonation db`: what it makes, copies and imports, and how the tables stand."""

import json

from tests import databases
from tests.acceptance._helpers.command import TOGETHER, Desk, deliver, one_pass
from tests.core._helpers.earlier import in_sqlite

pytestmark = [TOGETHER, databases.one]  # arguments and sentences


@databases.each
def test_db_import_lists_what_is_not_as_it_was(desk: Desk) -> None:
    desk.good("db", "init")
    earlier = in_sqlite(desk.directory / "old.db", desk.directory / "incoming", desk.directory / "archive")
    earlier.pair("run1")
    earlier.file("run2.txt", earlier.group("run2"), "failed", error_message="no space")
    earlier.file("young.txt", status="detected")
    earlier.engine.dispose()
    (desk.directory / "old.toml").write_text('[database]\nname = "old.db"\n')
    notes = (
        'columns that no column of the plugin is for are not imported: "category", "size"\n'
        f'group "run2" of watch incoming is not complete here: {desk.directory}/incoming/run2.txt: no space\n'
    )
    young = "files in delivery that the first look judges as new: 1\n"
    trial = desk.good("db", "import", "old.toml", "--dry-run")
    assert trial == f"{notes}would be imported: 2 groups, 3 files\n{young}"
    done = desk.good("db", "import", "old.toml")
    assert done == f"{notes}imported: 2 groups, 3 files\nentries of the feed: 1\n{young}"
    again = desk.good("db", "import", "old.toml")
    assert (
        "imported: 0 groups, 0 files\nentries of the feed: 0\nthere already, groups and files: 5\n" in again
    )
    assert "is one of this release" in desk("db", "import", "config.toml").err
    (desk.directory / "old.toml").write_text('[database]\nname = "nowhere.db"\n')
    assert "nowhere.db cannot be reached" in desk("db", "import", "old.toml").err
    assert not (desk.directory / "nowhere.db").exists()


@databases.each
def test_db_copy_prints_the_lines_with_which_the_service_goes_on(desk: Desk) -> None:
    desk.good("db", "init")
    deliver(desk, "run1", "lidar", 1)
    one_pass(desk)
    before = desk.good("query", "files", "--format", "json")
    (desk.directory / "other").mkdir()
    url = databases.as_url(databases.fresh(desk.directory / "other"))
    summary, _, after = desk.good("db", "copy", "--to", url).partition("\nThe service goes on there")
    assert {"rows    files 1", "rows    feed 1"} <= set(summary.splitlines())
    assert "compared: nobody wrote meanwhile, as many rows in each table, and the feed is the same" in summary
    config = desk.directory / "config.toml"
    lines = after[after.index("[database]") : after.index("\nThen: ")]
    of_tables = config.read_text()
    config.write_text(f"{lines}\n{of_tables[of_tables.index('[plugins]') :]}")
    assert desk.good("db", "status").startswith(f"database {url}")
    assert desk.good("query", "files", "--format", "json") == before
    deliver(desk, "run2", "lidar", 2)
    one_pass(desk)
    assert len(json.loads(desk.good("query", "files", "--format", "json"))) == 2
    assert "is the one that config.toml names" in desk.wrong("db", "copy", "--to", url, code=1)


def test_db_status_says_what_is_pending(desk: Desk) -> None:
    answer = desk("db", "status")
    assert answer.code == 1
    assert "run: carbonation db init" in answer.err
    assert "run: carbonation db init" in desk.wrong("db", "upgrade", code=1)
    assert not (desk.directory / "carbonation.db").exists()
    desk.good("db", "init")
    told = desk.good("db", "status").splitlines()[1:]
    *of_core, of_plugin = [line for line in told if not line.startswith("rows ")]
    assert all(line.startswith("applied core_") for line in of_core)
    assert of_plugin == "applied my_plugin_0001"
    assert {"rows    files 0", "rows    file_components 0"} <= set(told)
    desk.execute("DELETE FROM carbonation_version WHERE version_num = 'my_plugin_0001'")
    answer = desk("db", "status")
    assert (answer.code, "pending my_plugin_0001" in answer.out) == (1, True)
    assert "run: carbonation db upgrade" in desk.wrong("db", "init", code=1)
    assert "run: carbonation db upgrade" in desk.wrong("status", code=1)


@databases.each
def test_db_status_says_where_tables_differ(desk: Desk) -> None:
    desk.good("db", "init")
    desk.execute("ALTER TABLE files ADD COLUMN stray INTEGER")
    answer = desk("db", "status")
    assert (answer.code, "stray" in answer.out) == (1, True)
    said = 'the tables differ: column "stray" in "files" belongs to no model; see: carbonation db status'
    assert said in desk.good("check", "config")


@databases.each
def test_a_model_that_has_changed_without_a_revision_says_what_to_run(desk: Desk) -> None:
    desk.good("db", "init")
    model = desk.directory / "my_plugin" / "model.py"
    column = "\n    instrument: "
    model.write_text(model.read_text().replace(column, f"\n    colour: Mapped[str | None]{column}", 1))
    said = (
        'column "colour" of the plugin is missing in "files"; run: carbonation db revision '
        '--autogenerate -m "what is new", and then: carbonation db upgrade'
    )
    for command in (("query", "files"), ("run", "--once"), ("db", "init")):
        assert said in desk.wrong(*command, code=1)
    assert said in desk.good("check", "config")
    answer = desk("db", "status")
    assert (answer.code, answer.err) == (1, f"Run{said.partition('; run')[2]}\n")
    assert 'differs column "colour" of the plugin is missing in "files"' in answer.out
    desk.good("db", "revision", "--autogenerate", "-m", "what is new")
    assert desk.good("db", "upgrade") == "applied my_plugin_0002\n"
    assert "colour" in desk.good("query", "files")
