"""Passes that are killed or ended by a signal, and what the next one makes of what they left."""

import os
import signal
import sys
from pathlib import Path

import dagster as dg
import pytest

from carbonation_core.pipeline.claim import open_batches
from carbonation_core.process import this_process
from carbonation_core.reports import heartbeat
from carbonation_dagster.defs.naming import PASS_TAG
from carbonation_dagster.service.home import prepare_home
from tests.dagster._helpers.passes import QUICK, run_once, started, statuses_of_runs, wait_for
from tests.site import Site, SiteMaker

pytestmark = pytest.mark.usefixtures("no_home_of_others")

SLOW_PLUGIN = """
import time
from pathlib import Path
from carbonation_core import Plugin
from tests.site import File

def slow(file_paths):
    here = Path(__file__).parent
    (here / "extracting").touch()
    while not (here / "go").exists():
        time.sleep(0.05)
    return {}

plugin = Plugin(File, extractors={"slow": slow})
"""


@pytest.fixture
def slow(make: SiteMaker, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Two groups in one batch, which the plugin holds up until there is a file "go"."""
    monkeypatch.delitem(sys.modules, "slow_plugin", raising=False)  # of another project
    site = make(
        '[single.metadata]\nextract = "slow"\n',
        watch={**QUICK, "rules": '"single"'},
        service={"single_group_runs": "0", "retry_delay": '"0.001s"'},
        more='[plugins]\npackage = "slow_plugin"\n',
    )
    (site.directory / "slow_plugin.py").write_text(SLOW_PLUGIN, encoding="utf-8")
    site.deliver("a.dat", "b.dat")
    return site


def is_extracting(site: Site) -> bool:
    return (site.directory / "extracting").exists()


def go_on(site: Site) -> None:
    (site.directory / "go").touch()


@pytest.mark.slow
def test_the_next_pass_repairs_what_a_killed_one_left(slow: Site) -> None:
    first = started(slow)
    wait_for(lambda: is_extracting(slow))
    first.kill()
    first.communicate()
    assert statuses_of_runs(slow) == ["STARTED"]
    go_on(slow)

    second = started(slow)
    second.communicate(timeout=60)

    assert second.returncode == 0
    assert set(slow.archived()) == {"a.dat", "b.dat"}
    # The batch that died was halved.
    assert statuses_of_runs(slow) == ["SUCCESS", "SUCCESS", "FAILURE"]


def test_a_run_whose_pass_was_killed_after_its_batch_shows_as_failed(once: Site) -> None:
    home = str(prepare_home(once.project.config, {}))
    living = this_process("pass")
    with dg.DagsterInstance.from_config(home) as instance:
        for tag in (living, living.replace("#", "0#")):
            run = dg.DagsterRun("watch_incoming", tags={PASS_TAG: tag}, status=dg.DagsterRunStatus.STARTED)
            instance.add_run(run)
    heartbeat.begin(once.project, heartbeat.PASS)  # and never said that it ended

    assert run_once(once)[0] == 0

    assert statuses_of_runs(once) == ["FAILURE", "STARTED"]


# A shell without job control has what it starts in the background ignore SIGINT.
IN_THE_BACKGROUND = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("before", [(), IN_THE_BACKGROUND], ids=["in front", "in the background"])
def test_a_signal_ends_it_when_the_group_under_way_is_done(
    slow: Site, number: signal.Signals, before: tuple[str, ...]
) -> None:
    process = started(slow, *before)
    wait_for(lambda: is_extracting(slow))
    process.send_signal(number)
    go_on(slow)
    _, said = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "stopped by a signal before its end; the next pass takes what is left" in said
    assert "Traceback" not in said
    assert open_batches(slow.project, "incoming") == []
    assert slow.archived() == {}
    assert run_once(slow)[0] == 0
    assert {slow.group(name).attempts for name in ("a.dat", "b.dat")} == {0}
    assert set(slow.archived()) == {"a.dat", "b.dat"}


BAIT_PLUGIN = """
from pathlib import Path
from carbonation_core import Plugin
from tests.site import File

def bait(file_paths):
    (Path(__file__).parent / "extracting").touch()
    return {"category": "x" * 4000}

plugin = Plugin(File, extractors={"bait": bait})
"""


@pytest.mark.slow
def test_an_expression_that_never_ends_keeps_no_pass_from_ending(make: SiteMaker) -> None:
    site = make(
        '[single.metadata]\nextract = "bait"\n[[single.selection]]\nfield = "category"\n'
        'matches = ["^(x+x+)+y"]\n',
        watch={**QUICK, "rules": '"single"'},
        service={"single_group_runs": "0"},
        more='[plugins]\npackage = "bait_plugin"\n',
    )
    (site.directory / "bait_plugin.py").write_text(BAIT_PLUGIN, encoding="utf-8")
    site.deliver(*(f"{number}.dat" for number in range(60)))
    process = started(site)
    wait_for(lambda: is_extracting(site))
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "stopped by a signal before its end" in said
    assert open_batches(site.project, "incoming") == []


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(slow: Site) -> None:
    process = started(slow)
    wait_for(lambda: is_extracting(slow))
    process.send_signal(signal.SIGTERM)
    status = Path(f"/proc/{process.pid}/status")
    # The first one was heard as soon as the second one would be fatal: no handler catches it.
    wait_for(lambda: not _catches(status.read_text(), signal.SIGTERM))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGTERM


def _catches(status: str, number: signal.Signals) -> bool:
    (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(mask, 16) >> (number - 1) & 1)


HOLDING_PLUGIN = """
import os
import time
from pathlib import Path
from carbonation_core import Plugin
from tests.site import File

def hold(file_paths):
    here = Path(__file__).parent
    (here / "hands" / str(os.getpid())).touch()
    while not (here / "go").exists():
        time.sleep(0.05)
    return {}

plugin = Plugin(File, extractors={"hold": hold})
"""


@pytest.fixture
def many(make: SiteMaker, monkeypatch: pytest.MonkeyPatch) -> Site:
    """More groups than one hand takes, which the plugin holds up until there is a file "go"."""
    monkeypatch.delitem(sys.modules, "holding_plugin", raising=False)  # of another project
    site = make(
        '[single.metadata]\nextract = "hold"\n',
        watch={**QUICK, "rules": '"single"'},
        service={"runs_at_once": "2", "groups_per_run": "40", "retry_delay": '"0.001s"'},
        more='[plugins]\npackage = "holding_plugin"\n',
    )
    (site.directory / "holding_plugin.py").write_text(HOLDING_PLUGIN, encoding="utf-8")
    (site.directory / "hands").mkdir()
    site.deliver(*(f"{number:03}.dat" for number in range(110)))
    return site


def hands(site: Site) -> set[int]:
    """The processes that worked for a pass."""
    return {int(file.name) for file in (site.directory / "hands").iterdir()}


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


@pytest.mark.slow
def test_many_groups_are_brought_on_by_several_processes_and_a_kill_of_the_pass_ends_all(many: Site) -> None:
    first = started(many)
    wait_for(lambda: len(hands(many)) == 2)
    assert first.pid not in hands(many)
    first.kill()
    first.communicate()
    wait_for(lambda: all(is_gone(pid) for pid in hands(many)))
    go_on(many)

    second = started(many)
    _, said = second.communicate(timeout=60)

    assert second.returncode == 0
    assert "110 groups: 110 archived" in said
    assert said.count("archived: 1 file to main") == 110
    assert len(many.archived()) == len(many.feed()) == 110


@pytest.mark.slow
def test_the_pass_says_that_one_of_its_processes_was_killed_and_the_next_takes_what_that_had(
    many: Site,
) -> None:
    first = started(many)
    wait_for(lambda: len(hands(many)) == 2)
    os.kill(min(hands(many)), signal.SIGKILL)
    go_on(many)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 1
    assert "a process of this pass was killed; the next pass takes what was under way" in said
    assert "Traceback" not in said

    assert run_once(many)[0] == 0
    assert len(many.archived()) == len(many.feed()) == 110


@pytest.mark.slow
def test_a_signal_lets_each_process_finish_its_group(many: Site) -> None:
    process = started(many)
    wait_for(lambda: len(hands(many)) == 2)
    process.send_signal(signal.SIGTERM)
    go_on(many)
    _, said = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "stopped by a signal before its end; the next pass takes what is left" in said
    assert "Traceback" not in said
    assert open_batches(many.project, "incoming") == []
    assert run_once(many)[0] == 0
    assert len(many.archived()) == len(many.feed()) == 110
