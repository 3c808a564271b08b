"""One connection of a client: closed where the client is too slow to send a header, or to read what it is sent.

Bodies of requests are watched by ``bodies.BodyLimits``, which can answer.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle


class ImpatientProtocol(H11Protocol):
    """HTTP on one connection."""

    # Seconds for a whole header, for making room in a full buffer, and for what is left when a response is complete.
    client_s = 12.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Wait for a header from now on."""
        super().connection_made(transport)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._watch_header()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        for name in list(self._timers):
            self._stop_timer(name)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read, and wait for the end of a header that has begun."""
        super().data_received(data)
        self._watch_header()

    def pause_writing(self) -> None:
        """Wait until the client reads."""
        super().pause_writing()
        self._start_timer("reader", self.transport.abort)

    def resume_writing(self) -> None:
        """Write on."""
        super().resume_writing()
        self._stop_timer("reader")

    def on_response_complete(self) -> None:
        """Leave the client some time to read the end of the response, and to end a body that was not wanted."""
        cycle = self.cycle
        super().on_response_complete()
        self._start_timer("end", lambda: self._abort_if_unfinished(cycle))

    def _watch_header(self) -> None:
        if not self._is_between_requests():
            self._stop_timer("header")
        elif "header" not in self._timers:
            self._start_timer("header", self._close_if_silent)

    def _close_if_silent(self) -> None:
        self._stop_timer("header")
        if self._is_between_requests():
            self.transport.close()

    def _is_between_requests(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is None or cycle.response_complete

    def _abort_if_unfinished(self, cycle: RequestResponseCycle) -> None:
        is_unread = self.transport.get_write_buffer_size() > 0
        if self.cycle is cycle and (is_unread or self.conn.their_state is h11.SEND_BODY):
            self.transport.abort()

    def _start_timer(self, name: str, then: Callable[[], None]) -> None:
        self._stop_timer(name)
        self._timers[name] = self.loop.call_later(self.client_s, then)

    def _stop_timer(self, name: str) -> None:
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()
