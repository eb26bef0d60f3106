"""`carbonation run --once`: what it does, says and returns."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from carbonation_core.db.clock import utc_now
from carbonation_core.db.engine import reading
from carbonation_core.db.service import parts
from carbonation_core.pipeline.claim import claim
from carbonation_core.pipeline.in_force import accept
from carbonation_core.reports import heartbeat
from carbonation_core.reports.heartbeat import PASS, of_site
from carbonation_core.reports.status import status
from carbonation_dagster import one_pass
from carbonation_dagster.cli import main
from carbonation_dagster.environment import DAGSTER_HOME
from carbonation_dagster.service.home import prepare_home
from tests import databases
from tests.dagster._helpers.passes import QUICK, ROOT, last_word, run_once, statuses_of_runs
from tests.dagster.conftest import BROKEN, PLUGIN_SECTION
from tests.site import PAIRS, PLUGIN, Site, SiteMaker, touch

pytestmark = pytest.mark.usefixtures("no_home_of_others")


def test_it_waits_till_what_it_saw_has_settled_and_archives_it(once: Site) -> None:
    once.deliver("a.dat", "b.dat")

    assert last_word(once) == (0, "2 groups: 2 archived")
    assert set(once.archived()) == {"a.dat", "b.dat"}
    assert statuses_of_runs(once) == ["SUCCESS", "SUCCESS"]


def test_it_begins_nothing_beside_a_service_that_has_not_read_its_configuration(once: Site) -> None:
    settings = once.project.config.service.model_copy(update={"max_retries": 7})
    service = replace(once.project, config=once.project.config.model_copy(update={"service": settings}))
    accept(service)
    heartbeat.begin(service, heartbeat.SERVICE)
    once.deliver("a.dat")

    code, said = run_once(once)

    assert code == 1
    assert said.count("watch incoming: nothing is begun: the service of site") == 1
    assert once.statuses() == {"a.dat": "waiting"}


def test_a_file_whose_second_half_comes_meanwhile_is_archived_whole(make: SiteMaker) -> None:
    site = make(BROKEN, watch={"settle_seconds": "3"}, more=PLUGIN_SECTION)
    site.deliver("a.dat", content=b"first half")
    slept = []

    def sleep(seconds: float) -> None:
        if not slept:
            site.deliver("a.dat", content=b"first half, second half")
        slept.append(seconds)
        site.tick_clock(seconds)

    done = one_pass.run_pass(site.project, sleep)

    assert done.exit_code == 0
    assert len(slept) == 2
    assert site.archived() == {"a.dat": b"first half, second half"}
    assert site.feed() == [("a.dat", "completed")]


def test_a_pass_that_waits_for_long_says_meanwhile_that_it_lives(make: SiteMaker) -> None:
    site = make(BROKEN, watch={"settle_seconds": "600"}, more=PLUGIN_SECTION)
    site.deliver("a.dat")
    silences = []

    def sleep(seconds: float) -> None:
        site.tick_clock(seconds)
        with reading(site.project.engine) as connection:
            said = of_site(parts(connection), site.project.config.service.site_name)
        silences.append((site.now - said[PASS].last_heartbeat).total_seconds())

    assert one_pass.run_pass(site.project, sleep).exit_code == 0
    assert sum(silences) > 600
    assert max(silences) <= 60
    assert site.statuses() == {"a.dat": "archived"}


def test_the_status_knows_of_the_last_pass_and_its_faults(once: Site) -> None:
    assert run_once(once)[0] == 0
    project = replace(once.project, clock=utc_now)
    found = status(project)
    assert found.last_pass
    assert (found.last_pass.is_running, found.last_pass.errors, found.problems) == (False, (), ())

    shutil.rmtree(once.incoming)
    assert run_once(once)[0] == 1
    found = status(project)
    assert found.last_pass
    assert len(found.last_pass.errors) == len(found.problems) == 1
    assert found.problems[0].startswith(f"watch incoming: {once.incoming}: cannot be looked at")


def test_with_nothing_to_do_it_says_so(once: Site) -> None:
    assert last_word(once) == (0, "nothing was ready")


def test_a_pass_that_finds_nothing_to_do_never_imports_dagster(once: Site) -> None:
    once.deliver("a.dat")
    assert run_once(once)[0] == 0
    script = (
        "import sys\n"
        "from carbonation_core.project import open_project\n"
        "from carbonation_dagster.one_pass import run_pass\n"
        f"assert run_pass(open_project({str(once.directory / 'config.toml')!r})).exit_code == 0\n"
        "assert 'dagster' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_an_attempt_that_failed_is_exit_code_3_and_is_named(once: Site) -> None:
    once.deliver("good.dat")
    once.deliver("bad.dat", content=b"broken")

    code, said = run_once(once)

    assert code == 3
    assert "group bad.dat: retry_pending at " in said
    assert "the file says it is broken" in said
    assert "Traceback" not in said
    assert set(once.archived()) == {"good.dat"}


def test_what_failed_in_this_pass_is_not_tried_again_in_it(make: SiteMaker) -> None:
    site = make(BROKEN, watch=QUICK, service={"retry_delay": '"0.001s"'}, more=PLUGIN_SECTION)
    site.deliver("bad.dat", content=b"broken")

    assert run_once(site)[0] == 3
    assert site.group("bad.dat").attempts == 1


def _touched(path: Path) -> None:
    touch(path, b"other bytes")


def _replaced(path: Path) -> None:
    other = path.with_name(".upload")
    other.write_bytes(b"another file")
    other.rename(path)


@pytest.mark.parametrize("change", [_touched, _replaced, Path.unlink])
def test_it_ends_whatever_a_sender_does_meanwhile_and_takes_each_group_once(
    once: Site, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    came: list[Path] = []

    def while_the_other_waits(file_paths: list[Path]) -> dict[str, Any]:
        came.extend(file_paths)
        if len(came) == 1:
            change(other(came[0]))
        return {}

    def other(path: Path) -> Path:
        return path.with_name("b.dat" if path.name == "a.dat" else "a.dat")

    monkeypatch.setitem(PLUGIN.extractors, "broken", while_the_other_waits)
    once.deliver("a.dat", "b.dat")

    assert last_word(once) == (0, "2 groups: 1 archived, 1 waiting")
    assert statuses_of_runs(once) == ["SUCCESS", "SUCCESS"]
    assert last_word(once)[0] == 0
    changed = other(came[0])
    assert once.statuses()[changed.name] == ("archived" if changed.exists() else "cleared")


def _rewriting(file_paths: list[Path]) -> dict[str, Any]:
    touch(file_paths[0], b"rewritten")
    return {}


def test_it_ends_when_an_extractor_rewrites_the_file_that_it_reads(
    once: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PLUGIN.extractors, "broken", _rewriting)
    once.deliver("a.dat")

    assert last_word(once) == (0, "1 group: 1 waiting")


def test_it_looks_three_times_at_most(once: Site) -> None:
    slept: list[float] = []

    def deliver_more(seconds: float) -> None:
        slept.append(seconds)
        once.deliver(f"{len(slept)}.dat")
        once.tick_clock(seconds)

    once.deliver("0.dat")
    done = one_pass.run_pass(once.project, deliver_more)

    assert len(slept) == 2
    assert done.unsettled == 1
    assert set(once.archived()) == {"0.dat", "1.dat"}


def test_a_missing_watch_directory_is_exit_code_1_after_the_others_were_served(
    make: SiteMaker,
) -> None:
    other = '[[watch]]\nname = "gone"\npath = "gone"\nrules = "single"\narchive = "main"\n'
    site = make(BROKEN, watch=QUICK, more=other + PLUGIN_SECTION)
    site.deliver("a.dat")

    code, said = run_once(site)

    assert code == 1
    assert f"carbonation_dagster.cli.run: {site.directory / 'gone'}: cannot be looked at" in said
    assert set(site.archived()) == {"a.dat"}


def test_refused_rules_are_exit_code_1_and_nothing_is_done(once: Site) -> None:
    assert run_once(once)[0] == 0
    once.deliver("a.dat")
    once.set_rules("[single]\nunknown = 1\n")

    code, said = run_once(once)

    assert code == 1
    assert 'there is no key "unknown"' in said
    assert once.archived() == {}
    (problem,) = status(once.project).problems
    assert "rules.toml was refused, earlier rules stay in force" in problem


def test_a_file_that_goes_on_growing_ends_the_wait(once: Site) -> None:
    once.deliver("growing.dat")
    path = once.incoming / "growing.dat"

    def write_on(seconds: float) -> None:
        time.sleep(seconds)
        with path.open("ab") as file:
            file.write(b"more")

    real_time = replace(once.project, clock=utc_now)
    done = one_pass.run_pass(real_time, sleep=write_on)

    assert done.unsettled == 1
    assert done.exit_code == 0
    assert once.archived() == {}


def test_offers_that_a_service_is_about_to_run_are_left_to_it(once: Site) -> None:
    once.now = utc_now()
    once.deliver("a.dat")
    once.settle()
    assert claim(once.project, "incoming", "the service")

    assert last_word(once) == (0, "nothing was ready; 1 group waits for a run")


@databases.of_sqlite
def test_without_a_database_it_says_what_to_run(once: Site) -> None:
    once.project.engine.dispose()
    for file in once.directory.glob("carbonation.db*"):
        file.unlink()

    code, said = run_once(once)

    assert code == 1
    assert "carbonation db init" in said


@databases.of_sqlite
def test_a_pass_whose_database_has_gone_since_the_last_one_makes_none(once: Site) -> None:
    once.deliver("a.dat")
    assert run_once(once)[0] == 0
    once.project.engine.dispose()
    file = once.directory / "carbonation.db"
    away = file.rename(once.directory / "away.db")
    once.deliver("b.dat")

    code, said = run_once(once)

    assert code == 1
    assert "is gone, or empty: watch incoming was looked at before; bring it back" in said
    assert not file.exists()
    assert set(once.archived()) == {"a.dat"}

    away.rename(file)
    assert run_once(once)[0] == 0
    assert set(once.archived()) == {"a.dat", "b.dat"}


def test_dry_run_and_once_do_not_go_together(once: Site) -> None:
    done = CliRunner().invoke(main, ["run", "--once", "--dry-run"])

    assert done.exit_code == 2


def test_a_dry_run_says_what_would_happen_and_writes_nothing(once: Site) -> None:
    once.deliver("a.dat")

    done = CliRunner().invoke(main, ["-c", str(once.directory / "config.toml"), "run", "--dry-run"])

    assert done.exit_code == 0
    assert "incoming: a.dat: " in done.stdout
    assert once.statuses() == {}
    assert not (once.directory / ".dagster").exists()
    shutil.rmtree(once.incoming)
    gone = CliRunner().invoke(main, ["-c", str(once.directory / "config.toml"), "run", "--dry-run"])
    assert (gone.exit_code, gone.stdout) == (1, "")
    assert gone.stderr.startswith(f"incoming: {once.incoming}: cannot be looked at: No such file")


def test_other_rules_hold_in_the_pass_that_finds_them(once: Site) -> None:
    once.set_rules(PAIRS.replace("pairs", "single"))
    once.deliver("run1.dat")
    assert last_word(once)[1].startswith("nothing was ready; 1 group waits for .json")
    once.set_rules("[single]\n")
    assert last_word(once) == (0, "1 group: 1 archived")


def test_a_dry_run_counts_what_is_archived_and_names_the_rest(once: Site) -> None:
    once.deliver("a.dat", "b.dat")
    once.one_pass()
    once.deliver("c.dat")

    done = CliRunner().invoke(main, ["-c", str(once.directory / "config.toml"), "run", "--dry-run"])

    first, second, last = done.stdout.splitlines()
    assert first == "incoming: 2 groups: archived already"
    assert second.startswith("incoming: c.dat: archive to ")
    assert last == "3 groups would be: 2 archived already, 1 archived"
    assert done.stderr == ""


@databases.of_sqlite
def test_a_dry_run_without_a_database_says_so_and_counts_all_as_new(once: Site) -> None:
    once.set_rules(PAIRS.replace("pairs", "single"))
    once.deliver("a.dat", "a.json", "b.dat", "half.dat")
    once.deliver("empty.dat", content=b"")
    (once.directory / "carbonation.db").unlink()

    done = CliRunner().invoke(main, ["-c", str(once.directory / "config.toml"), "run", "--dry-run"])

    assert done.exit_code == 0
    where = once.project.engine.url.render_as_string(hide_password=True)
    said = f"database {where} is not initialised; run: carbonation db init; all files count as new here\n"
    assert done.stderr == said
    last = done.stdout.splitlines()[-1]
    assert last == "3 groups and 1 file in no group would be: 2 waiting, 1 integrity failed, 1 archived"


def test_many_who_make_one_home_at_once_all_find_it_good(once: Site) -> None:
    code = (
        "from carbonation_core.config.loading import load_config\n"
        "from carbonation_dagster.service.home import prepare_home\n"
        "import sys, dagster as dg\n"
        "prepare_home(load_config(sys.argv[1]))\n"
        "dg.DagsterInstance.get().get_run_records()\n"
    )
    config = str(once.directory / "config.toml")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    makers = [subprocess.Popen([sys.executable, "-c", code, config], env=environment) for _ in range(4)]

    assert [maker.wait(60) for maker in makers] == [0, 0, 0, 0]


def test_the_home_has_its_own_settings_and_a_given_one_keeps_its(once: Site, tmp_path: Path) -> None:
    environment: dict[str, str] = {}
    home = prepare_home(once.project.config, environment)

    assert home == once.directory / ".dagster"
    assert environment[DAGSTER_HOME] == str(home)
    settings = json.loads((home / "dagster.yaml").read_text(encoding="utf-8").split("\n", 1)[1])
    assert settings["run_retries"] == {"enabled": False}

    given = tmp_path / "theirs"
    assert prepare_home(once.project.config, {DAGSTER_HOME: str(given)}) == given
    assert not (given / "dagster.yaml").exists()
