"""How tiles travel to the device and back: in turn on a CPU, beside each other on a GPU."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float32

from swinir.engine.cuda import Gpu
from swinir.engine.graphs import Forward, Graphs


@dataclass(frozen=True)
class Landing:
    """Restored tiles back in the machine's memory: RGB or grey, [b, sh, sw, c], white at 1.

    ``is_finite`` is false where one value is infinite or NaN.
    """

    tiles: Float32[np.ndarray, "b sh sw c"]
    is_finite: bool


class Lane(Protocol):
    """Takes tiles to a device and brings results back, in the order they were sent.

    ``run`` is the forward pass on the device. Up to ``ahead`` batches may be sent before the first of them is asked
    for.
    """

    ahead: int
    run: Forward

    def send(self, tiles: list[Float32[np.ndarray, "h w c"]], restore: Forward) -> Callable[[], Landing]:
        """Start to restore a batch of tiles with ``restore``, and return what waits for its result."""
        ...

    def in_order(self) -> AbstractContextManager[None]:
        """Have what is computed in this context wait for what was sent, and the other way round."""
        ...

    def free(self) -> bool:
        """Give up memory of the device that only makes it faster; tells whether there was any."""
        ...


class PlainLane:
    """Sends, computes and fetches one batch after the other."""

    ahead = 0

    def __init__(self, device: torch.device, forward: Forward) -> None:
        self._device = device
        self.run = forward

    def send(self, tiles: list[Float32[np.ndarray, "h w c"]], restore: Forward) -> Callable[[], Landing]:
        """Restore a batch at once."""
        lq = rearrange(torch.from_numpy(np.stack(tiles)), "b h w c -> b c h w").to(self._device)
        restored = restore(lq).cpu()
        # One infinite value or NaN makes the sum one, and no sum of pixels is out of range.
        landing = Landing(rearrange(restored, "b c h w -> b h w c").numpy(), bool(restored.sum().isfinite()))
        return lambda: landing

    def in_order(self) -> AbstractContextManager[None]:
        """Everything is in order."""
        return nullcontext()

    def free(self) -> bool:
        """Nothing is kept."""
        return False


class GpuLane:
    """Uploads, computes and downloads on three streams: while one batch computes, the last one is used."""

    ahead = 1

    def __init__(self, gpu: Gpu, run: Graphs) -> None:
        self._gpu = gpu
        self._graphs = run
        self.run: Forward = run

    def send(self, tiles: list[Float32[np.ndarray, "h w c"]], restore: Forward) -> Callable[[], Landing]:
        """Queue a batch: copy up, restore, copy down."""
        gpu = self._gpu
        staged = gpu.pinned((len(tiles), *tiles[0].shape))
        np.stack(tiles, out=staged.numpy())
        with gpu.on(gpu.uploads):
            lq = gpu.upload(staged)
            uploaded = gpu.mark()
        with gpu.on(gpu.computing):
            gpu.wait(uploaded)
            restored, total = gpu.channels_last(restore(rearrange(lq, "b h w c -> b c h w")))
            computed = gpu.mark()
        with gpu.on(gpu.downloads):
            gpu.wait(computed)
            fetched, fetched_total = gpu.download(restored), gpu.download(total)
            landed = gpu.mark()
        # The memory of each belongs to the stream that made it, which would use it again while another one reads.
        in_use = [lq, restored, total]

        def land() -> Landing:
            gpu.reach(landed)
            in_use.clear()
            return Landing(fetched.numpy(), bool(fetched_total.isfinite()))

        return land

    def in_order(self) -> AbstractContextManager[None]:
        """Compute on the stream that computes tiles."""
        return self._gpu.on(self._gpu.computing)

    def free(self) -> bool:
        """Give up recorded passes."""
        return self._graphs.free()
