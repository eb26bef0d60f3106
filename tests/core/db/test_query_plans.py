"""What the service asks again and again finds its rows by an index, however many there are."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, RowMapping, event

from carbonation_core.api import Database
from carbonation_core.delivery.observe import observe
from carbonation_core.delivery.retry import retry
from carbonation_core.disk.scan import EVERYTHING, Hints
from carbonation_core.lifecycle import FileStatus
from carbonation_core.pipeline.claim import open_batches
from carbonation_core.reconcile.archive import reconcile_archive
from carbonation_core.reconcile.delivery import reconcile_delivery
from carbonation_core.reports import metrics
from carbonation_core.reports.explain import explain
from carbonation_core.reports.status import status
from tests.site import PAIRS, Site, SiteMaker, touch

Statement = tuple[str, Any]
GROWING = ("files", "file_components", "status_changes", "archive_copies", "batches", "batch_groups", "feed")


@contextmanager
def noted(site: Site) -> Iterator[dict[str, Any]]:
    """The statements that are executed meanwhile, with parameters of each."""
    found: dict[str, Any] = {}

    def note(
        _connection: Connection, _cursor: Any, text: str, values: Any, _context: Any, many: bool
    ) -> None:
        if text.split(maxsplit=1)[0] in ("SELECT", "UPDATE", "DELETE"):
            found[text] = values[0] if many else values

    event.listen(site.project.engine, "before_cursor_execute", note)
    yield found
    event.remove(site.project.engine, "before_cursor_execute", note)


# Tables of tests are small, and would be read whole for that.
AS_IF_LARGE = {
    "postgresql": ["SET enable_seqscan = off"],
    "mariadb": [
        *(
            "REPLACE INTO mysql.table_stats (db_name, table_name, cardinality)"
            f" VALUES (database(), '{table}', 1000000)"
            for table in GROWING
        ),
        "FLUSH TABLES",  # which reads what was just written
    ],
}


def whole_tables(site: Site, statements: dict[str, Any]) -> list[str]:
    """What the database would read whole tables for, as far as they grow."""
    dialect = site.project.engine.dialect.name
    explain = "EXPLAIN QUERY PLAN" if dialect == "sqlite" else "EXPLAIN"
    found = []
    with site.project.engine.connect() as connection:
        for statement in AS_IF_LARGE.get(dialect, ()):
            connection.exec_driver_sql(statement)
        for text, values in statements.items():
            for step in connection.exec_driver_sql(f"{explain} {text}", values).mappings():
                line, scanned, by_index = _row(step) if dialect == "mariadb" else _words(step)
                # A page in the order of an index ends where the page does.
                is_page = by_index and "LIMIT" in text
                if scanned in GROWING and not is_page:
                    found.append(f"{line}: {text}")
    return found


def _words(step: RowMapping) -> tuple[str, str | None, bool]:
    """A step of a plan that is told in words; the table that it reads whole; whether by an index."""
    line = str(list(step.values())[-1]).strip()
    scan = re.search(r"\bSCAN (\w+)|Seq Scan on (\w+)", line)
    return line, scan and (scan[1] or scan[2]), "USING INDEX" in line


def _row(step: RowMapping) -> tuple[str, str | None, bool]:
    is_whole = step["type"] in ("index", "ALL")
    return str(dict(step)), step["table"] if is_whole else None, step["type"] == "index"


@pytest.fixture
def site(make: SiteMaker) -> Site:
    site = make(PAIRS, service={"max_retries": "0"})
    site.deliver("run1.dat", "run1.json", "run2.dat")
    site.one_pass()
    return site


def look_and_archive(site: Site) -> None:
    touch(site.incoming / "run1.dat", b"other bytes")
    site.deliver("run3.dat", "run3.json")
    (site.incoming / "run2.dat").unlink()
    site.one_pass()
    open_batches(site.project, "incoming")


def ask(site: Site) -> None:
    database = Database(site.project)
    rows, cursor = database.get_new_files(limit=1)
    database.get_new_files(cursor, "incoming", events=True)
    database.ack("one", cursor, "incoming")
    database.ack("all", cursor)
    for name in ("one", "all"):
        database.lag(name)
    database.query_files({"group_key": "run1"})
    # MariaDB sorts a small table for a longer page, whatever order there is an index for.
    database.query_files({"complete": True}, order_by="created_at", limit=1)
    database.query_files({"created_after": rows[0]["created_at"]}, order_by="-created_at", limit=1)
    explain(site.project, str(site.incoming / "run1.dat"))
    explain(site.project, "run1")


@pytest.mark.parametrize(
    "work",
    [
        look_and_archive,
        ask,
        lambda site: status(site.project),
        lambda site: metrics.stored(site.project),
        lambda site: retry(site.project, group_key="run1"),
        lambda site: reconcile_delivery(site.project, "incoming"),
        lambda site: reconcile_archive(site.project, "main"),
    ],
    ids=["look and archive", "ask", "status", "metrics", "retry", "reconcile delivery", "reconcile archive"],
)
def test_no_table_that_grows_is_read_whole(site: Site, work: Callable[[Site], object]) -> None:
    with noted(site) as statements:
        work(site)
    assert statements
    assert whole_tables(site, statements) == []


def test_a_statement_that_reads_a_whole_table_is_noticed(site: Site) -> None:
    assert whole_tables(site, {"SELECT id FROM files WHERE attempts = 7": ()})


@pytest.mark.parametrize("hints", [Hints(), EVERYTHING], ids=["nothing", "everything"])
def test_a_look_reads_no_file_that_has_left_delivery(site: Site, hints: Hints) -> None:
    """Nor one that is archived and lies there still, where nothing is hinted at."""
    if site.project.engine.dialect.name != "sqlite":
        pytest.skip("only its plans tell the columns that are searched by")
    with noted(site) as statements:
        observe(site.project, "incoming", hints)
    asked = {text: values for text, values in statements.items() if "FROM file_components" in text}
    assert asked
    with site.project.engine.connect() as connection:
        for text, values in asked.items():
            (plan,) = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)
            assert "(watch_name=? AND status=? AND in_delivery=?)" in plan[-1]
            assert hints.everything or FileStatus.ARCHIVED not in values


def test_a_page_is_sorted_by_what_it_is_sorted_by_and_only_its_rows_are_read_whole(site: Site) -> None:
    if site.project.engine.dialect.name != "sqlite":
        pytest.skip("only its plans tell the columns that are searched by")
    with noted(site) as statements:
        Database(site.project).query_files({"category": "a"}, order_by="-start", limit=1)
    (text,) = [text for text in statements if "category" in text]
    assert "(SELECT files.id AS id \nFROM files \nWHERE" in text
    with site.project.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", statements[text]).all()
    assert "SEARCH files USING INTEGER PRIMARY KEY (rowid=?)" in [step[-1] for step in plan]
