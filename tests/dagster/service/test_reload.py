"""What is said of a configuration that was read again."""

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from carbonation_core.config.loading import Config, load_config
from carbonation_core.config.toml import is_array
from carbonation_core.errors import DatabaseError
from carbonation_core.pipeline.in_force import is_superseded
from carbonation_core.project import Project
from carbonation_core.reports import heartbeat
from carbonation_dagster.service import code_server, reload, started
from carbonation_dagster.service.lock import OwnFiles
from carbonation_dagster.service.processes import Process
from carbonation_dagster.service.reload import Reread, Rereading, changes
from tests.dagster.conftest import PLUGIN_SECTION
from tests.site import SINGLE, Site, SiteMaker

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


def read_again(site: Site, successor: Process) -> Reread:
    """What came of it, where that code server takes over."""
    rereading = Rereading(site.project, lambda before, now: successor)
    end = time.monotonic() + 30
    while rereading.result is None and time.monotonic() < end:
        time.sleep(0.01)
    assert rereading.result is not None
    return rereading.result


def test_a_configuration_that_holds_is_said_to_hold_though_offers_cannot_be_taken_back(
    make: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make(SINGLE, more=PLUGIN_SECTION)
    successor = cast(Process, object())

    def gone(project: Project) -> int:
        raise DatabaseError("database x cannot be reached")

    monkeypatch.setattr(reload, "_require_valid", lambda path: None)
    monkeypatch.setattr(reload, "recall", gone)
    read = read_again(site, successor)
    assert read.sentences[:2] == (
        "config.toml is as it was",
        "what was offered by the earlier configuration could not be taken back, and each run gives back its "
        "own: DatabaseError: database x cannot be reached",
    )
    assert read.project is not None
    assert read.successor is successor


def test_what_cannot_be_loaded_is_accepted_by_no_process(
    make: SiteMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, own = make(SINGLE), OwnFiles(tmp_path)
    before, file = site.project, site.project.config.path
    own.accept(before.config)
    accepted = own.accepted_config.read_text()
    heartbeat.begin(before, heartbeat.SERVICE)
    file.write_text(accepted.replace("[service]", '[service]\npoll_interval = "90s"'))
    now = replace(before, config=load_config(file))
    log: Any = SimpleNamespace(configure=lambda config: None)
    setup = started.Setup(own, {}, {}, tmp_path, cast(Any, None), 0, log)
    setup.__dict__["has_workers"] = False

    def load(port: int) -> None:
        assert own.accepted_config.read_text() == file.read_text()
        assert is_superseded(before, "incoming")
        raise code_server.LoadError("the definitions cannot be loaded: no memory")

    monkeypatch.setattr(started, "prepare_home", lambda config, given: tmp_path)
    monkeypatch.setattr(code_server, "reload", load)
    with pytest.raises(code_server.LoadError):
        setup.apply(before, now)
    assert own.accepted_config.read_text() == accepted
    assert not is_superseded(before, "incoming")
    assert is_superseded(now, "incoming")
