"""Dagster's code server in one process, which another can follow while it serves.

`dagster code-server start` is two processes, of which the first stands before the
second and puts a new one in its place when definitions are loaded anew, while the
runs of the old one come to their end. Where workers have the runs, one process
does: `dagster api grpc`. It cannot load anew. Here it tells the service that
somebody wants it to, and the service starts its successor, which loads everything
before this one ends.

Standard input is the socket by which they speak: once {"fault": …} when all is
loaded or cannot be, {"reload": true} for each wish, and {"refused": …} as the
answer, where no successor is. What is used of Dagster is not public;
`tests/dagster/instance/test_code_server.py` notices when it changes.
"""

import json
import select
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import click
import grpc  # type: ignore[import-untyped]  # its types are a package of their own
from dagster._cli.api import grpc_command
from dagster._grpc import server
from dagster._grpc.__generated__ import dagster_api_pb2
from dagster._grpc.client import DagsterGrpcClient

from carbonation_dagster.environment import PROCESS_ENDS
from carbonation_dagster.logs.sender import begin_as_part

LONGEST_WORD = 1 << 16  # bytes
PORT_TIMEOUT = 30.0  # seconds for the one before to leave the port
RELOAD_TIMEOUT = 45.0  # seconds; Dagster's web server waits for 60
STEP = 0.1  # seconds between two looks for a successor
SHORT_STEP = 0.005  # seconds between two looks for the port: meanwhile nobody serves


class CodeServer(server.DagsterApiServer):
    """Dagster's, with definitions that can be loaded anew."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        begin_as_part()  # which the definitions did, but in the process that this one was forked from
        place = click.get_current_context().params
        self._host, self._port = place["host"], place["port"]
        self._service = socket.socket(fileno=sys.stdin.fileno())
        self._reloading = threading.Lock()
        fault = self._serializable_load_error
        while fault is not None and fault.cause is not None:
            fault = fault.cause
        self._say({"fault": fault and fault.message.strip()})
        self._wait_for_port()

    def ReloadCode(self, _request: object, context: grpc.ServicerContext) -> Any:  # noqa: N802  # Dagster's
        """Answer when the successor serves, or with why there is none."""
        with self._reloading:
            self._say({"reload": True})
            end = time.monotonic() + RELOAD_TIMEOUT
            while time.monotonic() < end:
                if self._has_successor():
                    return dagster_api_pb2.ReloadCodeReply()
                if (why := self._refusal()) is not None:
                    return context.abort(grpc.StatusCode.FAILED_PRECONDITION, why)
        return context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the service did not start another one")

    def cleanup(self) -> None:
        """End: ticks wait no longer, and the port is free at once, for whoever comes next."""
        PROCESS_ENDS.set()
        self._server_termination_event.set()
        super().cleanup()

    def _say(self, word: dict[str, Any]) -> None:
        with suppress(OSError):  # the service is gone, and ends this, too
            self._service.send(json.dumps(word).encode(), socket.MSG_DONTWAIT)

    def _refusal(self) -> str | None:
        ready, _, _ = select.select([self._service], [], [], STEP)
        word = self._service.recv(LONGEST_WORD) if ready else b""
        if ready and not word:  # the line is the successor's by now
            time.sleep(STEP)
        return str(json.loads(word)["refused"]) if word else None

    def _has_successor(self) -> bool:
        try:
            found = DagsterGrpcClient(port=self._port, host=self._host).get_server_id(timeout=1)
        except Exception:  # noqa: BLE001  # gRPC's errors and Dagster's: nobody serves at this moment
            return False
        return bool(found != self._server_id)

    def _wait_for_port(self) -> None:
        """Two could listen at once, and whoever asks would get words of either."""
        end = time.monotonic() + PORT_TIMEOUT
        while time.monotonic() < end:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with suppress(OSError):
                    probe.bind((self._host, self._port))
                    return
            time.sleep(SHORT_STEP)


if __name__ == "__main__":
    server.DagsterApiServer = CodeServer  # type: ignore[misc]
    grpc_command()
