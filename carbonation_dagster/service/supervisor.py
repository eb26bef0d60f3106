"""Keeps the parts of the service alive: starts them, asks them, starts them again, and ends them."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from carbonation_core.errors import CarbonationError
from carbonation_core.reports.heartbeat import PartReport
from carbonation_core.text import counted
from carbonation_dagster.service.forked import UNTOLD
from carbonation_dagster.service.processes import Part, Probe, Process

START_TIMEOUT = 120.0  # seconds for a part to answer
UNANSWERED = 3  # questions in a row, after which a part that lives is taken for hung
STARTING_PACE, PACE = 0.2, 3.0  # seconds between two questions, to one that is to answer and one that did
STEADY = 60.0  # seconds that a part lives for its end to be the first one again
LONGEST_PAUSE = 15.0  # seconds before a part is started again
VAIN = 5  # starts in a row without an answer, after which we give up
VAIN_ONCE_WELL = 20  # the same of a part that has worked: what it waits for may come back
GRACE = 5.0  # seconds for a part to end that is started anew
LEAVE = 20.0  # seconds for a process to end that has a successor: what is asked of it comes to its end


class ServiceError(CarbonationError):
    """The service cannot go on."""


class _Question:
    """Asks in a thread of its own, which can be left behind."""

    def __init__(self, probe: Probe) -> None:
        self.answer: bool | str | CarbonationError | None = None  # None: not yet
        self._probe = probe
        threading.Thread(target=self._ask, daemon=True, name="question").start()

    def _ask(self) -> None:
        try:
            self.answer = self._probe()
        except CarbonationError as error:
            self.answer = error


@dataclass
class _Kept:
    """A part, its process, and what is known of it."""

    part: Part
    process: Process | None = None
    probe: Probe | None = None
    question: _Question | None = None
    started: float = 0.0
    start_due: float = 0.0
    ask_due: float = 0.0
    kill_due: float | None = None
    unanswered: int = 0
    hindered: int = 0  # answers in a row that were sentences
    trouble: str | None = None  # what is in its way
    answers: bool = False  # to the last questions
    answered_at: datetime | None = None
    starts: int = 0
    short_lives: int = 0  # in a row
    vain: int = 0  # starts in a row without any answer
    blame: str | None = None  # why we ended it ourselves
    anew: bool = False  # it was well, and is to be started again


class Supervisor:
    """Parts in the order of their start. `step()` is to be called a few times a second.

    `log` gets a sentence for what goes wrong. `before_start` gets a part and the pids of those that run.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        start: Callable[[Part], Process],
        log: Callable[[str], None],
        before_start: Callable[[Part, Collection[int]], None] = lambda part, running: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start_process, self._log, self._before_start = start, log, before_start
        self._monotonic = monotonic
        self._kept = {part.name: _Kept(part) for part in parts}
        self._leaving: dict[Process, float] = {}  # processes, and when each is killed

    @property
    def is_well(self) -> bool:
        """Whether every part answers."""
        return all(kept.answers for kept in self._kept.values())

    def reports(self) -> list[PartReport]:
        """How each part does."""
        return [
            PartReport(
                kept.part.name,
                kept.process.pid if kept.process else None,
                kept.answers,
                kept.answered_at,
                kept.starts,
                kept.trouble,
            )
            for kept in self._kept.values()
        ]

    def step(self) -> None:
        """See to every part; raises `ServiceError` when one cannot be brought to work."""
        for kept in self._kept.values():
            self._see_to(kept)
        for process, kill_due in list(self._leaving.items()):
            if process.poll() is not None:
                del self._leaving[process]
            elif self._monotonic() >= kill_due:
                process.kill()

    def renew(self, name: str) -> None:
        """Have a part that works end, and start it again."""
        kept = self._kept[name]
        if kept.process is not None and kept.kill_due is None:
            kept.anew, kept.answers, kept.kill_due = True, False, self._monotonic() + GRACE
            kept.process.terminate()

    def succeed(self, name: str, process: Process) -> None:
        """Have a part be that process from now on, which is ready to answer once the one before ends.

        Those that were started after it go on.
        """
        kept = self._kept[name]
        if kept.process is not None:
            kept.process.terminate()
            self._leaving[kept.process] = self._monotonic() + LEAVE
        kept.process, kept.started = process, self._monotonic()
        kept.question, kept.kill_due, kept.blame = None, None, None
        kept.unanswered, kept.anew, kept.starts = 0, False, kept.starts + 1

    def stop(self, deadline: float) -> None:
        """End all parts, by force at the deadline, one of `time.monotonic()`.

        Those that were started after another end first, and have half of the time.
        """
        running = [kept for kept in self._kept.values() if kept.process is not None]
        half = (time.monotonic() + deadline) / 2
        _end([kept.process for kept in running if kept.process and kept.part.after], half)
        last = [kept.process for kept in running if kept.process and not kept.part.after]
        _end([*last, *self._leaving], deadline)

    def _see_to(self, kept: _Kept) -> None:
        now = self._monotonic()
        if kept.process is None:
            if now >= kept.start_due and self._may_start(kept.part):
                self._start(kept, now)
            return
        code = kept.process.poll()
        if code is not None:
            self._has_ended(kept, now, kept.blame or _how(code))
        elif kept.kill_due is not None and now >= kept.kill_due:
            kept.process.kill()
        elif kept.kill_due is None:
            self._ask(kept, now)

    def _may_start(self, part: Part) -> bool:
        return all(self._kept[name].answers for name in (part.after, part.origin) if name is not None)

    def _start(self, kept: _Kept, now: float) -> None:
        self._before_start(kept.part, [pid for one in self.reports() if (pid := one.pid) is not None])
        kept.probe = kept.part.prober()
        kept.started = kept.ask_due = now
        kept.starts += 1
        kept.question, kept.kill_due, kept.blame = None, None, None
        kept.unanswered, kept.hindered, kept.anew = 0, 0, False
        try:
            kept.process = self._start_process(kept.part)
        except OSError as error:  # no memory, no process to be had: it may pass
            self._has_ended(kept, now, f"could not be started: {error.strerror}")

    def _ask(self, kept: _Kept, now: float) -> None:
        if kept.question is None:
            if now >= kept.ask_due:
                assert kept.probe is not None
                kept.question = _Question(kept.probe)
            return
        answer = kept.question.answer
        if answer is None:
            return
        kept.question, kept.ask_due = None, now + (PACE if answer else STARTING_PACE)
        if isinstance(answer, CarbonationError):
            raise ServiceError(f"the {kept.part.name}: {answer}")
        if answer:
            kept.answers, kept.unanswered, kept.vain = True, 0, 0
            kept.answered_at = datetime.now(UTC)
            self._heed(kept, answer if isinstance(answer, str) else None)
            return
        kept.unanswered += 1
        if kept.answers and kept.unanswered >= UNANSWERED:
            self._kill(kept, now, "lived but did not answer any more")
        elif not kept.answers and now - kept.started > START_TIMEOUT:
            self._kill(kept, now, f"did not answer within {START_TIMEOUT:.0f} s")

    def _heed(self, kept: _Kept, trouble: str | None) -> None:
        """Say what is in a part's way, once that lasts, and that it no longer is."""
        kept.hindered = kept.hindered + 1 if trouble else 0
        if trouble and kept.hindered >= UNANSWERED:
            if kept.trouble is None:
                self._log(f"the {kept.part.name} cannot work: {trouble}")
            kept.trouble = trouble
        elif trouble is None and kept.trouble is not None:
            kept.trouble = None
            self._log(f"the {kept.part.name} can work again; what it may have missed is started anew")
            # Threads of the other parts may have ended meanwhile, which nothing shows.
            self.renew(kept.part.after or kept.part.name)

    def _kill(self, kept: _Kept, now: float, why: str) -> None:
        assert kept.process is not None
        kept.blame, kept.kill_due = why, now
        kept.process.kill()

    def _has_ended(self, kept: _Kept, now: float, how: str) -> None:
        anew, name = kept.anew, kept.part.name
        kept.process, kept.question, kept.start_due = None, None, now
        if not anew:
            kept.short_lives = 1 if now - kept.started > STEADY else kept.short_lives + 1
            kept.vain = 0 if kept.answers else kept.vain + 1
            if kept.vain >= (VAIN if kept.answered_at is None else VAIN_ONCE_WELL):
                raise ServiceError(
                    f"the {name} was started {counted(kept.vain, 'time')} in vain; the last time it {how}"
                )
            pause = min(LONGEST_PAUSE, 2.0 ** (kept.short_lives - 1))
            kept.start_due += pause
            self._log(f"the {name} {how}; started again in {pause:.0f} s")
        kept.answers = False
        for other in self._kept.values():
            if other.part.after == name:
                self.renew(other.part.name)


def _end(processes: Sequence[Process], deadline: float) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _how(code: int) -> str:
    if code == UNTOLD:
        return "ended"
    return f"ended with exit code {code}" if code >= 0 else f"ended by {signal.Signals(-code).name}"
