"""How much of an image goes through the network at once: what the free memory holds, less after a shortage."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch

from swinir.engine import cuda_streams, memory, tiling
from swinir.engine.cost import TRACED_WINDOWS, Cost, measure_cost
from swinir.engine.executor import TileExecutor
from swinir.engine.forward import Forward
from swinir.engine.hardware import is_cpu
from swinir.model import SwinIRConfig
from swinir.ops.windows import padded_size
from swinir.options import Tile

# The least side of a tile that memory decides, in windows: smaller ones are mostly overlap.
LEAST_WINDOWS = 8
# More tiles at once than this do not make a GPU busier.
MOST_TILES = 8
# What ran out of memory is not tried for a while: twice as many pixels are allowed again after each such time.
RECOVERY_S = 60.0
MOST_DOUBLINGS = 32
# What a process on a CPU stays below where nothing else is asked for: larger tiles save overlap and no other time.
CPU_MEMORY_BYTES = 1_500_000_000
# Of that, Python, PyTorch, libvips and a model in the package.
_BASE_BYTES = 450_000_000


@dataclass(frozen=True, kw_only=True)
class TileBatch:
    """An image cut into tiles, of which ``batch`` go through the network at once."""

    plan: tiling.Plan
    batch: int = 1

    @property
    def num_pixels(self) -> int:
        """Pixels in the network at once."""
        return self.batch * self.plan.tile_pixels


@dataclass(frozen=True, kw_only=True)
class _Limit:
    """Pixels that fitted when more had not."""

    num_pixels: int
    since_s: float


class Budget:
    """Decides on tiles and batches for one network on one device.

    Args:
        config: the network.
        forward: one pass of it, whose memory is measured on small images when it is first needed.
        executor: where the passes run, and what can give memory back.
        device: whose memory is counted.
        tile: "auto", None (whole) or a side in pixels.
        cost: of a pass, where it is known without measuring.
        memory_bytes: see ``RestorerOptions``.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        config: SwinIRConfig,
        forward: Forward,
        executor: TileExecutor,
        *,
        device: torch.device,
        tile: Tile,
        cost: Cost | None = None,
        memory_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._forward = forward
        self._executor = executor
        self._context_px = tiling.border_context_px(window_size=config.window_px, scale=config.scale)
        self._device = device
        self._tile: Tile = tile
        self._clock = clock
        self._on_cpu = is_cpu(device)
        self.memory_bytes = memory_bytes or (CPU_MEMORY_BYTES if self._on_cpu else None)
        self.cost = cost
        self._limit: _Limit | None = None

    def attempts(self, height: int, width: int, *, output_bytes: int = 0) -> Iterator[TileBatch]:
        """Yield what to try for an image, the best first; asking for the next one says that memory ran out.

        Before anything is made smaller, memory that only makes the device faster is given up and the same is tried
        again. Then the batch is halved, down to one tile, and then, where "auto" allows it, the tile.

        Args:
            height: of the input, in pixels.
            width: of the input, in pixels.
            output_bytes: what is held in the CPU's memory beside the pass, such as the restored image.

        Raises:
            RestoreError: the device is too full even to measure on.
        """
        first = self.choose(height, width, output_bytes=output_bytes)
        loads = smaller_batches(
            first,
            partial(self._cut, height, width),
            window_size=self._config.window_px,
            may_cut=self._tile == "auto",
        )
        for load in loads:
            if load != first:
                self._limit = _Limit(num_pixels=load.num_pixels, since_s=self._clock())
            yield load
            while self._executor.free_memory():
                cuda_streams.empty_cache()
                yield load
            cuda_streams.empty_cache()

    def choose(self, height: int, width: int, *, output_bytes: int = 0, num_images: int = 1) -> TileBatch:
        """Decide how much of ``num_images`` images of one size goes through the network at once.

        Raises:
            RestoreError: the device is too full even to measure on.
        """
        on_cpu = self._on_cpu
        window_size = self._config.window_px
        # Measuring would take as much memory as a small image itself.
        tile = None if height * width <= (TRACED_WINDOWS[-1] * window_size) ** 2 else self._tile
        # One tile keeps all cores of a CPU busy.
        if tile != "auto" and (on_cpu or (tile is None and num_images == 1)):
            return TileBatch(plan=self._cut(height, width, tile))
        pass_cost, budget_bytes = self._measure()
        if on_cpu:
            budget_bytes -= output_bytes
        if (limit_px := self._limit_px()) is not None:
            # One more, of which rounding may take its part.
            budget_bytes = min(budget_bytes, pass_cost.bytes_for(limit_px + 1))
        if tile == "auto":
            tile = choose_tile(
                height,
                width,
                window_size=window_size,
                context_px=self._context_px,
                cost=pass_cost,
                budget_bytes=budget_bytes,
            )
        plan = self._cut(height, width, tile)
        if on_cpu:
            return TileBatch(plan=plan)
        num_tiles = num_images * plan.num_tiles
        return TileBatch(
            plan=plan,
            batch=choose_batch(num_tiles, plan.tile_pixels, cost=pass_cost, budget_bytes=budget_bytes),
        )

    def _cut(self, height: int, width: int, tile_px: int | None) -> tiling.Plan:
        """Cut an image into tiles, with context around its borders."""
        return tiling.plan(
            height,
            width,
            window_size=self._config.window_px,
            tile_px=tile_px,
            context_px=self._context_px,
        )

    def _measure(self) -> tuple[Cost, float]:
        """Return the memory that a pass takes, measured once, and what it may take of that which is free now."""
        # Memory of another image in the network would look taken.
        with self._executor.exclusive(), memory.oom_as_restore_error(self._device):
            if self.cost is None:
                self.cost = measure_cost(
                    self._forward,
                    channels=self._config.in_channels,
                    window_size=self._config.window_px,
                    device=self._device,
                )
            free_bytes = memory.FREE_MEMORY_FRACTION * memory.available_bytes(self._device)
            if self.memory_bytes is None:
                return self.cost, free_bytes
            allowed_bytes = self.memory_bytes - (_BASE_BYTES if self._on_cpu else 0)
            return self.cost, min(free_bytes, allowed_bytes)

    def _limit_px(self) -> int | None:
        """Return the most pixels to try, doubled for each time that passed without a shortage."""
        if self._limit is None:
            return None
        doublings = int((self._clock() - self._limit.since_s) / RECOVERY_S)
        return None if doublings > MOST_DOUBLINGS else self._limit.num_pixels << doublings


