"""A GPU that is played on the CPU: streams as queues, which run as late as the order of events allows."""

import weakref
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# What has not been computed or fetched yet.
UNKNOWN = float("nan")


class MemoryReusedError(Exception):
    """A tensor was dropped while a stream other than its own had yet to use it."""


class Event:
    def __init__(self, stream: "Stream") -> None:
        self.stream = stream
        self.is_reached = False

    def happen(self) -> None:
        self.is_reached = True


class Stream:
    def __init__(self, name: str) -> None:
        self.name = name
        self.queue: deque[tuple[str, Callable[[], None]]] = deque()


@dataclass
class Pass:
    """A forward pass of one layer."""

    compute: Callable[[Tensor], Tensor]
    num_layers: int = 1

    def __call__(self, lq: Tensor, on_layers: Callable[[int], None] | None = None) -> Tensor:
        restored = self.compute(lq)
        if on_layers is not None:
            on_layers(lq.shape[0])
        return restored


@dataclass
class Recorded:
    """A pass that was captured: replayed by running it."""

    forward: Callable[[Tensor], Tensor]

    def replay(self, lq: Tensor) -> Tensor:
        return self.forward(lq)


class FakeGpu:
    """Has the methods of ``swinir.engine.cuda_streams.GpuStreams``.

    ``is_late``: nothing runs before somebody waits for it; else all runs at once. ``log`` tells what ran, in order.
    """

    def __init__(self, *, is_late: bool = False) -> None:
        self.computing, self.uploads, self.downloads = map(Stream, ("computing", "uploads", "downloads"))
        self.log: list[str] = []
        self.captures: list[tuple[int, ...]] = []
        self.problem: Exception | None = None
        self._is_late = is_late
        self._current: list[Stream] = []

    @contextmanager
    def on(self, stream: Stream) -> Generator[None]:
        self._current.append(stream)
        try:
            yield
        finally:
            self._current.pop()

    def queue(self, what: str, action: Callable[[], None]) -> None:
        """Have the current stream do something when its turn has come."""
        self._current[-1].queue.append((what, action))
        if not self._is_late:
            self._run(self._current[-1], until=lambda: False)

    def allocate_pinned(self, shape: tuple[int, ...]) -> Tensor:
        return torch.full(shape, UNKNOWN)

    def upload(self, staged: Tensor) -> Tensor:
        lq = self.allocate_pinned(tuple(staged.shape))
        self.queue("upload", lambda: void(lq.copy_(staged)))
        return lq

    def download(self, tensor: Tensor) -> Tensor:
        fetched = self.allocate_pinned(tuple(tensor.shape))
        source = weakref.ref(tensor)
        self.queue("download", lambda: void(fetched.copy_(alive(source))))
        return fetched

    def channels_last(self, restored: Tensor) -> tuple[Tensor, Tensor]:
        pixels = torch.full_like(restored.permute(0, 2, 3, 1).contiguous(), UNKNOWN)
        total = torch.tensor(UNKNOWN)

        def compute() -> None:
            pixels.copy_(restored.permute(0, 2, 3, 1))
            total.copy_(pixels.sum())

        self.queue("arrange", compute)
        return pixels, total

    def later(self, forward: Callable[[Tensor], Tensor], scale: int) -> "Pass":
        """Make a pass that computes when its turn has come."""

        def run(lq: Tensor) -> Tensor:
            shape, order = lq.shape, lq.stride()
            # What was uploaded belongs to another stream, whoever looks at it.
            uploaded = weakref.ref(lq._base)
            restored = torch.full((*shape[:2], scale * shape[2], scale * shape[3]), UNKNOWN)

            def compute() -> None:
                restored.copy_(forward(torch.as_strided(alive(uploaded), shape, order)))

            self.queue("compute", compute)
            return restored

        return Pass(run)

    def record_event(self) -> Event:
        event = Event(self._current[-1])
        self.queue("mark", event.happen)
        return event

    def wait_event(self, event: Event) -> None:
        self.queue("wait", lambda: self._run(event.stream, until=lambda: event.is_reached))

    def synchronize_event(self, event: Event) -> None:
        self._run(event.stream, until=lambda: event.is_reached)

    def synchronize(self) -> None:
        self._run(self.computing, until=lambda: False)

    def compute_for_caller(self, forward: Callable[[Tensor], Tensor], lq: Tensor) -> Tensor:
        with self.on(self.computing):
            return forward(lq)

    def capture(self, forward: Callable[[Tensor], Tensor], lq: Tensor, beside: Recorded | None) -> Recorded:
        self.captures.append(tuple(lq.shape))
        forward(lq)
        if self.problem is not None:
            raise self.problem
        return Recorded(forward)

    def _run(self, stream: Stream, *, until: Callable[[], bool]) -> None:
        while stream.queue and not until():
            what, action = stream.queue.popleft()
            action()
            if what not in ("mark", "wait"):
                self.log.append(what)


def alive(reference: "weakref.ref[Any]") -> Tensor:
    tensor = reference()
    if tensor is None:
        raise MemoryReusedError
    return tensor


def void(_: object) -> None:
    """Return nothing."""
