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

# A process may capture one graph at a time (torch.cuda.graph), while nobody empties the cache of the allocator.
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


class Gpu:
    """A GPU with three streams: one computes, one brings tiles, one takes results away.

    What a method queues goes to the stream that is current (``on``). Nothing here tells the allocator of other
    streams that use a tensor: whoever passes one on holds it until an event behind its last use is reached.
    """

    def __init__(self, device: torch.device) -> None:
        self.computing, self.uploads, self.downloads = (torch.cuda.Stream(device) for _ in range(3))
        # Parameters are put in place on the stream that is current while a network is built.
        self.computing.wait_stream(torch.cuda.current_stream(self.computing.device))

    def on(self, stream: torch.cuda.Stream) -> AbstractContextManager[None]:
        """Make a stream, and its device, current."""
        return torch.cuda.stream(stream)

    def pinned(self, shape: tuple[int, ...]) -> Float32[Tensor, "..."]:
        """Offer memory of the machine that the GPU copies by itself.

        PyTorch gives such memory to nobody else before the copies from and to it are done, whoever drops it.
        """
        num_bytes = torch.Size(shape).numel() * torch.float32.itemsize
        return torch.empty(shape, dtype=torch.float32, pin_memory=num_bytes <= MOST_PINNED_BYTES)

    def upload(self, staged: Float32[Tensor, "..."]) -> Float32[Tensor, "..."]:
        """Queue a copy to the GPU."""
        return staged.to(self.computing.device, non_blocking=True)

    def download(self, tensor: Float32[Tensor, "..."]) -> Float32[Tensor, "..."]:
        """Queue a copy from the GPU, which is there once an event behind it is reached."""
        return self.pinned(tuple(tensor.shape)).copy_(tensor, non_blocking=True)

    def channels_last(
        self, restored: Float[Tensor, "b c h w"]
    ) -> tuple[Float32[Tensor, "b h w c"], Float32[Tensor, ""]]:
        """Queue the layout that images have, in one piece, and the sum of all values."""
        pixels = rearrange(restored, "b c h w -> b h w c").float().contiguous()
        return pixels, pixels.sum()

    def mark(self) -> torch.cuda.Event:
        """Mark where the current stream is now."""
        event = torch.cuda.Event()
        event.record()
        return event

    def wait(self, event: torch.cuda.Event) -> None:
        """Keep the current stream, not the caller, from going on before a mark is reached."""
        torch.cuda.current_stream().wait_event(event)

    def reach(self, event: torch.cuda.Event) -> None:
        """Wait until a mark is reached."""
        event.synchronize()

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

    def finish(self) -> None:
        """Wait until all that was queued for computing is done."""
        self.computing.synchronize()


def give_back() -> None:
    """Give the memory that PyTorch keeps for reuse back to the GPUs, if there are any in use."""
    if torch.cuda.is_initialized():
        # After a capture that failed, PyTorch up to 2.12 takes it for still underway and refuses
        # (https://github.com/pytorch/pytorch/pull/180395).
        with _capturing, suppress(RuntimeError):
            torch.cuda.empty_cache()
