"""Messages about what failed, handed to a program or to a web address, in a time that is bounded."""

import http.client
import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from carbonation_core.config.loading import Config
from carbonation_core.config.sections import NotifySection
from carbonation_core.db import service
from carbonation_core.db.engine import reading, repeatable, writing
from carbonation_core.errors import CarbonationError
from carbonation_core.project import Project
from carbonation_core.text import counted

PART = "notify:"  # before a target's name: the part of the service that it is
LONGEST_PAUSE = timedelta(hours=1)  # between two attempts to get a message through
LONGEST_LIST = 20  # failures that are named; all are counted
LONGEST_REASON = 1000  # characters


class NotifyError(CarbonationError):
    """A message did not reach whoever should have it."""


@dataclass(frozen=True)
class Failure:
    """Something that failed: a `run_failure`, a `check_failure`, or an `arrival`.

    An arrival is late or missed, or came after all: then `is_over`. `name` is the run's id,
    asset and name of the check, or watch and key; `url` leads to it in the UI, where that is known.
    """

    kind: str
    name: str
    title: str
    reason: str
    at: str
    url: str | None = None
    labels: Mapping[str, str] | None = None
    is_over: bool = False


@dataclass(frozen=True)
class Unreached:
    """A target that messages do not reach: why, since which attempt, and when the next one is."""

    target: str
    error: str
    attempts: int
    again_at: datetime


def targets(section: NotifySection) -> tuple[str, ...]:
    """Where messages go: of `log`, `command` and `webhook` those that are configured."""
    configured = {"log": section.log, "command": bool(section.command), "webhook": bool(section.webhook)}
    return tuple(name for name, wanted in configured.items() if wanted and section.on)


def message(failures: Sequence[Failure], service: str) -> dict[str, Any]:
    """What is sent: `text` for people, `failures` for programs. Long lists are cut, `number` is of all."""
    named = [_cut(one) for one in failures[:LONGEST_LIST]]
    more = len(failures) - len(named)
    over = sum(one.is_over for one in failures)
    what = counted(len(failures) - over, "failure") if over < len(failures) else "no failure"
    what += f", {over} came after all" if over else ""
    lines = [f"Carbonation, {service}: {what}"]
    lines += [f"- {one.title}: {one.reason}" + (f" {one.url}" if one.url else "") for one in named]
    if more:
        lines.append(f"- and {more} more")
    return {
        "text": "\n".join(lines),
        "service": service,
        "number": len(failures),
        "failures": [asdict(one) for one in named],
    }


def run_command(config: Config, content: Mapping[str, Any]) -> None:
    """Give the message to the command of `[notify]`, as JSON on its standard input.

    Raises `NotifyError` when it cannot be started, takes too long or ends with another
    exit code than 0.
    """
    section = config.notify
    program, seconds = section.command[0], section.timeout.total_seconds()
    try:
        process = subprocess.Popen(  # noqa: S603  # the operator's own words
            section.command,
            cwd=config.directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise NotifyError(f'command "{program}" cannot be started: {error.strerror}') from None
    try:
        process.communicate(json.dumps(content).encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it started, too
        process.wait()
        raise NotifyError(f'command "{program}" took longer than {seconds:g} s and was ended') from None
    if process.returncode:
        raise NotifyError(f'command "{program}" ended with exit code {process.returncode}')


def post(section: NotifySection, content: Mapping[str, Any]) -> None:
    """Send the message to the webhook of `[notify]`, as JSON by POST.

    Raises `NotifyError` when nothing but a 2xx comes back in time; redirections are
    not followed, as they could lead a token elsewhere. What it says names the
    host, never address or token.
    """
    assert section.webhook is not None
    seconds = section.timeout.total_seconds()
    answers: list[int | str] = []
    # A server can make each read of a socket wait; only another thread bounds the whole.
    asking = threading.Thread(target=lambda: answers.append(_answer(section, content)), daemon=True)
    asking.start()
    asking.join(seconds)
    host = urlsplit(section.webhook).hostname
    if not answers:
        raise NotifyError(f"{host} did not answer within {seconds:g} s")
    if isinstance(answers[0], str):
        raise NotifyError(f"{host}: {answers[0]}")
    if not 200 <= answers[0] < 300:
        raise NotifyError(f"{host} answered with status {answers[0]}")


def unreached(project: Project) -> list[Unreached]:
    """The targets that the last message did not reach."""
    with reading(project.engine) as connection:
        said = service.parts(connection, project.config.service.site_name)
    parts = {part.part: part for part in said if part.part.startswith(PART)}
    return [
        Unreached(
            name.removeprefix(PART),
            part.details["error"],
            part.details["attempts"],
            datetime.fromisoformat(part.details["again_at"]),
        )
        for name, part in sorted(parts.items())
        if part.details.get("error") and name.removeprefix(PART) in targets(project.config.notify)
    ]


@repeatable
def note(project: Project, target: str, error: str | None) -> None:
    """Remember how the last attempt to reach a target went; each that fails doubles the pause."""
    before = {one.target: one for one in unreached(project)}.get(target)
    if error is None and before is None:
        return
    now, details = project.clock(), {}
    if error is not None:
        attempts = before.attempts + 1 if before else 1
        pause = min(project.config.notify.interval * 2 ** min(attempts - 1, 20), LONGEST_PAUSE)
        details = {"error": error, "attempts": attempts, "again_at": (now + pause).isoformat()}
    with writing(project.engine) as connection:
        site = project.config.service.site_name
        service.say(connection, PART + target, now, details, site=site, started=before is None)


def _answer(section: NotifySection, content: Mapping[str, Any]) -> int | str:
    """The status that came back, or why none did."""
    address = urlsplit(section.webhook or "")
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    headers = {"Content-Type": "application/json", "User-Agent": "carbonation"}
    if section.token is not None:
        headers["Authorization"] = f"Bearer {section.token}"
    try:
        # Longer than whoever waits: this only ends the thread that was left behind.
        longest = 2 * section.timeout.total_seconds()
        connection = kind(address.hostname or "", address.port, timeout=longest)
        try:
            path = (address.path or "/") + (f"?{address.query}" if address.query else "")
            connection.request("POST", path, json.dumps(content).encode(), headers)
            return connection.getresponse().status
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        # No more than its kind: what it says may repeat the address.
        reason = error.strerror if isinstance(error, OSError) else None
        return reason or type(error).__name__


def _cut(one: Failure) -> Failure:
    if len(one.reason) <= LONGEST_REASON:
        return one
    return replace(one, reason=one.reason[: LONGEST_REASON - 1] + "…")
