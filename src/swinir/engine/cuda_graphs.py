"""Forward passes, recorded when their shape comes again, so that a batch costs one launch and not hundreds."""

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from math import inf

import torch
from jaxtyping import Float
from torch import Tensor

from swinir.engine.cuda_streams import Captured, GpuStreams
from swinir.engine.forward import Forward, OnLayers
from swinir.engine.memory import is_out_of_memory

logger = logging.getLogger(__name__)

Shape = tuple[int, ...]

# Tiles of one image have one size, what remains of them makes a smaller batch, and an ensemble turns both; a folder
# has portraits and landscapes.
MOST_GRAPHS = 8
# After memory ran out, passes run as they are for so long. Recording is a gain of milliseconds and can wait.
PAUSE_S = 60.0
# Pixels of a batch. From there on a GPU computes longer than Python takes to launch, even SwinIR-S: 2.2 TFLOP, by
# FLOPs counted and not yet measured. A graph would only keep its memory.
MOST_PIXELS = 2**20
# Shapes that are remembered as seen once.
_MOST_SEEN = 64
# What a replay may differ by from the pass it was recorded from, of white at 1. The kernels are the same; libraries
# may choose others when they are recorded.
_TOLERANCE = 1e-2


class CudaGraphCache:
    """Runs ``forward``, or replays it where it was recorded for this shape; one thread at a time.

    The first pass of a shape runs as it is. So does the second, and it is recorded behind that: everything it needs
    has been loaded, in this thread, and its result is what the recording must give as well. Where recording fails,
    passes run as they are from then on, and the log says so once. Layers of a replay are counted when it is queued.
    """

    def __init__(
        self, gpu: GpuStreams, forward: Forward, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.num_layers = forward.num_layers
        self._gpu = gpu
        self._forward = forward
        self._clock = clock
        self._kept: OrderedDict[Shape, Captured] = OrderedDict()
        self._seen: deque[Shape] = deque(maxlen=_MOST_SEEN)
        self._paused_until_s = -inf

    def __call__(
        self, lq: Float[Tensor, "b c h w"], on_layers: OnLayers | None = None
    ) -> Float[Tensor, "b c sh sw"]:
        """Restore a batch in the current stream."""
        shape = tuple(lq.shape)
        captured = self._kept.get(shape)
        if captured is not None:
            self._kept.move_to_end(shape)
            restored = captured.replay(lq)
            if on_layers is not None:
                on_layers(shape[0] * self.num_layers)
            return restored
        restored = self._forward(lq, on_layers)
        if self._clock() >= self._paused_until_s and shape[0] * shape[-2] * shape[-1] <= MOST_PIXELS:
            if shape in self._seen:
                self._capture(lq, restored)
            else:
                self._seen.append(shape)
        return restored

    def free(self) -> bool:
        """Drop all recordings and make none for a while, because memory is short; return whether there were any."""
        if not self._kept:
            return False
        self._gpu.synchronize()
        self._kept.clear()
        self._paused_until_s = self._clock() + PAUSE_S
        return True

    def _capture(self, lq: Float[Tensor, "b c h w"], expected: Float[Tensor, "b c sh sw"]) -> None:
        if len(self._kept) == MOST_GRAPHS:
            self._gpu.synchronize()
            self._kept.popitem(last=False)
        try:
            captured = self._gpu.capture(self._forward, lq, next(iter(self._kept.values()), None))
            is_right = torch.allclose(captured.replay(lq), expected, rtol=0, atol=_TOLERANCE, equal_nan=True)
        except RuntimeError as error:
            problem = str(error).partition("\n")[0]
            if is_out_of_memory(error):
                self.free()
                self._paused_until_s = self._clock() + PAUSE_S
                logger.info("CUDA graphs pause for %g s: memory is short", PAUSE_S)
                return
        else:
            if is_right:
                self._kept[tuple(lq.shape)] = captured
                return
            problem = "a replay differs from what was recorded"
        self.free()
        self._paused_until_s = inf
        logger.warning("CUDA graphs are off, which costs some speed: %s", problem)
