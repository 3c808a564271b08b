"""How an image is cut into tiles and put together again: pure functions of sizes.

Tiles are of one size, lie whole windows apart, so that their windows are windows of the whole image, and overlap.
They may begin before the image and end behind it, over reflected pixels: its borders then have neighbours. Over the
middle of an overlap the one fades linearly into the other; the weights at any pixel sum to 1.
"""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from swinir.imaging import Spool
from swinir.ops.windows import mirror_indices, padded_size

# Least overlap of neighbouring tiles. Tiles of 128 against the whole, SwinIR-S ×2 after 1,200 steps, fp32: 76, 95,
# 105, 114 and 132 dB with 8, 16, 24, 32 and 48 shared pixels. Longer training makes the network look further.
OVERLAP_PX = 32
# Share of an overlap, at either end, where a tile does not count: its pixels beside the cut lack their neighbours.
# With none left out the five figures are 67, 73, 78, 80 and 81 dB.
MARGIN = 0.25


def border_context_px(*, window_size: int, scale: int) -> int:
    """Return how many reflected pixels around an image keep its borders as even as the rest, nearly.

    Corners of a flat picture are off by 20 to 54 of 255 levels without any, by at most 2 with 4 pixels at ×2 and ×4;
    where the size stays by 7 with 4, 3 with 6 and 2 with 8 (bundled models of 2026-11-27, windows of 8).
    """
    return window_size // 2 if scale > 1 else window_size - 1


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One side of an image, cut.

    Attributes:
        size_px: the side itself; tiles go on behind it to the end of a window, over reflected pixels.
        tile_px: the side of every tile.
        origins: where tiles begin, ascending; the first one is 0, or negative where reflected pixels come first.
    """

    size_px: int
    tile_px: int
    origins: tuple[int, ...]

    def positions(self, origin: int) -> list[int]:
        """Say which pixels of the side a tile shows, continued by reflection beyond its end."""
        return mirror_indices(self.size_px, origin + self.tile_px, first_px=origin)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An image cut into tiles, taken row by row."""

    rows: Axis
    columns: Axis

    @property
    def num_tiles(self) -> int:
        """Tiles in all."""
        return len(self.rows.origins) * len(self.columns.origins)

    @property
    def tile_pixels(self) -> int:
        """Pixels of one tile."""
        return self.rows.tile_px * self.columns.tile_px

    def origins(self) -> Iterator[tuple[int, int]]:
        """Yield (top, left) of each tile, row by row."""
        return ((top, left) for top in self.rows.origins for left in self.columns.origins)


def plan(
    height: int,
    width: int,
    *,
    window_size: int,
    tile_px: int | None,
    overlap_px: int = OVERLAP_PX,
    context_px: int = 0,
) -> Plan:
    """Cut an image into the fewest equal tiles of at most ``tile_px`` a side; None keeps it whole.

    A tile has at least two windows a side, and neighbours share at least one; more than half a tile is not asked
    for. There are at least ``context_px`` reflected pixels, less than a window, on every side of the image.
    """
    return Plan(
        rows=_cut(height, window_size, tile_px, overlap_px, context_px),
        columns=_cut(width, window_size, tile_px, overlap_px, context_px),
    )


