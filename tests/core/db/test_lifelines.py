"""A server that loses its power is noticed within a minute, by whatever driver."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import make_url, text

from carbonation_core.config.sections import DatabaseSection
from carbonation_core.db.engine import IDLE, make_engine, reading
from carbonation_core.db.lifelines import put_on, with_bounds
from tests import databases
from tests.site import Site

WITHIN_A_MINUTE = {
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): 30,
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): 10,
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): 3,
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT): 60_000,
}
ON_MARIADB = databases.SERVER is not None and databases.SERVER.get_backend_name() == "mariadb"


class LikeMySQLdb:
    """A connection that hands out the descriptor of its socket."""

    def __init__(self, one: socket.socket) -> None:
        self.fileno = one.fileno


class LikePyMySQL:
    """A connection that keeps its socket to itself."""

    def __init__(self, one: socket.socket) -> None:
        self._sock = one


@pytest.fixture
def connected() -> Iterator[socket.socket]:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as one,
    ):
        yield one


def options(one: socket.socket) -> dict[tuple[int, int], int]:
    return {option: one.getsockopt(*option) for option in WITHIN_A_MINUTE}


@databases.one
@pytest.mark.parametrize("driver", [LikeMySQLdb, LikePyMySQL])
def test_a_connection_of_either_driver_notices_that_its_server_is_gone(
    driver: Any, connected: socket.socket
) -> None:
    put_on(driver(connected))

    assert options(connected) == WITHIN_A_MINUTE
    connected.sendall(b"it is open")


@databases.one
def test_a_socket_stays_one_that_waits_whatever_the_default_is(connected: socket.socket) -> None:
    socket.setdefaulttimeout(5)
    try:
        put_on(LikeMySQLdb(connected))
    finally:
        socket.setdefaulttimeout(None)

    assert connected.getblocking()


@databases.one
def test_a_connection_without_such_a_socket_stays_as_it_is() -> None:
    here, there = socket.socketpair()
    with here, there:
        put_on(LikeMySQLdb(here))
        put_on(object())
        put_on(LikePyMySQL(None))  # type: ignore[arg-type]  # as one that is closed


@databases.one
def test_a_url_keeps_what_it_says_itself() -> None:
    made = make_url(with_bounds("postgresql+psycopg2://me:se%40cret@db/x?connect_timeout=3&sslmode=require"))

    assert made.password == "se@cret"
    assert made.query == {
        "connect_timeout": "3",
        "sslmode": "require",
        "keepalives_idle": "30",
        "keepalives_interval": "10",
        "keepalives_count": "3",
        "tcp_user_timeout": "60000",
    }


@pytest.mark.skipif(not ON_MARIADB, reason="of MariaDB")
@pytest.mark.parametrize("name", ["mariadb", "mysql"])
def test_mariadb_and_its_client_give_up_whatever_the_server_is_called(site: Site, name: str) -> None:
    section: DatabaseSection = site.project.config.database
    driver = section.drivername.partition("+")[2]
    engine = make_engine(section.model_copy(update={"drivername": f"{name}+{driver}"}))
    with reading(engine) as connection:
        bound = connection.execute(text("SELECT @@idle_write_transaction_timeout")).scalar_one()
        made: Any = connection.connection.dbapi_connection
        opened = made if hasattr(made, "fileno") else made._sock
        with socket.socket(fileno=os.dup(opened.fileno())) as one:
            assert options(one) == WITHIN_A_MINUTE
    engine.dispose()
    assert bound == IDLE
