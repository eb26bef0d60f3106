"""The sums beside the rows are what counting the rows gives, whatever happens."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import delete, event, select, update

from carbonation_core.api import Database
from carbonation_core.db import counts, tallies
from carbonation_core.db.engine import reading, writing
from carbonation_core.db.models import ArchiveCopy, FileComponent, StatusChange
from carbonation_core.delivery.retry import retry
from carbonation_core.reconcile.archive import reconcile_archive
from carbonation_core.reconcile.delivery import reconcile_delivery
from tests.site import PAIRS, Site, SiteMaker, touch


@pytest.fixture
def site(make: SiteMaker) -> Iterator[Site]:
    """A project whose sums are compared with its rows when the test is done."""
    site = make(PAIRS)
    yield site
    assert read(site) == counted(site)


def read(site: Site) -> dict[str, int]:
    with reading(site.project.engine) as connection:
        sums = tallies.read(connection)
    return {name: sums[name] for name in tallies.NAMES if sums[name]}


def counted(site: Site) -> dict[str, int]:
    with writing(site.project.engine) as connection:
        tallies.recount(connection, ["incoming"])
    return read(site)


def in_step(site: Site) -> None:
    assert read(site) == counted(site)


def test_through_all_that_can_become_of_files(site: Site) -> None:
    site.deliver("run1.dat", "run1.json", "run2.dat")
    site.tick()
    in_step(site)
    site.one_pass()
    in_step(site)
    assert read(site)["archived"] == 2
    touch(site.incoming / "run1.dat", b"other, longer bytes")
    site.one_pass()
    in_step(site)
    (site.incoming / "run2.dat").unlink()
    site.tick()
    in_step(site)
    (site.archive / "run1.json").unlink()
    reconcile_archive(site.project, "main")
    in_step(site)
    assert (read(site)["missing"], read(site).get("complete_groups", 0)) == (1, 0)
    (site.archive / "strange.json").write_bytes(b"{}")
    reconcile_archive(site.project, "main", adopt=True)
    in_step(site)


def test_through_failures_and_retries(make: SiteMaker) -> None:
    site = make(PAIRS + '[pairs.metadata]\nextract = "broken"\n', service={"max_retries": "0"})
    site.deliver("run1.dat", "run1.json", content=b"broken")
    site.deliver("run2.dat", content=b"")
    site.one_pass()
    assert read(site)["failed"] == 2
    in_step(site)
    retry(site.project)
    in_step(site)
    reconcile_delivery(site.project, "incoming")
    in_step(site)


def test_through_a_move(make: SiteMaker) -> None:
    site = make(PAIRS, archive={"action": '"move"'})
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    assert read(site) == {
        "archived": 2,
        "in_archive": 2,
        "archived_bytes": 10,
        "groups": 1,
        "complete_groups": 1,
    }
    in_step(site)


def test_a_transaction_that_came_to_nothing_counts_nothing(site: Site) -> None:
    site.deliver("run1.dat")
    site.tick()
    before = read(site)

    def break_off() -> None:
        with writing(site.project.engine) as connection:
            tallies.add(connection, "incoming", "archived", 5)
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    site.tick()
    assert read(site) == before


def test_they_are_counted_anew_after_some_heartbeats_whoever_changed_the_rows(make: SiteMaker) -> None:
    service = {"heartbeat_interval": '"60s"', "stats_recompute_every": "2"}
    site = make(PAIRS, service=service)
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    with writing(site.project.engine) as connection:
        connection.execute(update(FileComponent).values(in_archive=False))
    site.tick(61)
    assert read(site)["in_archive"] == 2
    site.tick(61)
    assert "in_archive" not in read(site)
    site.deliver("run2.dat", "run2.json")
    site.tick(121)
    in_step(site)


def test_two_that_are_the_first_to_count_something_both_count(site: Site) -> None:
    engine = site.project.engine
    inserting = threading.Event()

    def note(_on: object, _cursor: object, text: str, *_: object) -> None:
        if text.startswith("INSERT INTO tallies"):
            inserting.set()

    def count() -> None:
        with writing(engine) as connection:
            tallies.add(connection, "former", "archived", 1)

    with ThreadPoolExecutor(1) as pool, writing(engine) as connection:
        tallies.add(connection, "former", "archived", 1)
        tallies.settle(connection)
        tallies.begin(connection)
        event.listen(engine, "before_cursor_execute", note)
        other = pool.submit(count)
        # Elsewhere it waits before that.
        assert engine.dialect.name != "postgresql" or inserting.wait(10)
    other.result()
    assert read(site) == {"archived": 2}
    with writing(engine) as connection:
        tallies.recount(connection, ["former"])


def test_a_session_by_hand_keeps_them_too(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    with Database(site.project).session() as session:
        component = session.scalars(select(FileComponent)).first()
        assert component is not None
        component.status = "failed"
        session.commit()
        in_step(site)
        session.execute(update(FileComponent).values(in_delivery=False))
        session.commit()
        in_step(site)
        session.execute(delete(StatusChange))
        session.execute(delete(ArchiveCopy))
        session.delete(component)
        session.commit()
    in_step(site)
    with Database(site.project).session() as session:
        session.get_one(Database(site.project).file_model, 1).complete = False
        session.commit()


def test_since_when_a_component_has_its_status(site: Site) -> None:
    def since(path: str) -> Any:
        latest = select(StatusChange.at).where(StatusChange.component_id == site.component(path).id)
        with reading(site.project.engine) as connection:
            assert (
                connection.execute(latest.order_by(StatusChange.id.desc())).scalars().first()
                == site.component(path).status_since
            )
        return site.component(path).status_since

    site.deliver("run1.dat", "run1.json")
    site.tick()
    first = since("run1.dat")
    site.tick(3)
    assert since("run1.dat") > first
    site.run_all()
    with Database(site.project).session() as session:
        site.tick_clock(60)
        session.get_one(FileComponent, site.component("run1.dat").id).status = "failed"
        session.commit()
    assert since("run1.dat") == site.now


def test_totals_are_of_all_watches(site: Site) -> None:
    site.deliver("run1.dat", "run1.json")
    site.one_pass()
    with writing(site.project.engine) as connection:
        tallies.add(connection, "former", "archived", 3)
        tallies.add(connection, "former", "archived_bytes", 2**40)
    with reading(site.project.engine) as connection:
        found = counts.totals(tallies.read(connection))
    assert found.components == 5
    assert found.archived_bytes == 2**40 + 10
    assert (found.groups, found.complete_groups, found.in_delivery) == (1, 1, 2)
    with writing(site.project.engine) as connection:
        tallies.add(connection, "former", "archived", -3)
        tallies.add(connection, "former", "archived_bytes", -(2**40))
