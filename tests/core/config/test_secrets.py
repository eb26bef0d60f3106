"""Settings from the environment and secrets.toml."""

from pathlib import Path

import platformdirs
import pytest

from carbonation_core.config.secrets import settings
from carbonation_core.config.sections import DatabaseSection, NotifySection
from carbonation_core.errors import ConfigError

USER_CONFIG_PATH = platformdirs.user_config_path


@pytest.fixture(autouse=True)
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("platformdirs.user_config_path", lambda name: tmp_path / name)
    (tmp_path / "carbonation").mkdir()
    return tmp_path / "carbonation" / "secrets.toml"


def write(file: Path, text: str, mode: int = 0o600) -> None:
    file.write_text(text)
    file.chmod(mode)


def faults(given: dict[str, object]) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        settings("database", given, DatabaseSection)
    return list(raised.value.faults)


def test_config_wins_over_the_environment_and_that_over_secrets(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(secrets, '[database]\nusername = "file"\npassword = "file"\nhost = "file"\n')
    monkeypatch.setenv("CARBONATION_DATABASE_PASSWORD", "environment")
    monkeypatch.setenv("CARBONATION_DATABASE_HOST", "environment")
    assert settings("database", {"host": "config"}, DatabaseSection) == {
        "username": "file",
        "password": "environment",
        "host": "config",
    }


def test_a_user_without_home_and_name_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("platformdirs.user_config_path", USER_CONFIG_PATH)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert settings("database", {"port": 5432}, DatabaseSection) == {"port": 5432}


def test_without_secrets_only_what_is_given_counts() -> None:
    assert settings("database", {"port": 5432}, DatabaseSection) == {"port": 5432}


def test_a_port_in_the_environment_becomes_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARBONATION_DATABASE_PORT", "5432")
    assert settings("database", {}, DatabaseSection) == {"port": 5432}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o620])
def test_secrets_that_others_can_reach_are_refused(secrets: Path, mode: int) -> None:
    write(secrets, "[database]\n", mode)
    assert faults({}) == [f"{secrets}: others can read it; run: chmod 600 {secrets}"]


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_secrets_of_the_user_alone_are_read(secrets: Path, mode: int) -> None:
    write(secrets, '[database]\nhost = "db"\n', mode)
    assert settings("database", {}, DatabaseSection) == {"host": "db"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('password = "x"\n', 'there is no key or table "password"; known: "database", "notify"'),
        ('database = "x"\n', "[database]: should be a table"),
        ("[database]\npasword = 1\n", '[database]: there is no key "pasword"; did you mean "password"?'),
        ("[database]\nport = true\n", '[database]: key "port": should be a whole number, not true'),
        ("[database]\npassword = 7\n", '[database]: key "password": should be a string'),
        ("[database\n", "is not valid TOML: Expected ']' at the end of a table declaration"
         " (at line 1, column 10)"),
    ],
)  # fmt: skip
def test_a_fault_in_secrets_names_that_file(secrets: Path, text: str, fault: str) -> None:
    write(secrets, text)
    assert faults({}) == [f"{secrets}: {fault}"]


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("port", "db", 'should be a whole number, not "db"'),
        ("port", "0", "should be at least 1, not 0"),
        ("name", "", "should not be empty"),
    ],
)
def test_a_fault_in_the_environment_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str, fault: str
) -> None:
    variable = f"CARBONATION_DATABASE_{key.upper()}"
    monkeypatch.setenv(variable, value)
    assert faults({}) == [f'environment: {variable}: key "{key}": {fault}']


def test_where_messages_go_is_kept_there_too(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(secrets, '[notify]\nwebhook = "https://hooks.example.org/secret"\n')
    monkeypatch.setenv("CARBONATION_NOTIFY_TOKEN", "hidden")
    found = NotifySection(**settings("notify", {}, NotifySection))
    assert (found.webhook, found.token) == ("https://hooks.example.org/secret", "hidden")
    assert "secret" not in repr(found)
    assert "hidden" not in repr(found)


def test_no_message_repeats_a_secret_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARBONATION_NOTIFY_WEBHOOK", "hooks.example.org/secret")
    with pytest.raises(ConfigError) as raised:
        settings("notify", {}, NotifySection)
    assert raised.value.faults == (
        'environment: CARBONATION_NOTIFY_WEBHOOK: key "webhook": is no address of the form "https://host/path"',
    )
