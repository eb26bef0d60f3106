"""What holds for every command: where its configuration is named, its help, what a mistake gets."""

import pytest
from click.testing import CliRunner

from carbonation_dagster.cli import main
from tests import databases
from tests.acceptance._helpers.command import TOGETHER, Desk, new_desk

pytestmark = [TOGETHER, databases.one]  # arguments and sentences


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    made = new_desk(tmp_path_factory.mktemp("desk"))
    config = str(made.directory / "config.toml")
    made.good("db", "init", "-c", config)
    return Desk(made.directory / "incoming")  # where there is no config.toml


def test_the_configuration_is_named_before_the_command_or_after_it(desk: Desk) -> None:
    config = "../config.toml"
    assert desk.good("-c", config, "query", "files", "--count") == "0\n"
    assert desk.good("query", "-c", "elsewhere", "files", "--count", f"--config={config}") == "0\n"
    # A value is a value, whatever it looks like.
    assert desk.good("query", "files", f"-c{config}", "--count", "--instrument", "-c") == "0\n"


def test_the_name_of_a_watch_has_one_spelling_and_the_old_one_goes_on_working(desk: Desk) -> None:
    for option in ("--watch-name", "--watch"):
        refused = desk.wrong("reconcile", "delivery", "-c", "../config.toml", option, "nowhere")
        assert 'there is no watch "nowhere"; known: incoming' in refused
    assert "--watch " not in _help("reconcile", "delivery")


def test_a_command_that_there_is_not_gets_a_hint() -> None:
    done = CliRunner().invoke(main, ["stauts"])
    assert done.exit_code == 2
    assert 'there is no command "stauts"; did you mean "status"?' in done.output
    assert 'known: "archive", "delivery"' in CliRunner().invoke(main, ["reconcile", "nonsense"]).output


def test_the_help_cuts_no_sentence_and_shows_examples() -> None:
    told = _help()
    assert "..." not in told.replace("[ARGS]...", "")
    assert "  carbonation db init\n" in told
    assert "  carbonation retry --group-key run1\n" in _help("retry")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(shell: str) -> None:
    told = CliRunner().invoke(main, ["completion", shell])
    assert told.exit_code == 0
    assert "_CARBONATION_COMPLETE" in told.output


def test_a_shell_completes_the_names_of_watches(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_CARBONATION_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "carbonation retry -c ../config.toml --watch-name i")
    monkeypatch.setenv("COMP_CWORD", "5")
    assert desk.good() == "plain,incoming\n"


def _help(*words: str) -> str:
    done = CliRunner().invoke(main, [*words, "--help"], terminal_width=60)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("words", [("run", "-q"), ("run", "--once", "-q", "-v"), ("run", "--dry-run", "-v")])
def test_to_say_less_or_more_is_for_a_pass(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert "-q" in done.output
