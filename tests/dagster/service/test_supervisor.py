"""How parts are kept alive; the parts here are any processes."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from carbonation_core.errors import CarbonationError
from carbonation_dagster.service import supervisor as module
from carbonation_dagster.service.home import HomeError
from carbonation_dagster.service.processes import STANDS_STILL, Part, Probe, Pulse
from carbonation_dagster.service.supervisor import PACE, ServiceError, Supervisor

STUBBORN = ["sh", "-c", "trap '' TERM; echo trapped; while :; do sleep 1; done"]


@dataclass
class Stage:
    """A supervisor of processes that do nothing, with a clock that tests set."""

    now: float = 1000.0
    answers: dict[str, object] = field(default_factory=dict)
    command: list[str] = field(default_factory=lambda: ["sleep", "1000"])
    started: list[str] = field(default_factory=list)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    supervisor: Supervisor = field(init=False)

    def __post_init__(self) -> None:
        parts = [Part("first", (), self.prober("first"))]
        parts += [Part(name, (), self.prober(name), after="first") for name in ("second", "third")]
        self.supervisor = Supervisor(parts, self.start, self.said.append, monotonic=lambda: self.now)

    def prober(self, name: str) -> Callable[[], Probe]:
        def probe() -> bool | str:
            answer = self.answers.get(name, True)
            if isinstance(answer, Exception):
                raise answer
            assert isinstance(answer, bool | str)
            return answer

        return lambda: probe

    def start(self, part: Part) -> subprocess.Popen[bytes]:
        self.started.append(part.name)
        self.processes[part.name] = subprocess.Popen(self.command)
        return self.processes[part.name]

    def until(self, condition: Callable[[], object], pace: float = 0.0) -> None:
        """Step until it holds; the clock goes on by `pace` each time."""
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, self.said
            self.now += pace
            self.supervisor.step()
            time.sleep(0.002)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        self.processes[name].send_signal(number)
        self.processes[name].wait()

    def all_well(self) -> bool:
        return self.supervisor.is_well


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    for process in made.processes.values():
        process.kill()
        process.wait()


def test_parts_start_when_the_one_before_them_answers(stage: Stage) -> None:
    stage.answers["first"] = False
    for _ in range(20):
        stage.until(lambda: True)
        stage.supervisor.step()
    assert stage.started == ["first"]

    stage.answers["first"] = True
    stage.until(stage.all_well, pace=1)
    assert stage.started == ["first", "second", "third"]


def test_a_part_that_dies_is_started_again_and_the_others_live_on(stage: Stage) -> None:
    stage.until(stage.all_well)
    stage.kill("second")
    stage.until(lambda: not stage.all_well())
    stage.until(stage.all_well, pace=0.5)

    assert stage.started == ["first", "second", "third", "second"]
    assert stage.said == ["the second ended by SIGKILL; started again in 1 s"]
    assert [report.starts for report in stage.supervisor.reports()] == [1, 2, 1]


def test_what_was_started_after_a_part_is_started_anew_with_it(stage: Stage) -> None:
    stage.until(stage.all_well)
    stage.kill("first")
    stage.until(lambda: not stage.all_well())
    stage.until(stage.all_well, pace=0.5)

    assert stage.started[3] == "first"
    assert sorted(stage.started[4:]) == ["second", "third"]
    assert len(stage.said) == 1


def test_a_part_that_lives_but_does_not_answer_is_started_again(stage: Stage) -> None:
    stage.until(stage.all_well)
    hung = stage.processes["third"]
    stage.answers["third"] = False
    stage.until(lambda: stage.said, pace=1)
    stage.answers["third"] = True
    stage.until(stage.all_well, pace=0.5)

    assert stage.said == ["the third lived but did not answer any more; started again in 1 s"]
    assert hung.wait() == -signal.SIGKILL


def test_one_question_without_an_answer_is_no_reason(stage: Stage) -> None:
    stage.until(stage.all_well)
    stage.answers["third"] = False
    stage.until(lambda: stage.supervisor._kept["third"].unanswered == 1, pace=1)
    stage.answers["third"] = True
    stage.until(lambda: stage.supervisor._kept["third"].unanswered == 0, pace=1)
    assert stage.said == []


def test_a_part_that_never_answers_is_given_up_with_the_reason(stage: Stage) -> None:
    stage.answers["first"] = False
    stage.command = ["sh", "-c", "exit 3"]
    with pytest.raises(ServiceError, match="the first was started 5 times in vain; the last time it ended "):
        stage.until(lambda: False, pace=1)
    assert [line.rpartition(" in ")[2] for line in stage.said] == ["1 s", "2 s", "4 s", "8 s"]


def test_a_part_that_has_worked_is_waited_for_longer(stage: Stage) -> None:
    stage.until(stage.all_well)
    stage.command = ["sh", "-c", "exit 3"]
    stage.answers["second"] = False
    stage.kill("second")
    with pytest.raises(ServiceError, match="the second was started 20 times in vain; the last"):
        stage.until(lambda: False, pace=5)


def test_a_part_that_does_not_begin_to_answer_in_time_is_started_again(stage: Stage) -> None:
    stage.answers["first"] = False
    stage.until(lambda: stage.said, pace=10)
    assert stage.said == ["the first did not answer within 120 s; started again in 1 s"]


def test_a_part_that_works_for_moments_is_never_given_up_but_pauses(stage: Stage) -> None:
    stage.until(stage.all_well)
    for _ in range(module.VAIN + 2):
        stage.kill("second")
        stage.until(lambda: not stage.all_well())
        stage.until(stage.all_well, pace=0.5)
    assert stage.said[-1].endswith(f"started again in {module.LONGEST_PAUSE:.0f} s")

    stage.now += module.STEADY + 1
    stage.kill("second")
    stage.until(lambda: not stage.all_well())
    assert stage.said[-1].endswith("started again in 1 s")


def test_a_reason_not_to_go_on_is_told(stage: Stage) -> None:
    stage.answers["first"] = CarbonationError("the definitions cannot be loaded: no such plugin")
    with pytest.raises(ServiceError, match="the first: the definitions cannot be loaded: no such plugin"):
        stage.until(lambda: False)


def test_a_process_that_cannot_be_had_is_tried_for_again(stage: Stage) -> None:
    stage.command = ["/nonexistent"]
    stage.until(lambda: stage.said)
    assert stage.said == ["the first could not be started: No such file or directory; started again in 1 s"]
    stage.command = ["sleep", "1000"]
    stage.until(stage.all_well, pace=0.5)


def test_a_part_is_renewed_without_a_word_and_by_force_if_need_be(stage: Stage) -> None:
    stage.command = STUBBORN
    stage.until(stage.all_well)
    stage.command = ["sleep", "1000"]
    old = stage.processes["second"]
    stage.supervisor.renew("second")
    assert not stage.all_well()
    stage.until(stage.all_well, pace=0.5)

    assert stage.processes["second"] is not old
    assert old.wait() in (-signal.SIGTERM, -signal.SIGKILL)
    assert stage.said == []


def test_a_successor_takes_over_while_the_others_go_on(stage: Stage) -> None:
    stage.until(stage.all_well)
    before, after = stage.processes["first"], subprocess.Popen(["sleep", "1000"])
    stage.processes["its successor"] = after
    stage.supervisor.succeed("first", after)
    assert stage.all_well()
    stage.until(lambda: before.poll() is not None)
    stage.until(lambda: stage.now > 1100 and stage.all_well(), pace=PACE)

    assert stage.supervisor.reports()[0].pid == after.pid
    assert (stage.started, stage.said) == (["first", "second", "third"], [])
    stage.supervisor.stop(time.monotonic() + 4)
    assert after.poll() == -signal.SIGTERM


def test_one_that_does_not_leave_its_place_is_made_to(stage: Stage) -> None:
    stage.command = STUBBORN
    stage.until(lambda: "first" in stage.processes)
    stage.command = ["sleep", "1000"]
    stage.until(stage.all_well)
    stage.processes["its successor"] = subprocess.Popen(stage.command)
    stage.supervisor.succeed("first", stage.processes["its successor"])
    stage.until(lambda: stage.processes["first"].poll() is not None, pace=PACE)


def test_all_are_ended_the_last_first_and_the_stubborn_by_force(stage: Stage) -> None:
    stage.command = STUBBORN
    stage.until(lambda: "first" in stage.processes)
    stage.command = ["sleep", "1000"]
    stage.until(stage.all_well)
    stage.supervisor.stop(time.monotonic() + 4)
    ends = [process.returncode for process in stage.processes.values()]
    assert ends[0] in (-signal.SIGTERM, -signal.SIGKILL)
    assert ends[1:] == [-signal.SIGTERM] * 2


def test_the_daemon_works_while_each_of_its_loops_moves() -> None:
    now, told = [0.0], {"SENSOR": 5.0, "SCHEDULER": None}
    pulse = Pulse(lambda: dict(told), monotonic=lambda: now[0])

    assert not pulse()  # what is there was said by an earlier daemon
    told["SENSOR"] = 6.0
    assert not pulse()
    told["SCHEDULER"] = 1.0  # by a clock that went back, and it moves all the same
    assert pulse()
    now[0] += STANDS_STILL - 1
    told["SENSOR"] = 7.0
    assert pulse()
    now[0] += 1
    assert not pulse()


def test_a_daemon_that_has_spoken_before_the_first_question_works() -> None:
    told: dict[str, float | None] = {"SENSOR": time.time() - 1, "SCHEDULER": None}
    pulse = Pulse(lambda: dict(told))
    told |= dict.fromkeys(told, time.time() + 0.1)
    assert pulse()


def test_a_part_that_is_forked_waits_for_what_it_is_forked_from_and_outlives_it() -> None:
    stage = Stage()
    parts = [Part("child", (), stage.prober("child"), origin="pool"), Part("pool", (), stage.prober("pool"))]
    stage.supervisor = Supervisor(parts, stage.start, stage.said.append, monotonic=lambda: stage.now)
    try:
        stage.until(stage.all_well)
        stage.kill("pool")
        stage.until(lambda: not stage.all_well())
        stage.until(stage.all_well, pace=0.5)
        assert stage.started == ["pool", "child", "pool"]
    finally:
        for process in stage.processes.values():
            process.kill()
            process.wait()


def test_a_storage_that_cannot_be_asked_says_nothing_against_the_daemon() -> None:
    now, told = [0.0], {"SENSOR": 5.0}
    broken = [False]

    def ask() -> dict[str, float | None]:
        if broken[0]:
            raise HomeError("no connection")
        return dict(told)

    pulse = Pulse(ask, monotonic=lambda: now[0])
    broken[0] = True
    assert not pulse()
    broken[0] = False
    pulse()
    told["SENSOR"] = 6.0
    assert pulse()
    broken[0] = True
    now[0] += 10 * STANDS_STILL
    assert pulse() == "no connection"
    broken[0] = False
    assert pulse() is True


def test_what_is_in_the_way_of_a_part_is_told_and_after_it_what_it_follows_is_started_anew(
    stage: Stage,
) -> None:
    stage.until(stage.all_well)
    stage.answers["second"] = "the disk is full"

    def trouble() -> str | None:
        (second,) = (part for part in stage.supervisor.reports() if part.name == "second")
        assert second.is_well
        return second.trouble

    stage.until(trouble, pace=PACE)
    assert trouble() == "the disk is full"
    assert stage.said == ["the second cannot work: the disk is full"]
    assert stage.started == ["first", "second", "third"]

    del stage.answers["second"]
    stage.until(lambda: len(stage.started) == 6 and stage.all_well(), pace=0.5)
    assert trouble() is None
    assert stage.said[1:] == ["the second can work again; what it may have missed is started anew"]
    assert sorted(stage.started[3:]) == ["first", "second", "third"]
