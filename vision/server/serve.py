"""What listens and answers until Ctrl-C."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from data.errors import ParameterError
from vision.server.options import ServerOptions

GRACE_S = 3  # for what is under way when the server is told to end
BACKLOG = 1024


def listen(options: ServerOptions) -> socket.socket:
    """A socket at the host and port.

    Raises:
        ParameterError: the port is taken, or the host is none of this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        found = f"{options.host}:{options.port} ({error.strerror or error})"
        do = "choose another --port, or 0 for any that is free"
        raise ParameterError("address", must_be="free and of this machine", got=found, do=do) from error
    # Inherited by connections. asyncio sees to it only for sockets that it opened itself, and without it an
    # answer waits 40 ms between its head and its body.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def url_of(listening: socket.socket, host: str) -> str:
    """Where the page is."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{listening.getsockname()[1]}/"


def server_of(app: ASGIApp, ready: Callable[[], None], ending: threading.Event) -> uvicorn.Server:
    """What answers, once it is `run(sockets=[...])`, until it or the process is told to end.

    Args:
        ready: called once it answers.
        ending: set when the end begins, as streams would otherwise be waited for.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
        lifespan="on",
    )
    return _Server(config, ready, ending)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], ending: threading.Event):
        super().__init__(config)
        self.ready, self.ending = ready, ending

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        self.ready()

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        self.ending.set()
        await super().shutdown(sockets)
