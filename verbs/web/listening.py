"""The socket of a server, and serving until somebody ends it."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

from rlhf.errors import ConfigError

BACKLOG = 2048
"""Connections that wait to be taken, as uvicorn has it."""


def listen(host: str, port: int) -> socket.socket:
    """The socket of a server.

    Raises:
        ConfigError: the address is not this machine's, or the port is taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        # At once: two servers may both bind a port, and what asks while a model is loaded waits for it.
        found.listen(BACKLOG)
    except PermissionError as error:
        raise ConfigError(f"port: {port} is not allowed to you; pass one above 1023") from error
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == 99:
            raise ConfigError(f"host: {host} is no address of this machine") from error
        raise ConfigError(
            f"port: {port} is taken ({error.strerror}); pass another one, or port=0 for a free one"
        ) from error
    return found


def address_of(at: socket.socket) -> str:
    """`http://HOST:PORT`, the port that was found where any would do."""
    host, port = at.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """Says that it is about to end, before it waits for the requests that it still has."""

    def __init__(self, config: uvicorn.Config, ending: Callable[[], None] | None = None) -> None:
        super().__init__(config)
        self._ending = ending

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._ending is not None:
            self._ending()
        await super().shutdown(sockets)


def serve(app: Starlette, at: socket.socket, ending: Callable[[], None] | None = None) -> None:
    """Serve until Ctrl-C or a signal, which is raised again once the last request has its answer.

    Args:
        ending: called as soon as that is wanted, so that what takes long can be cut short.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
    )
    Server(config, ending).run([at])