def smaller_batches(
    first: TileBatch, cut: Callable[[int], tiling.Plan], *, window_size: int, may_cut: bool
) -> Iterator[TileBatch]:
    """Yield ``first``, then half the batch, down to one tile, then, if it may be cut, half the tile by ``cut``."""
    load = first
    while True:
        yield load
        if load.batch > 1:
            load = replace(load, batch=load.batch // 2)
            continue
        side = max(load.plan.rows.tile_px, load.plan.columns.tile_px) // window_size
        if not may_cut or side <= LEAST_WINDOWS:
            return
        half_px = max(side // 2, LEAST_WINDOWS) * window_size
        load = TileBatch(plan=cut(half_px))


def choose_tile(
    height: int, width: int, *, window_size: int, context_px: int = 0, cost: Cost, budget_bytes: float
) -> int | None:
    """Keep an image whole (None) where the budget allows it, else return the largest side that it allows."""

    def fits(tile_height: int, tile_width: int) -> bool:
        return cost.bytes_for(tile_height * tile_width) <= budget_bytes

    whole = tuple(padded_size(side + 2 * context_px, window_size) for side in (height, width))
    if fits(*whole):
        return None
    sides = range(max(whole), LEAST_WINDOWS * window_size, -window_size)
    return next((side for side in sides if fits(side, side)), LEAST_WINDOWS * window_size)


def choose_batch(num_tiles: int, pixels_of_tile: int, *, cost: Cost, budget_bytes: float) -> int:
    """Decide how many tiles go through a GPU at once."""
    most = int(max(budget_bytes - cost.fixed_bytes, 0) / (cost.bytes_per_px * pixels_of_tile))
    return max(min(most, num_tiles, MOST_TILES), 1)
