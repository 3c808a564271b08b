"""The process: its socket and its signals."""

import os
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from swinir.server.app import create_app
from swinir.server.connection import ImpatientProtocol
from swinir.server.options import ServerOptions
from swinir.server.service import Service
from swinir.server.store import JobStore

BACKLOG = 2048
KEEP_ALIVE_S = 10
# Of a connection in the kernel; in a larger one a slow client makes room too seldom to be told from a silent one.
SEND_BUFFER_BYTES = 2**18


class Server(uvicorn.Server):
    """uvicorn, except that the first signal closes the queue at once, and a second one ends everything."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop, or stop now: what runs is done after the next start."""
        service: Service | None = getattr(self.config.app.state, "service", None)  # pyright: ignore
        if self.should_exit:
            if service is not None:
                service.kill()
            os._exit(128 + sig)
        self.should_exit = True
        if service is not None:
            service.close()


def bind(options: ServerOptions) -> socket.socket:
    """Open the socket that the service listens on.

    Raises:
        OSError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    try:
        listening.bind((options.host, options.port))
    except OSError:
        listening.close()
        raise
    return listening


def serve(
    options: ServerOptions, listening: socket.socket, on_start: Callable[[], Any] = lambda: None
) -> None:
    """Serve until SIGINT or SIGTERM; a second one ends at once.

    Args:
        options: see ``ServerOptions``.
        listening: from ``bind``.
        on_start: called once, before the first request.

    Raises:
        StoreError: jobs cannot be kept in the folder for them.
    """
    JobStore(options.data).close()
    server = create_server(options)
    on_start()
    server.run(sockets=[listening])


def create_server(options: ServerOptions) -> Server:
    """Build what serves on a socket."""
    protocol = type("_Protocol", (ImpatientProtocol,), {"client_s": options.client_s})
    config = uvicorn.Config(
        create_app(options),
        loop="asyncio",  # whatever else is installed beside it
        http=protocol,
        ws="none",
        lifespan="on",
        backlog=BACKLOG,
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(options.grace_s),
        proxy_headers=True,
        forwarded_allow_ips="127.0.0.1",
        root_path=options.root_path,
    )
    return Server(config)
