"""A network for images of any size: tile by tile, as many at once as memory allows."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, groupby, islice
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from swinir.engine import memory, tiling
from swinir.engine.budget import MOST_TILES, Budget, TileBatch
from swinir.engine.executor import RestoredTiles, TileExecutor, restore_in_order
from swinir.engine.forward import OnLayers
from swinir.engine.pixels import Canvas, Picture
from swinir.engine.progress import Progress, Steps
from swinir.errors import RestoreError
from swinir.model import SwinIRConfig
from swinir.options import Precision


class TiledNetwork:
    """Restores colours in tiles; where memory runs out, again in smaller ones.

    Args:
        config: of the network.
        executor: where it runs.
        budget: how much goes through it at once.
        precision: of its products.
    """

    def __init__(
        self, config: SwinIRConfig, executor: TileExecutor, budget: Budget, precision: Precision
    ) -> None:
        self._in_channels = config.in_channels
        self._scale = config.scale
        self._executor = executor
        self._budget = budget
        self._precision = precision

    def restore(self, colours: NDArray[Any], progress: Progress | None = None) -> NDArray[Any]:
        """Restore [H, W, 1 or 3] in tiles as large as memory allows.

        Raises:
            RestoreError: not enough memory even for small tiles, or fp16 overflowed.
        """
        height, width = colours.shape[:2]
        shortage: RuntimeError | MemoryError | None = None
        for load in self._budget.attempts(height, width, output_bytes=colours.nbytes * self._scale**2):
            try:
                return self._restore_in_tiles(colours, load, progress)
            except (RuntimeError, MemoryError) as error:
                shortage = memory.shortage_in(error)
        raise RestoreError(
            "there is not enough memory for this image: use tile=auto, a smaller tile, or close other programs"
        ) from shortage

    def restore_many(self, pictures: Iterable[Picture]) -> Iterator[Any]:
        """Restore pictures in order, tiles of consecutive ones of one size in common batches.

        Raises:
            RestoreError: as for one.
        """
        for _, run in groupby(pictures, key=lambda picture: picture.colours.shape):
            remaining: Iterator[Picture] = run
            while (first := next(remaining, None)) is not None:
                opened: deque[Picture] = deque()
                try:
                    yield from self._restore_run(chain([first], remaining), first, opened)
                except (RuntimeError, MemoryError) as error:
                    memory.shortage_in(error)
                for picture in opened:
                    yield picture.with_colours(self.restore(picture.colours), self._scale)

    def check(self, result: RestoredTiles) -> None:
        """Require that a result is finite.

        Raises:
            RestoreError: the precision is too low for this network.
        """
        if not result.is_finite:
            raise RestoreError(
                f"the network overflows in {self._precision}: use precision fp32"
                + ("" if self._precision is Precision.BF16 else " or bf16")
            )

    def _restore_in_tiles(
        self, colours: NDArray[Any], load: TileBatch, progress: Progress | None
    ) -> NDArray[Any]:
        """Restore in tiles of one size, finished rows going straight to the output in its own type."""
        on_layers = None
        if progress is not None:
            on_layers = Steps(progress, load.plan.num_tiles * self._executor.num_layers).add
        canvas = Canvas(colours, in_channels=self._in_channels, scale=self._scale)
        tiles = self._restore_tiles(canvas.tiles(load.plan), load.batch, on_layers)
        for block in tiling.blend(load.plan, tiles, self._scale):
            canvas.paint(block)
        return canvas.enlarged

    def _restore_run(
        self, pictures: Iterable[Picture], first: Picture, opened: deque[Picture]
    ) -> Iterator[Any]:
        """Restore pictures of the size of the first, their tiles in common batches; ``opened`` are under way."""
        height, width = first.colours.shape[:2]
        load = self._budget.choose(
            height, width, output_bytes=first.colours.nbytes * self._scale**2, num_images=MOST_TILES
        )
        canvases: deque[Canvas] = deque()

        def tiles() -> Iterator[Float32[np.ndarray, "h w c"]]:
            for picture in pictures:
                opened.append(picture)
                canvases.append(Canvas(picture.colours, in_channels=self._in_channels, scale=self._scale))
                yield from canvases[-1].tiles(load.plan)

        restored = self._restore_tiles(tiles(), load.batch, None)
        for tile in restored:
            own = chain([tile], islice(restored, load.plan.num_tiles - 1))
            for block in tiling.blend(load.plan, own, self._scale):
                canvases[0].paint(block)
            yield opened.popleft().with_colours(canvases.popleft().enlarged, self._scale)

    def _restore_tiles(
        self, tiles: Iterable[Float32[np.ndarray, "h w c"]], batch: int, on_layers: OnLayers | None
    ) -> Iterator[Float32[np.ndarray, "sh sw c"]]:
        for result in restore_in_order(self._executor, tiles, batch, on_layers):
            self.check(result)
            yield from result.tiles
