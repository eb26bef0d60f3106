"""config.toml: what is found, filled in and resolved."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from carbonation_core.config.loading import Config, dagster_name, find_config, load_config
from carbonation_core.errors import ConfigError

WATCH = '[[watch]]\nname = "incoming"\npath = "incoming"\nrules = "default"\n'
ARCHIVE = '[[archive]]\nname = "main"\ndestination = "archive/{category}"\n'


def load(directory: Path, text: str) -> Config:
    file = directory / "config.toml"
    file.write_text(text, encoding="utf-8")
    return load_config(file)


def with_destination(directory: Path, lines: str) -> tuple[str, Path]:
    watch = WATCH.replace('path = "incoming"', 'path = "/delivery"')
    archive = load(directory, f'{watch}[[archive]]\nname = "main"\n{lines}').archive[0]
    return archive.destination, archive.base


def test_defaults_are_those_of_the_documentation(tmp_path: Path) -> None:
    config = load(tmp_path, WATCH + ARCHIVE)
    assert config.service.poll_interval == timedelta(seconds=5)
    assert config.service.max_loss == 0.1
    ignored = ("*.tmp", "*.part", "*.partial", "*.filepart", "*.crdownload", ".*")
    assert config.watch[0].ignore_patterns == ignored
    assert config.watch[0].settle_seconds == 2.0
    assert config.archive[0].file_mode == 0o640
    assert config.archive[0].dir_mode == 0o750
    assert config.logging.level == "INFO"


def test_relative_paths_start_from_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, '[logging]\nfile = "log/c.log"\n' + WATCH + ARCHIVE)
    assert config.path == tmp_path / "config.toml"
    assert config.directory == tmp_path
    assert config.watch[0].path == tmp_path / "incoming"
    assert config.archive[0].base == tmp_path / "archive"
    assert config.archive[0].destination == f"{tmp_path}/archive/{{category}}"
    assert config.rules.file == tmp_path / "rules.toml"
    assert config.logging.file == tmp_path / "log/c.log"
    assert config.database.name == str(tmp_path / "carbonation.db")


def test_the_name_of_a_server_database_is_no_path(tmp_path: Path) -> None:
    config = load(tmp_path, f'[database]\ndrivername = "postgresql"\nname = "files"\n{WATCH}{ARCHIVE}')
    assert config.database.name == "files"


def test_a_home_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = load(
        tmp_path,
        f'[database]\nname = "~/c.db"\n{WATCH.replace("incoming", "~/in").replace("~/in", "incoming", 1)}'
        '[[archive]]\nname = "main"\ndestination = "~/archive/{category}"\n',
    )
    assert config.watch[0].path == tmp_path / "home/in"
    assert config.archive[0].base == tmp_path / "home/archive"
    assert config.database.name == str(tmp_path / "home/c.db")


@pytest.mark.parametrize(
    ("lines", "destination", "base"),
    [
        ('destination = "archive/x{category}"', "{here}/archive/x{category}", "archive"),
        ('destination = "{category}/in"', "{here}/{category}/in", "."),
        ('destination = "archive"', "{here}/archive", "archive"),
        ('destination = "../archive/{category}"', "{parent}/archive/{category}", "../archive"),
        ('destination = "a//b/./{category}/"', "{here}/a/b/{category}/", "a/b"),
        ('destination = "{{a}}/{category}"', "{here}/{{a}}/{category}", "{a}"),
        ('destination = "{category}"\nbase_path = "archive"', "{here}/archive/{category}", "archive"),
        ('destination = "a/{category}"\nbase_path = "archive"', "{here}/archive/a/{category}", "archive"),
    ],
)
def test_a_destination_becomes_absolute_and_has_a_base(
    tmp_path: Path, lines: str, destination: str, base: str
) -> None:
    expected = destination.replace("{here}", str(tmp_path)).replace("{parent}", str(tmp_path.parent))
    assert with_destination(tmp_path, lines) == (expected, Path(os.path.normpath(tmp_path / base)))


def test_braces_of_a_directory_are_no_placeholders(tmp_path: Path) -> None:
    here = tmp_path / "{odd}"
    here.mkdir()
    assert with_destination(here, 'destination = "archive/{category}"') == (
        f"{tmp_path}/{{{{odd}}}}/archive/{{category}}",
        here / "archive",
    )


@pytest.mark.parametrize("mode", ["0o660", '"660"', '"0660"', '"0o660"'])
def test_a_mode_is_an_octal_number_or_string(tmp_path: Path, mode: str) -> None:
    assert load(tmp_path, f"{WATCH}{ARCHIVE}file_mode = {mode}\n").archive[0].file_mode == 0o660


@pytest.mark.parametrize("mode", ["0o2770", '"2770"', '"02770"', '"0o2770"'])
def test_a_mode_of_directories_may_have_setgid(tmp_path: Path, mode: str) -> None:
    assert load(tmp_path, f"{WATCH}{ARCHIVE}dir_mode = {mode}\n").archive[0].dir_mode == 0o2770


def test_whole_numbers_stand_for_fractional_ones(tmp_path: Path) -> None:
    config = load(tmp_path, f"[service]\nretry_backoff = 2\n{WATCH}settle_seconds = 3\n{ARCHIVE}")
    assert config.service.retry_backoff == 2.0
    assert config.watch[0].settle_seconds == 3.0


def test_a_level_is_written_in_any_case(tmp_path: Path) -> None:
    assert load(tmp_path, f'[logging]\nlevel = "debug"\n{WATCH}{ARCHIVE}').logging.level == "DEBUG"


def test_a_share_is_written_in_percent(tmp_path: Path) -> None:
    assert load(tmp_path, f'[service]\nmax_loss = "2.5 %"\n{WATCH}{ARCHIVE}').service.max_loss == 0.025


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert load(tmp_path, f"\ufeff{WATCH}{ARCHIVE}").watch[0].name == "incoming"


def test_an_archive_below_a_watch_that_is_not_recursive_is_no_fault(tmp_path: Path) -> None:
    load(tmp_path, WATCH + ARCHIVE.replace("archive/{", "incoming/archive/{"))


def test_a_watch_beside_an_archive_of_like_name_is_no_fault(tmp_path: Path) -> None:
    load(tmp_path, WATCH.replace('path = "incoming"', 'path = "archive-in"') + ARCHIVE)


@pytest.mark.parametrize("name", ["archive", "report"])
def test_a_watch_does_not_take_the_names_of_other_assets(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f'"{name}": key "name": other assets in Dagster begin with'):
        load(tmp_path, WATCH.replace('name = "incoming"', f'name = "{name}"') + ARCHIVE)
    load(tmp_path, WATCH + ARCHIVE.replace('name = "main"', f'name = "{name}"'))


def test_values_never_change(tmp_path: Path) -> None:
    config = load(tmp_path, WATCH + ARCHIVE)
    with pytest.raises(ValidationError):
        config.watch[0].recursive = True


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    config = load(tmp_path, f'[database]\npassword = "hush"\n{WATCH}{ARCHIVE}')
    assert "hush" not in repr(config)


def test_the_argument_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config() == tmp_path / "config.toml"
    monkeypatch.setenv("CARBONATION_CONFIG", "elsewhere/c.toml")
    assert find_config() == tmp_path / "elsewhere/c.toml"
    assert find_config("given.toml") == tmp_path / "given.toml"


def test_a_watch_and_an_archive_are_found_by_name(tmp_path: Path) -> None:
    config = load(tmp_path, WATCH + ARCHIVE)
    assert config.watch_named("incoming") is config.watch[0]
    assert config.archive_named("main") is config.archive[0]


def test_a_name_that_is_not_there_lists_the_known_ones(tmp_path: Path) -> None:
    config = load(tmp_path, WATCH + ARCHIVE)
    with pytest.raises(ConfigError, match='there is no watch "in"; known: "incoming"'):
        config.watch_named("in")
    with pytest.raises(ConfigError, match='there is no archive "tape"; known: "main"'):
        config.archive_named("tape")


def test_dots_and_dashes_become_underscores_in_dagster() -> None:
    assert dagster_name("site-a.v2_x") == "site_a_v2_x"


def test_a_second_look_finds_the_same(tmp_path: Path) -> None:
    assert load(tmp_path, WATCH + ARCHIVE) == load(tmp_path, WATCH + ARCHIVE)


def test_processes_of_a_service_read_what_it_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, other, copy = tmp_path / "config.toml", tmp_path / "other.toml", tmp_path / "accepted.toml"
    for path, name in ((file, "now"), (other, "other"), (copy, "accepted")):
        path.write_text(f'[[watch]]\nname = "{name}"\npath = "in"\nrules = "r"\n')
    monkeypatch.setenv("CARBONATION_CONFIG", str(file))
    monkeypatch.setenv("CARBONATION_ACCEPTED_CONFIG", str(copy))
    found = load_config()
    assert (found.watch[0].name, found.path) == ("accepted", file)
    assert load_config(other).watch[0].name == "other"


def test_the_path_of_a_config_leads_where_the_system_says(tmp_path: Path) -> None:
    (tmp_path / "projects" / "one").mkdir(parents=True)
    (tmp_path / "way").symlink_to("projects/one")
    found = find_config(tmp_path / "way" / ".." / "config.toml")
    assert found == tmp_path / "projects" / "config.toml"
    assert find_config(tmp_path / "way" / "config.toml") == tmp_path / "way" / "config.toml"
