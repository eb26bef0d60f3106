"""What is asked of Dagster's code server. Its client is not public, and used nowhere else."""

from dagster._grpc.client import DagsterGrpcClient
from dagster._serdes import deserialize_value
from dagster_shared.error import SerializableErrorInfo

from carbonation_core.errors import CarbonationError

HOST = "127.0.0.1"
ANSWER_TIMEOUT = 10  # seconds
RELOAD_TIMEOUT = 60  # seconds


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
