"""What is asked of Dagster's code server. Its client is not public, and used nowhere else."""

import json
import socket
from contextlib import suppress

from dagster._grpc.client import DagsterGrpcClient
from dagster._serdes import deserialize_value
from dagster_shared.error import SerializableErrorInfo

from carbonation_core.errors import CarbonationError

HOST = "127.0.0.1"
ANSWER_TIMEOUT = 10  # seconds
RELOAD_TIMEOUT = 60  # seconds
LONGEST_WORD = 1 << 16  # bytes


class LoadError(CarbonationError):
    """The code server cannot load the definitions."""


def answers(port: int) -> bool:
    """Whether the server on that port answers, and its process that has the definitions, too."""
    # Its health service answers by itself, even when the process behind it is dead.
    try:
        DagsterGrpcClient(port=port, host=HOST).get_server_id(timeout=ANSWER_TIMEOUT)
    except Exception:  # noqa: BLE001  # gRPC's errors and Dagster's: either is no answer
        return False
    return True


def require_loaded(port: int) -> None:
    """Raise `LoadError` when it could not load the definitions."""
    told = deserialize_value(DagsterGrpcClient(port=port, host=HOST).list_repositories())
    if isinstance(told, SerializableErrorInfo):
        cause = told
        while cause.cause is not None:
            cause = cause.cause
        raise LoadError(f"the definitions cannot be loaded: {cause.message.strip()}")


def reload(port: int) -> None:
    """Have the definitions loaded anew, in a new process; runs of the old one go on. Raises `LoadError`."""
    DagsterGrpcClient(port=port, host=HOST).reload_code(timeout=RELOAD_TIMEOUT)
    require_loaded(port)


class Line:
    """The line to a code server of ours; see `carbonation_dagster.instance.code_server` for what is said."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def require_loaded(self) -> None:
        """Wait until it has loaded the definitions; raises `LoadError` when it cannot, or ends before."""
        self._ours.settimeout(RELOAD_TIMEOUT)
        try:
            word = self._ours.recv(LONGEST_WORD)
        except OSError as error:
            raise LoadError(f"the definitions were not loaded within {RELOAD_TIMEOUT} s") from error
        fault = json.loads(word)["fault"] if word else "their process has ended, and the log says why"
        if fault is not None:
            raise LoadError(f"the definitions cannot be loaded: {fault}")

    def close(self) -> None:
        """Hear no more."""
        self._ours.close()

    def wants_reload(self) -> bool:
        """Whether it has asked to have them loaded anew since the last time."""
        self._ours.settimeout(0)
        with suppress(OSError):
            while word := self._ours.recv(LONGEST_WORD):
                if "reload" in json.loads(word):
                    return True
        return False

    def refuse(self, why: str) -> None:
        """Say why that is not done, to whoever asked."""
        with suppress(OSError):
            self._ours.send(json.dumps({"refused": why}).encode())
