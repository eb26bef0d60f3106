"""One run at a time in a worker, and which of them an interruption reaches."""

import json
import socket
import subprocess
import sys
import time

from dagster._utils.interrupts import check_captured_interrupt

from carbonation_dagster.instance.worker import Worker


def test_a_run_that_is_ended_before_it_begins_is_interrupted_and_no_other_is() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    interrupted: dict[str, bool] = {}

    def execute(run_id: str) -> None:
        if run_id == "first":
            for word in ({"run": "second"}, {"terminate": "second"}, {"run": "third"}):
                ours.send(json.dumps(word).encode())
            ours.shutdown(socket.SHUT_WR)
            while worker._runs.qsize() < 3:  # all of that was heard
                time.sleep(0.001)
        interrupted[run_id] = check_captured_interrupt()

    with ours, theirs:
        ours.send(b'{"run": "first"}')
        worker = Worker(theirs, execute)
        worker.serve()
    assert interrupted == {"first": False, "second": True, "third": False}


def test_a_thread_that_a_plugin_started_keeps_no_worker_alive() -> None:
    script = """
import threading, time
from carbonation_dagster.instance import worker
worker.load = lambda: threading.Thread(target=time.sleep, args=(300,)).start()
worker.serve = lambda pool: None
worker.main()
"""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        command = [sys.executable, "-c", script, str(theirs.fileno())]
        subprocess.run(command, pass_fds=[theirs.fileno()], timeout=60, check=True)
