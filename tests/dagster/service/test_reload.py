"""What is said of a configuration that was read again."""

from pathlib import Path

from carbonation_core.config.loading import Config, load_config
from carbonation_core.config.toml import is_array
from carbonation_dagster.service.reload import changes

BEFORE = """
[service]
poll_interval = "5s"
[database]
drivername = "postgresql"
password = "old secret"
[notify]
command = ["mail", "one@example.org"]
webhook = "https://example.org/old_secret"
token = "old_secret"
[[watch]]
name = "a"
path = "a"
rules = "r"
[[watch]]
name = "b"
path = "b"
rules = "r"
[[archive]]
name = "main"
destination = "archive"
"""


def loaded(directory: Path, text: str) -> Config:
    (directory / "config.toml").write_text(text)
    return load_config(directory / "config.toml")


def test_each_key_that_differs_is_told_and_no_secret(tmp_path: Path) -> None:
    after = BEFORE.replace('"5s"', '"90s"').replace("one@", "two@").replace('"b"', '"c"')
    after = after.replace("old secret", "new secret").replace("old_secret", "new_secret")
    after = after.replace('destination = "archive"', 'destination = "archive"\naction = "move"')
    said = changes(loaded(tmp_path, BEFORE), loaded(tmp_path, after))
    assert said == [
        "[[archive]] \"main\" action: copy, now move",
        "[database] password is another one",
        '[notify] command: ["mail", "one@example.org"], now ["mail", "two@example.org"]',
        "[notify] token is another one",
        "[notify] webhook is another one",
        "[service] poll_interval: 5s, now 90s",
        'watch "b" is configured no more',
        'watch "c" is new',
    ]  # fmt: skip
    assert "secret" not in " ".join(said)


def test_every_table_is_compared(tmp_path: Path) -> None:
    before = loaded(tmp_path, BEFORE)
    for table, field in Config.model_fields.items():
        now = getattr(before, table)
        if is_array(field.annotation):
            changed = now[1:]
        else:
            key = next(iter(type(now).model_fields))
            changed = now.model_copy(update={key: "something else"})
        assert changes(before, before.model_copy(update={table: changed})), table


def test_nothing_is_said_of_what_is_as_it_was(tmp_path: Path) -> None:
    assert changes(loaded(tmp_path, BEFORE), loaded(tmp_path, BEFORE)) == []
