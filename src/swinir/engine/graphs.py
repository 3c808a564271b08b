"""Forward passes, recorded when their shape comes again, so that a batch costs one launch and not hundreds."""

import logging
from collections import OrderedDict, deque
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from swinir.engine.cuda import Captured, Gpu
from swinir.engine.memory import is_out_of_memory

logger = logging.getLogger(__name__)

Forward = Callable[[Float[Tensor, "b c h w"]], Float[Tensor, "b c sh sw"]]
Shape = tuple[int, ...]

# Tiles of one image have one size, what remains of them makes a smaller batch, and an ensemble turns both; a folder
# has portraits and landscapes.
MOST_GRAPHS = 8
# Pixels of a batch. From there on a GPU computes longer than Python takes to launch, even SwinIR-S: 2.2 TFLOP, by
# FLOPs counted and not yet measured. A graph would only keep its memory.
MOST_PIXELS = 2**20
# Shapes that are remembered as seen once.
_MOST_SEEN = 64
# What a replay may differ by from the pass it was recorded from, of white at 1. The kernels are the same; libraries
# may choose others when they are recorded.
_TOLERANCE = 1e-2


class Graphs:
    """Runs ``forward``, or replays it where it was recorded for this shape; one thread at a time.

    The first pass of a shape runs as it is. So does the second, and it is recorded behind that: everything it needs
    has been loaded, in this thread, and its result is what the recording must give as well. Whatever fails, passes
    run as they are from then on, and the log says so once.

    Args:
        gpu: where.
        forward: the pass.
        uncounted: the same with nobody told of its layers, to be recorded.
        after_replay: told of the batch of each replay, whose layers nobody saw.
    """

    def __init__(
        self, gpu: Gpu, forward: Forward, *, uncounted: Forward, after_replay: Callable[[int], None]
    ) -> None:
        self._gpu = gpu
        self._forward = forward
        self._uncounted = uncounted
        self._after_replay = after_replay
        self._kept: OrderedDict[Shape, Captured] = OrderedDict()
        self._seen: deque[Shape] = deque(maxlen=_MOST_SEEN)
        self._is_on = True

    def __call__(self, lq: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c sh sw"]:
        """Restore a batch in the current stream."""
        shape = tuple(lq.shape)
        captured = self._kept.get(shape)
        if captured is not None:
            self._kept.move_to_end(shape)
            restored = captured.replay(lq)
            self._after_replay(shape[0])
            return restored
        restored = self._forward(lq)
        if self._is_on and shape[0] * shape[-2] * shape[-1] <= MOST_PIXELS:
            if shape in self._seen:
                self._capture(lq, restored)
            else:
                self._seen.append(shape)
        return restored

    def free(self) -> bool:
        """Give up all recordings, for good, because memory is short; tells whether there were any."""
        if not self._kept:
            return False
        self._gpu.finish()
        self._kept.clear()
        self._is_on = False
        return True

    def _capture(self, lq: Float[Tensor, "b c h w"], expected: Float[Tensor, "b c sh sw"]) -> None:
        if len(self._kept) == MOST_GRAPHS:
            self._gpu.finish()
            self._kept.popitem(last=False)
        try:
            captured = self._gpu.capture(self._uncounted, lq, next(iter(self._kept.values()), None))
            is_right = torch.allclose(captured.replay(lq), expected, rtol=0, atol=_TOLERANCE, equal_nan=True)
        except RuntimeError as error:
            problem = "memory is short" if is_out_of_memory(error) else str(error).partition("\n")[0]
        else:
            if is_right:
                self._kept[tuple(lq.shape)] = captured
                return
            problem = "a replay differs from what was recorded"
        self.free()
        self._is_on = False
        logger.warning("CUDA graphs are off, which costs some speed: %s", problem)
