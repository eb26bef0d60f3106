"""What surrounds a pass and the service is full, closed, away or somebody else's."""

import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from carbonation_core.db.clock import utc_now
from carbonation_core.reports.status import status
from carbonation_dagster.cli import main
from tests.dagster.conftest import PLUGIN_SECTION
from tests.faults._helpers.disks import fill, mounted, remount
from tests.site import SINGLE, Site, SiteMaker

PLAIN = """
from carbonation_core import FileBase, Plugin

class File(FileBase):
    __tablename__ = "files"

plugin = Plugin(File)
"""

pytestmark = pytest.mark.usefixtures("no_home_of_others")


@pytest.fixture
def site(make: SiteMaker) -> Site:
    return make(SINGLE, watch={"settle_seconds": "0.1"}, more=PLUGIN_SECTION)


def once(site: Site) -> Result:
    done = CliRunner().invoke(main, ["-c", str(site.directory / "config.toml"), "run", "--once"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert "Traceback" not in done.stderr
    return done


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_with_no_room_for_dagsters_storage_a_pass_archives_and_says_what_is_missing(site: Site) -> None:
    site.deliver("a.dat")
    with mounted(site.directory / ".dagster", "size=64k"):
        done = once(site)

        assert done.exit_code == 1
        assert f'Dagster\'s storage in "{site.directory / ".dagster"}" cannot be used: ' in done.stderr
        assert done.stderr.splitlines()[-1].endswith("; the UI will not show what this pass did")
    assert set(site.archived()) == {"a.dat"}
    (problem,) = status(replace(site.project, clock=utc_now)).problems
    assert problem.startswith("the last pass: Dagster's storage in ")


def test_when_its_disk_has_filled_up_since_the_last_pass_the_next_one_archives_too(site: Site) -> None:
    with mounted(site.directory / ".dagster", "size=4m") as home:
        site.deliver("a.dat")
        assert once(site).exit_code == 0
        hog = fill(home)
        site.deliver("b.dat")

        assert once(site).exit_code == 1
        assert set(site.archived()) == {"a.dat", "b.dat"}

        hog.unlink()
        site.deliver("c.dat")
        assert once(site).exit_code == 0
    assert set(site.archived()) == {"a.dat", "b.dat", "c.dat"}


def test_a_broken_storage_of_dagster_keeps_nothing_from_the_archive(site: Site) -> None:
    site.deliver("before.dat")
    assert once(site).exit_code == 0
    for file in (site.directory / ".dagster").rglob("*.db*"):
        file.write_bytes(b"no database" * 1000)
    site.deliver("a.dat")

    done = once(site)

    assert done.exit_code == 1
    assert "Dagster's storage" in done.stderr
    assert "cannot be used" in done.stderr
    assert set(site.archived()) == {"before.dat", "a.dat"}


def test_the_service_says_in_a_sentence_that_its_home_cannot_be_used(site: Site) -> None:
    with mounted(site.directory / ".dagster", "size=64k"):
        done = CliRunner().invoke(main, ["-c", str(site.directory / "config.toml"), "run", "--no-ui"])

    assert done.exit_code == 1
    (line,) = [line for line in done.stderr.splitlines() if "ERROR" in line]
    assert "Dagster's storage in " in line
    assert "Traceback" not in done.stderr


def test_locks_that_a_dead_process_left_in_the_home_hold_up_nobody(site: Site) -> None:
    home = site.directory / ".dagster"
    home.mkdir()
    for name in ("carbonation.lock", "service.lock"):
        (home / name).write_text("4194303", encoding="ascii")
    site.deliver("a.dat")

    assert once(site).exit_code == 0


def test_a_home_that_may_not_be_written_is_said_in_a_sentence(site: Site) -> None:
    site.deliver("a.dat")
    with mounted(site.directory / ".dagster", "size=4m") as home:
        remount(home, "ro")
        done = once(site)
        service = CliRunner().invoke(main, ["-c", str(site.directory / "config.toml"), "run", "--no-ui"])

    assert done.exit_code == service.exit_code == 1
    assert f'"{home}" cannot be used: Read-only file system' in done.stderr
    assert f"{home}: the service cannot write there: Read-only file system" in service.stderr
    assert "Traceback" not in service.stderr
    assert set(site.archived()) == {"a.dat"}


def test_what_the_service_makes_is_not_for_all_users(make: SiteMaker) -> None:
    site = make(SINGLE, more='[plugins]\npackage = "plain_plugin"\n')
    (site.directory / "plain_plugin.py").write_text(PLAIN, encoding="utf-8")
    site.project.engine.dispose()
    for file in site.directory.glob("carbonation.db*"):
        file.unlink()
    before = os.umask(0o022)
    try:
        config = str(site.directory / "config.toml")
        assert CliRunner().invoke(main, ["-c", config, "db", "init"]).exit_code == 0
        assert mode(site.directory / "carbonation.db") == 0o640
        with site.project.engine.connect():
            for end in ("-wal", "-shm"):
                assert mode(site.directory / f"carbonation.db{end}") == 0o640
    finally:
        os.umask(before)
    site.deliver("a.dat")
    assert CliRunner().invoke(main, ["-c", config, "run", "--once"]).exit_code in (0, 1)
    assert mode(site.directory / ".dagster") == 0o700


def test_files_that_all_users_can_read_are_told_of(site: Site) -> None:
    shutil.rmtree(site.directory / ".dagster", ignore_errors=True)
    (site.directory / ".dagster").mkdir(mode=0o755)
    (site.directory / "carbonation.db").chmod(0o644)
    config = site.directory / "config.toml"
    config.chmod(0o644)
    text = config.read_text(encoding="utf-8")
    config.write_text(
        f'{text}[notify]\nwebhook = "https://example.org/x"\ntoken = "a-token"\n', encoding="utf-8"
    )

    done = CliRunner().invoke(main, ["-c", str(config), "check", "config"])

    told = [line for line in done.stdout.splitlines() if "all users can read" in line]
    assert f'what Dagster keeps in "{site.directory / ".dagster"}"' in told[0]
    assert f'the database in "{site.directory / "carbonation.db"}"' in told[1]
    assert told[-1].endswith(f'a secret in "{config}"; run: chmod o-rwx {config}')


@pytest.mark.parametrize(
    ("host", "is_wide"), [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True)]
)
def test_a_web_ui_that_others_can_reach_is_warned_of(site: Site, host: str, is_wide: bool) -> None:
    from carbonation_dagster.cli.run import _exposed

    (site.directory / "carbonation.db").chmod(0o640)
    told = _exposed(site.project.config, host)

    assert any("asks for no password" in sentence for sentence in told) == is_wide
