"""Streams, pinned memory and graphs of one GPU: every such call to CUDA that the engine makes, and nothing else."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Float32
from torch import Tensor

# Memory that is pinned is taken from all programs of the machine; larger results go through ordinary memory.
MOST_PINNED_BYTES = 2**28

# A process may capture one graph at a time (torch.cuda.graph), while no thread empties the allocator's cache.
_capturing = threading.Lock()


@dataclass(frozen=True)
class Captured:
    """A forward pass of one shape, recorded: it reads ``lq`` and writes ``restored``, always in the same places."""

    graph: torch.cuda.CUDAGraph
    lq: Float[Tensor, "b c h w"]
    restored: Float[Tensor, "b c sh sw"]

    def replay(self, lq: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c sh sw"]:
        """Run the pass on other pixels, in the current stream."""
        self.lq.copy_(lq)
        self.graph.replay()
        # The next replay writes over it, while this result may still be on its way.
        return self.restored.clone()


class GpuStreams:
    """A GPU with three streams: one computes, one uploads tiles, one downloads results.

    What a method queues goes to the stream that is current (``on``). The allocator does not know of other streams
    that use a tensor: the caller who passes one on holds it until an event behind its last use is reached.
    """

    def __init__(self, device: torch.device) -> None:
        self.computing, self.uploads, self.downloads = (torch.cuda.Stream(device) for _ in range(3))
        # Parameters are put in place on the stream that is current while a network is built.
        self.computing.wait_stream(torch.cuda.current_stream(self.computing.device))

    def on(self, stream: torch.cuda.Stream) -> AbstractContextManager[None]:
        """Make a stream, and its device, current."""
        return torch.cuda.stream(stream)

    def allocate_pinned(self, shape: tuple[int, ...]) -> Float32[Tensor, "..."]:
        """Allocate memory of the machine that the GPU copies from and to by itself.

        PyTorch does not reuse such memory before the copies from and to it are done, even where it is dropped.
        """
        num_bytes = torch.Size(shape).numel() * torch.float32.itemsize
        return torch.empty(shape, dtype=torch.float32, pin_memory=num_bytes <= MOST_PINNED_BYTES)

    def upload(self, staged: Float32[Tensor, "..."]) -> Float32[Tensor, "..."]:
        """Queue a copy to the GPU."""
        return staged.to(self.computing.device, non_blocking=True)

    def download(self, tensor: Float32[Tensor, "..."]) -> Float32[Tensor, "..."]:
        """Queue a copy from the GPU, which is there once an event behind it is reached."""
        return self.allocate_pinned(tuple(tensor.shape)).copy_(tensor, non_blocking=True)

    def channels_last(
        self, restored: Float[Tensor, "b c h w"]
    ) -> tuple[Float32[Tensor, "b h w c"], Float32[Tensor, ""]]:
        """Queue the layout that images have, in one piece, and the sum of all values."""
        pixels = rearrange(restored, "b c h w -> b h w c").float().contiguous()
        return pixels, pixels.sum()

    def record_event(self) -> torch.cuda.Event:
        """Record an event on the current stream."""
        event = torch.cuda.Event()
        event.record()
        return event

    def wait_event(self, event: torch.cuda.Event) -> None:
        """Make the current stream, not the caller, wait for an event."""
        torch.cuda.current_stream().wait_event(event)

    def synchronize_event(self, event: torch.cuda.Event) -> None:
        """Wait for an event."""
        event.synchronize()

    def compute_for_caller(
        self, forward: Callable[[Float[Tensor, "b c h w"]], Tensor], lq: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b c sh sw"]:
        """Run a pass on the computing stream, between what the current one has queued and what it queues next."""
        outside = torch.cuda.current_stream(self.computing.device)
        self.computing.wait_stream(outside)
        with self.on(self.computing):
            restored = forward(lq)
        outside.wait_stream(self.computing)
        # Its memory is the computing stream's to reuse.
        restored.record_stream(outside)
        return restored

    def capture(
        self,
        forward: Callable[[Float[Tensor, "b c h w"]], Float[Tensor, "b c sh sw"]],
        lq: Float[Tensor, "b c h w"],
        beside: Captured | None,
    ) -> Captured:
        """Record a forward pass on inputs of this shape, which has just run in this thread.

        It shares memory with ``beside``: two graphs never run at once, and what lasts is held by the two.

        Raises:
            RuntimeError: something in it cannot be recorded, or memory is short.
        """
        graph = torch.cuda.CUDAGraph()
        place = lq.clone()
        pool = None if beside is None else beside.graph.pool()
        with (
            _capturing,
            # Other threads may allocate meanwhile; this one does nothing else.
            torch.cuda.graph(graph, pool=pool, stream=self.computing, capture_error_mode="thread_local"),
        ):
            restored = forward(place)
        return Captured(graph, place, restored)

    def synchronize(self) -> None:
        """Wait for everything that was queued for computing."""
        self.computing.synchronize()


def empty_cache() -> None:
    """Return the memory that PyTorch keeps for reuse to the GPUs, if there are any in use."""
    if torch.cuda.is_initialized():
        # After a capture that failed, PyTorch up to 2.12 takes it for still underway and refuses
        # (https://github.com/pytorch/pytorch/pull/180395).
        with _capturing, suppress(RuntimeError):
            torch.cuda.empty_cache()
