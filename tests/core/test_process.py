"""A process can be told dead from alive."""

import os
import signal
import subprocess
import sys

from carbonation_core.process import is_dead, this_process


def test_this_process_is_alive() -> None:
    assert not is_dead(this_process("run-1"))


def test_a_process_that_ended_is_dead_even_before_its_parent_notices() -> None:
    code = "from carbonation_core.process import this_process; print(this_process('r'), flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        owner = child.stdout.readline().strip()
        assert not is_dead(owner)
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
        assert is_dead(owner)
    assert is_dead(owner)


def test_a_pid_that_was_given_again_is_another_process() -> None:
    here, pid, _ = this_process("r").split("/")
    assert is_dead(f"{here}/{pid}/1#r")


def test_nothing_is_said_of_a_process_on_another_machine() -> None:
    _, pid, start = this_process("r").split("/")
    assert not is_dead(f"another-boot/{pid}/{start}")
