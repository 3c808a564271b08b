"""The process: sockets, signals, and clients that send half a request."""

import asyncio
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from swinir.server.app import create_app
from swinir.server.options import ServerOptions
from swinir.server.service import Service

BACKLOG = 2048
KEEP_ALIVE_S = 10


class ImpatientProtocol(H11Protocol):
    """HTTP on one connection, which is closed where no whole header arrives in time."""

    header_s = 15.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Wait for a header from now on."""
        super().connection_made(transport)
        self._header_timer = self.loop.call_later(self.header_s, self._close_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._header_timer.cancel()
        super().connection_lost(exc)

    def _close_if_silent(self) -> None:
        if getattr(self, "cycle", None) is None:  # no whole header yet
            self.transport.close()


class Server(uvicorn.Server):
    """uvicorn, except that the first signal closes the queue at once, and a second one ends everything."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop, or stop now."""
        self.force_exit = self.should_exit
        self.should_exit = True
        service: Service | None = getattr(self.config.app.state, "service", None)  # pyright: ignore
        if service is not None:
            service.queue.close()


def bind(options: ServerOptions) -> socket.socket:
    """Open the socket that the service listens on.

    Raises:
        OSError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
    """
    protocol = type("_Protocol", (ImpatientProtocol,), {"header_s": options.client_s})
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
    # uvicorn raises the signal that stopped it once more when it is done: the process then ends with 0.
    signal.signal(signal.SIGTERM, lambda *_: None)
    on_start()
    Server(config).run(sockets=[listening])