def _cut(size_px: int, window_size: int, tile_px: int | None, overlap_px: int, context_px: int) -> Axis:
    whole = padded_size(size_px + 2 * context_px, window_size)
    if tile_px is None or tile_px >= whole:
        return Axis(size_px=size_px, tile_px=whole, origins=(-context_px,))
    # From here on everything is counted in windows.
    side = whole // window_size
    largest = max(tile_px // window_size, 2)
    if largest >= side:
        return Axis(size_px=size_px, tile_px=whole, origins=(-context_px,))
    overlap = min(max(ceil(overlap_px / window_size), 1), largest // 2)
    count = ceil((side - overlap) / (largest - overlap))
    # As many tiles of this size just reach the end with the overlap asked for: no tile is larger than it
    # must.
    tile = ceil((side + (count - 1) * overlap) / count)
    origins = (index * (side - tile) // (count - 1) * window_size - context_px for index in range(count))
    return Axis(size_px=size_px, tile_px=tile * window_size, origins=tuple(origins))


def weights(axis: Axis, scale: int) -> list[Float32[np.ndarray, " tile"]]:
    """Weigh the enlarged pixels of each tile along one side: linear in overlaps, summing to 1 everywhere."""
    length = axis.tile_px * scale
    # From the cut, in enlarged pixels.
    centres = np.arange(length) + 0.5
    ramps: list[NDArray[np.float64]] = []
    starts = [(origin - axis.origins[0]) * scale for origin in axis.origins]
    total = np.zeros(starts[-1] + length)
    for index, origin in enumerate(axis.origins):
        ramp = np.ones(length)
        if index > 0:
            shared = (axis.origins[index - 1] + axis.tile_px - origin) * scale
            ramp = np.minimum(ramp, _rise(centres / shared))
        if index + 1 < len(axis.origins):
            shared = (origin + axis.tile_px - axis.origins[index + 1]) * scale
            ramp = np.minimum(ramp, _rise(centres[::-1] / shared))
        ramps.append(ramp)
        total[starts[index] : starts[index] + length] += ramp
    return [
        (ramp / total[start : start + length]).astype(np.float32)
        for start, ramp in zip(starts, ramps, strict=True)
    ]


def _rise(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rise from 0 to 1 over the middle of an overlap, which lasts from position 0 at the cut to 1."""
    return ((position - MARGIN) / (1 - 2 * MARGIN)).clip(0, 1)


class Block(NamedTuple):
    """A finished piece of a restored image: its place in enlarged pixels, and what is there."""

    top: int
    left: int
    pixels: Float32[np.ndarray, "h w c"]


def first_row_of_tiles(cut: Plan, row: int) -> int:
    """Return the first row of tiles that reaches into row ``row``: what blending that row needs."""
    reached = cut.rows.origins[row]
    return next(
        index
        for index, top in enumerate(cut.rows.origins)
        if top + cut.rows.tile_px > reached or index == row
    )


def blend(
    cut: Plan,
    tiles: Iterable[Float32[np.ndarray, "th tw c"]],
    scale: int,
    *,
    rows: range | None = None,
    folder: Path | None = None,
) -> Generator[Block]:
    """Join restored tiles, given row by row, and yield finished blocks, one for each tile, in their order.

    A block lies between the beginnings of its tile and of the next ones, so that the blocks of a row of tiles make a
    band of the result. Of a row of tiles no more is held than the next one overlaps; what of that is large is on
    the disk. A block is valid until the next one is asked for.

    Args:
        cut: how the image was cut.
        tiles: those of the rows of tiles asked for, and above them from ``first_row_of_tiles`` on.
        scale: how many times larger tiles are.
        rows: of tiles, that follow each other, whose blocks are yielded; None for all.
        folder: for what is on the disk; None for the system's place for temporary files.
    """
    remaining = iter(tiles)
    columns, wanted = cut.columns, range(len(cut.rows.origins)) if rows is None else rows
    if cut.num_tiles == 1:
        tile = next(remaining)
        yield Block(0, 0, tile[_inside(cut.rows, scale), _inside(columns, scale)])
        return
    down = weights(cut.rows, scale)
    height, width = cut.rows.size_px * scale, columns.size_px * scale
    above = below = None
    try:
        for index in range(first_row_of_tiles(cut, wanted.start), wanted.stop):
            top = cut.rows.origins[index] * scale
            is_last = index + 1 == len(cut.rows.origins)
            finished = height - top if is_last else cut.rows.origins[index + 1] * scale - top
            overlap = 0 if index + 1 == wanted.stop else cut.rows.tile_px * scale - finished
            for left, across in _blend_across(columns, remaining, scale):
                block = across * down[index][:, None, None]
                right = left + block.shape[1]
                if above is not None:
                    block[: above.shape[0]] += above.read(0, above.shape[0], left, right)
                if overlap:
                    below = below or Spool(overlap, width, block.shape[2], block.dtype, folder=folder)
                    below.write(0, left, block[finished:])
                if index in wanted:
                    yield Block(max(top, 0), left, block[max(-top, 0) : finished])
            if above is not None:
                above.close()
            above, below = below, None
    finally:
        for spool in (above, below):
            if spool is not None:
                spool.close()


def _inside(axis: Axis, scale: int) -> slice:
    """Say which of the enlarged pixels of a tile that shows a whole side are the side's."""
    first_px = -axis.origins[0]
    return slice(first_px * scale, (first_px + axis.size_px) * scale)


def _blend_across(
    columns: Axis, tiles: Iterator[Float32[np.ndarray, "th tw c"]], scale: int
) -> Iterator[tuple[int, Float32[np.ndarray, "th w c"]]]:
    """Join the tiles of one row; yield where each piece begins, and the piece, as high as the tiles."""
    width = columns.size_px * scale
    before: NDArray[np.float32] | None = None
    for index, weight in enumerate(weights(columns, scale)):
        left = columns.origins[index] * scale
        is_last = index + 1 == len(columns.origins)
        finished = width - left if is_last else columns.origins[index + 1] * scale - left
        joined = next(tiles) * weight[None, :, None]
        if before is not None:
            joined[:, : before.shape[1]] += before
        yield max(left, 0), joined[:, max(-left, 0) : finished]
        before = joined[:, finished:]
