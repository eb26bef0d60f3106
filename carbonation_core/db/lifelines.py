"""How each end of a connection to a server notices, within a minute, that the other one is gone.

A host that loses its power says nothing, and TCP alone takes hours to find that
out, or a quarter of an hour when something was under way. Keepalives (tcp(7)) ask
a peer that is silent, but not while an answer to it waits to be acknowledged: that
has a bound of its own.
"""

import os
import socket
from types import MappingProxyType
from typing import Any

from sqlalchemy import make_url

CONNECT_WITHIN = 10  # seconds
_IDLE, _INTERVAL, _COUNT = 30, 10, 3  # seconds till a silent peer is asked, between two questions; of those
_ALL_IN_ALL = 60  # seconds

# Of a client, as libpq and as tcp(7) name it.
_OF_LIBPQ = MappingProxyType(
    {
        "keepalives_idle": _IDLE,
        "keepalives_interval": _INTERVAL,
        "keepalives_count": _COUNT,
        "tcp_user_timeout": _ALL_IN_ALL * 1000,
    }
)
_OF_SOCKET = MappingProxyType(
    {
        socket.TCP_KEEPIDLE: _IDLE,
        socket.TCP_KEEPINTVL: _INTERVAL,
        socket.TCP_KEEPCNT: _COUNT,
        socket.TCP_USER_TIMEOUT: _ALL_IN_ALL * 1000,
    }
)
# Of PostgreSQL, for a connection. MariaDB has it for all of them alone, in the server's configuration.
OF_POSTGRESQL = (
    f"SET tcp_keepalives_idle = {_IDLE}",
    f"SET tcp_keepalives_interval = {_INTERVAL}",
    f"SET tcp_keepalives_count = {_COUNT}",
    f"SET tcp_user_timeout = '{_ALL_IN_ALL}s'",
)


def of_client(drivername: str) -> dict[str, int]:
    """What to connect with, by a driver of that name; drivers of MariaDB and MySQL know nothing else."""
    return {"connect_timeout": CONNECT_WITHIN, **(_OF_LIBPQ if drivername.startswith("postgresql") else {})}


def with_bounds(url: str) -> str:
    """The URL of a database with what to connect with, as far as it says nothing else itself."""
    made = make_url(url)
    added = {name: str(value) for name, value in of_client(made.drivername).items() if name not in made.query}
    return made.update_query_dict(added).render_as_string(hide_password=False)


def put_on(connection: Any) -> None:
    """Have a connection of MySQLdb or PyMySQL notice what libpq does; it stays as it is where that cannot be.

    Both have no such options, but their sockets do.
    """
    descriptor = _descriptor(connection)
    if descriptor is None:
        return
    is_blocking = os.get_blocking(descriptor)
    with socket.socket(fileno=os.dup(descriptor)) as one:  # the same socket by another descriptor
        if one.family in (socket.AF_INET, socket.AF_INET6):  # else the server is on this host
            one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _OF_SOCKET.items():
                one.setsockopt(socket.IPPROTO_TCP, option, value)
    os.set_blocking(descriptor, is_blocking)  # where sockets have a default timeout, it is not now


def _descriptor(connection: Any) -> int | None:
    """That of a connection's socket: MySQLdb hands it out, PyMySQL keeps it to itself."""
    opened = connection if hasattr(connection, "fileno") else getattr(connection, "_sock", None)
    found = opened.fileno() if opened is not None else None
    return found if isinstance(found, int) and found >= 0 else None
