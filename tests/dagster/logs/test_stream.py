"""The one log of the service: several processes write, one process keeps."""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from carbonation_core.config.loading import Config, load_config
from carbonation_core.errors import ConfigError
from carbonation_core.logs.records import JsonForm
from carbonation_dagster.logs import sender as log_sender
from carbonation_dagster.logs.lines import Lines
from carbonation_dagster.logs.sender import Sender
from carbonation_dagster.logs.stream import ServiceLog

ROOT = Path(__file__).parents[3]
LOGGING = '[logging]\nfile = "log/c.log"\nformat = "json"\n'
WATCH = '[[watch]]\nname = "w"\npath = "in"\nrules = "r"\n'


@pytest.fixture(autouse=True)
def logging_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    yield
    logging.captureWarnings(False)
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def configured(directory: Path, text: str = LOGGING, more: str = "") -> Config:
    (directory / "config.toml").write_text(text + WATCH + more, encoding="utf-8")
    return load_config(directory / "config.toml")


def started(log: ServiceLog, part: str, code: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **log.environment, "PYTHONPATH": str(ROOT)}
    with log.outlet(part) as (stdout, stderr):
        return subprocess.Popen([sys.executable, "-c", code], stdout=stdout, stderr=stderr, env=environment)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


PART = """
import logging, subprocess, sys
from carbonation_core.logs.records import SUCCESS, about
from carbonation_dagster.logs.sender import begin_as_part
begin_as_part()
with about(watch="w", group_key="g", run_id="r"):
    logging.getLogger("my_plugin").log(SUCCESS, "done with s3cret")
logging.getLogger("my_plugin").debug("not wanted")
print("printed")
subprocess.run(["sh", "-c", "echo of a child >&2"])
raise RuntimeError("of a plugin")
"""


def test_all_that_a_part_and_its_children_say_is_in_one_form(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = configured(tmp_path, more='[database]\npassword = "s3cret"\n')
    with closing(ServiceLog(config)) as log:
        started(log, "code server", PART).wait()
        logging.getLogger("carbonation_dagster.x").info("the front process, too")

    found = lines(tmp_path / "log/c.log")
    assert [json.loads(line) for line in capfd.readouterr().err.splitlines()] == found
    by_message = {line["message"]: line for line in found}
    done = by_message["done with ***"]
    assert (done["level"], done["watch"], done["group_key"], done["run_id"]) == ("SUCCESS", "w", "g", "r")
    assert (by_message["printed"]["logger"], by_message["printed"]["level"]) == ("code server", "INFO")
    assert by_message["of a child"]["level"] == "WARNING"
    assert by_message["ended by a fault of its own: RuntimeError: of a plugin"]["level"] == "CRITICAL"
    assert "the front process, too" in by_message
    assert len(found) == 5


TALKERS = """
import os, sys
for _ in range(4):
    if not os.fork():
        letter = chr(ord("a") + _)
        for number in range(20):
            os.write(1 + number % 2, f"{letter * 70_000}{number}\\n".encode())
        os._exit(0)
for _ in range(4):
    os.wait()
"""


def test_long_lines_of_several_processes_neither_mix_nor_get_lost(tmp_path: Path) -> None:
    with closing(ServiceLog(configured(tmp_path))) as log:
        assert started(log, "code server", TALKERS).wait() == 0

    found = [line["message"] for line in lines(tmp_path / "log/c.log")]
    wanted = {f"{letter * 70_000}{number}" for letter in "abcd" for number in range(20)}
    assert len(found) == len(wanted)
    assert set(found) == wanted


def test_a_file_that_cannot_be_opened_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file", encoding="utf-8")

    with pytest.raises(ConfigError, match=r'\[logging\]: key "file": ".*": File exists'):
        ServiceLog(configured(tmp_path))


def test_another_configuration_takes_effect_at_once(tmp_path: Path) -> None:
    log = ServiceLog(configured(tmp_path))
    told = logging.getLogger("carbonation_core.x")
    told.info("one")
    log.configure(configured(tmp_path, LOGGING.replace("c.log", "d.log") + 'level = "ERROR"\n'))
    told.info("two")
    told.error("three")
    log.close()

    assert [line["message"] for line in lines(tmp_path / "log/c.log")] == ["one"]
    assert [line["message"] for line in lines(tmp_path / "log/d.log")] == ["three"]


@pytest.mark.parametrize(
    ("level", "of_dagster"),
    [("TRACE", "debug"), ("DEBUG", "info"), ("SUCCESS", "warning"), ("CRITICAL", "critical")],
)
def test_dagster_is_asked_for_what_is_wanted_of_it(tmp_path: Path, level: str, of_dagster: str) -> None:
    with closing(ServiceLog(configured(tmp_path, f'[logging]\nlevel = "{level}"\n'))) as log:
        assert log.dagster_level == of_dagster


def sender() -> tuple[Sender, socket.socket]:
    ours, theirs = socket.socketpair()
    handler = Sender(theirs)
    handler.setFormatter(JsonForm())
    return handler, ours


def say(handler: Sender, message: str) -> None:
    handler.handle(logging.makeLogRecord({"levelname": "INFO", "levelno": 20, "msg": message}))


def test_who_logs_never_waits_for_a_front_process_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_sender, "MOST_WAITING", 100)
    handler, front = sender()
    number = 10_000
    for n in range(number):
        say(handler, f"line {n}")

    found: list[str] = []
    told = Lines("x", logging.INFO)
    front.settimeout(0.2)
    while True:
        try:
            data = front.recv(1_000_000)
        except TimeoutError:
            if len(found) and found[-1] == "again":
                break
            say(handler, "again")
            continue
        found += [record.getMessage() for record in told.feed(data)]
    front.close()
    handler._to.close()

    lost = [message for message in found if "lost, as nobody" in message]
    kept = [message for message in found if message.startswith("line")]
    assert kept == [f"line {n}" for n in range(len(kept))]
    assert sum(int(message.split()[0]) for message in lost) == number - len(kept)
    assert lost


def test_a_front_process_that_is_gone_disturbs_nobody() -> None:
    handler, front = sender()
    front.close()
    say(handler, "to nobody")
    say(handler, "to nobody")
    handler.close()
    handler._to.close()
