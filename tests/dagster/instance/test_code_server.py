"""What our code server hangs on in Dagster that is not public; and the line between it and the service."""

import inspect
import json
from contextlib import closing

import pytest
from dagster._cli import api
from dagster._grpc import server

from carbonation_dagster.instance.code_server import CodeServer
from carbonation_dagster.service.code_server import Line, LoadError


def test_dagster_makes_the_class_that_its_module_names_and_has_what_ours_changes() -> None:
    assert "from dagster._grpc.server import DagsterApiServer" in inspect.getsource(api.grpc_command.callback)
    for name in ("ReloadCode", "cleanup"):
        assert getattr(CodeServer, name) is not getattr(server.DagsterApiServer, name)
    made = inspect.getsource(server.DagsterApiServer.__init__)
    assert all(f"self.{name}" in made for name in ("_server_id", "_serializable_load_error"))
    assert {"host", "port", "lazy_load_user_code"} <= {one.name for one in api.grpc_command.params}


def test_the_end_of_dagsters_server_waits_for_the_event_that_ours_sets() -> None:
    assert "termination_event.wait()" in inspect.getsource(server.server_termination_target)
    assert "_api_servicer.cleanup()" in inspect.getsource(server.DagsterGrpcServer.serve)


def test_the_line_tells_that_all_is_loaded_and_who_wants_it_anew() -> None:
    with closing(Line()) as line, line.theirs as server_end:
        server_end.send(json.dumps({"fault": None}).encode())
        line.require_loaded()
        assert not line.wants_reload()
        server_end.send(json.dumps({"reload": True}).encode())
        assert line.wants_reload()
        line.refuse("no such key")
        assert json.loads(server_end.recv(1000)) == {"refused": "no such key"}
        server_end.close()
        line.refuse("to nobody")
        assert not line.wants_reload()


def test_definitions_that_cannot_be_loaded_are_a_fault_with_its_cause() -> None:
    with closing(Line()) as line, line.theirs as server_end:
        server_end.send(json.dumps({"fault": "no such plugin"}).encode())
        with pytest.raises(LoadError, match="the definitions cannot be loaded: no such plugin"):
            line.require_loaded()
        server_end.close()
        with pytest.raises(LoadError, match="their process has ended"):
            line.require_loaded()
