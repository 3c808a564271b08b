"""What overlaps on a device: batches of tiles one after the other on a CPU, with copies beside them on a GPU."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float32
from torch import Tensor

from swinir.engine.cuda_graphs import CudaGraphCache
from swinir.engine.cuda_streams import GpuStreams
from swinir.engine.forward import Forward, OnLayers, SelfEnsemble

Tile = Float32[np.ndarray, "h w c"]


@dataclass(frozen=True)
class RestoredTiles:
    """A batch back in the machine's memory: RGB or grey, [b, sh, sw, c], white at 1, not clamped.

    ``is_finite`` is false where one value is infinite or NaN.
    """

    tiles: Float32[np.ndarray, "b sh sw c"]
    is_finite: bool


@runtime_checkable
class TileExecutor(Protocol):
    """Restores batches on one device, one at a time, in the order they were sent; any thread may send.

    Up to ``max_in_flight`` batches may be under way before the result of the first is asked for. ``num_layers`` is
    what ``on_layers`` counts for each tile.
    """

    max_in_flight: int
    num_layers: int

    def send(self, tiles: list[Tile], on_layers: OnLayers | None = None) -> Callable[[], RestoredTiles]:
        """Start to restore a batch of tiles of one size; what is returned waits for the result."""
        ...

    def run(
        self, lq: Float[Tensor, "b c h w"], on_layers: OnLayers | None = None
    ) -> Float[Tensor, "b c sh sw"]:
        """Restore a batch that is on the device, for the current stream."""
        ...

    def exclusive(self) -> AbstractContextManager[None]:
        """Compute on the device in this context, with nothing else beside it that was sent."""
        ...

    def free_memory(self) -> bool:
        """Drop memory of the device that only makes it faster; return whether there was any."""
        ...


class SerialExecutor:
    """Copies, computes and copies back one batch after the other."""

    max_in_flight = 1

    def __init__(self, device: torch.device, forward: Forward) -> None:
        self.num_layers = forward.num_layers
        self._device = device
        self._forward = forward
        self._lock = threading.Lock()

    def send(self, tiles: list[Tile], on_layers: OnLayers | None = None) -> Callable[[], RestoredTiles]:
        """Restore a batch at once."""
        lq = rearrange(torch.from_numpy(np.stack(tiles)), "b h w c -> b c h w").to(self._device)
        restored = self.run(lq, on_layers).cpu()
        # One infinite value or NaN makes the sum one, and no sum of pixels is out of range.
        is_finite = bool(restored.sum().isfinite())
        result = RestoredTiles(rearrange(restored, "b c h w -> b h w c").numpy(), is_finite)
        return lambda: result

    def run(
        self, lq: Float[Tensor, "b c h w"], on_layers: OnLayers | None = None
    ) -> Float[Tensor, "b c sh sw"]:
        """Restore a batch at once."""
        with self._lock:
            return self._forward(lq, on_layers)

    @contextmanager
    def exclusive(self) -> Generator[None]:
        """Wait for the batch that is being restored."""
        with self._lock:
            yield

    def free_memory(self) -> bool:
        """Nothing is kept."""
        return False


class OverlappedExecutor:
    """Uploads, computes and downloads on three streams: while one batch computes, the last one is used.

    ``graphs``, where there are any, record the passes that ``forward`` is made of.
    """

    max_in_flight = 2

    def __init__(self, gpu: GpuStreams, forward: Forward, graphs: CudaGraphCache | None = None) -> None:
        self.num_layers = forward.num_layers
        self._gpu = gpu
        self._forward = forward
        self._graphs = graphs
        self._lock = threading.Lock()

    def send(self, tiles: list[Tile], on_layers: OnLayers | None = None) -> Callable[[], RestoredTiles]:
        """Queue a batch: copy up, restore, copy down."""
        gpu = self._gpu
        with self._lock:
            staged = gpu.allocate_pinned((len(tiles), *tiles[0].shape))
            np.stack(tiles, out=staged.numpy())
            with gpu.on(gpu.uploads):
                lq = gpu.upload(staged)
                uploaded = gpu.record_event()
            with gpu.on(gpu.computing):
                gpu.wait_event(uploaded)
                restored = self._forward(rearrange(lq, "b h w c -> b c h w"), on_layers)
                pixels, total = gpu.channels_last(restored)
                computed = gpu.record_event()
            with gpu.on(gpu.downloads):
                gpu.wait_event(computed)
                fetched, fetched_total = gpu.download(pixels), gpu.download(total)
                downloaded = gpu.record_event()
        # The memory of each belongs to the stream that made it, which would reuse it while another one reads.
        in_use = [lq, pixels, total]

        def result() -> RestoredTiles:
            gpu.synchronize_event(downloaded)
            in_use.clear()
            return RestoredTiles(fetched.numpy(), bool(fetched_total.isfinite()))

        return result

    def run(
        self, lq: Float[Tensor, "b c h w"], on_layers: OnLayers | None = None
    ) -> Float[Tensor, "b c sh sw"]:
        """Queue a batch between what the current stream did and what it does next."""
        with self._lock:
            return self._gpu.compute_for_caller(partial(self._forward, on_layers=on_layers), lq)

    @contextmanager
    def exclusive(self) -> Generator[None]:
        """Compute on the stream that computes tiles."""
        with self._lock, self._gpu.on(self._gpu.computing):
            yield

    def free_memory(self) -> bool:
        """Drop recorded passes."""
        with self._lock:
            return self._graphs is not None and self._graphs.free()


def choose_executor(
    device: torch.device, forward: Forward, *, ensemble: bool = False, records: bool = True
) -> TileExecutor:
    """Build what suits the device.

    Args:
        device: where ``forward`` computes.
        forward: one pass.
        ensemble: restore each batch in eight passes.
        records: where the device can, replay passes instead of launching them kernel by kernel.
    """
    if device.type != "cuda":
        return SerialExecutor(device, SelfEnsemble(forward) if ensemble else forward)
    gpu = GpuStreams(device)
    graphs = CudaGraphCache(gpu, forward) if records else None
    single = graphs or forward
    return OverlappedExecutor(gpu, SelfEnsemble(single) if ensemble else single, graphs)


def restore_in_order(
    executor: TileExecutor, tiles: Iterable[Tile], batch: int, on_layers: OnLayers | None = None
) -> Iterator[RestoredTiles]:
    """Send tiles of one size in batches, keep as many in flight as the executor may, and yield what comes back."""
    waiting: deque[Callable[[], RestoredTiles]] = deque()
    for group in _grouped(tiles, batch):
        waiting.append(executor.send(group, on_layers))
        if len(waiting) == executor.max_in_flight:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


def _grouped(tiles: Iterable[Tile], size: int) -> Iterator[list[Tile]]:
    group: list[Tile] = []
    for tile in tiles:
        group.append(tile)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
