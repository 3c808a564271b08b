"""Colours under full transparency: replaced by those beside them, so that what is hidden never shows.

A network and an enlargement mix every pixel with its neighbours: black under alpha 0 would darken the rim of what is
seen.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swinir import imaging
from swinir.imaging.color import white_level

if TYPE_CHECKING:
    from swinir.engine.stream import RowSource

# How far colours spread: beyond it, nothing reaches back to what is seen by more than a level or so.
REACH_PX = 32
# Rows that are made at once, so that those read beside them are few.
_BLOCK_ROWS = 2 * REACH_PX
# Lossy formats make of alpha 0 a little more: so much of white counts as nothing.
_LEAST_ALPHA = 2.5 / 255
_NEIGHBOURS = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0)]


def spread_colours(colours: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Replace colours under alpha 0, or nearly so, by the mean of their visible neighbours, from the rim outwards.

    Rows that are ``REACH_PX`` away from an end come out the same if rows are added there.

    Args:
        colours: [H, W, C].
        alpha: [H, W], 0 where nothing is seen.

    Returns:
        [H, W, C], 0 where nothing is seen within ``REACH_PX``; ``colours`` themselves where nothing is hidden.
    """
    hidden = alpha < _LEAST_ALPHA * white_level(alpha.dtype)
    if not hidden.any():
        return colours
    height, width, channels = colours.shape
    # One more pixel on each side, never known, saves asking whether a neighbour lies in the picture.
    spread = np.zeros((height + 2, width + 2, channels), colours.dtype)
    spread[1:-1, 1:-1] = np.where(hidden[:, :, None], 0, colours)
    known = np.zeros((height + 2, width + 2), bool)
    known[1:-1, 1:-1] = ~hidden
    unknown = np.zeros_like(known)
    unknown[1:-1, 1:-1] = hidden
    places, is_known, is_open = spread.reshape(-1, channels), known.reshape(-1), unknown.reshape(-1)
    steps = np.array([down * (width + 2) + right for down, right in _NEIGHBOURS])
    rim = np.flatnonzero(_beside(known) & unknown)
    for _ in range(REACH_PX):
        total = np.zeros((len(rim), channels), np.float32)
        count = np.zeros((len(rim), 1), np.float32)
        for step in steps:
            seen = is_known[rim + step][:, None]
            total += np.where(seen, places[rim + step], 0)
            count += seen
        places[rim] = _rounded(total / count, colours.dtype)
        is_known[rim], is_open[rim] = True, False
        beside = np.zeros_like(is_open)
        for step in steps:
            beside[rim + step] = True
        rim = np.flatnonzero(beside & is_open)
        if not len(rim):
            break
    return spread[1:-1, 1:-1]


class SpreadRows:
    """Rows of a picture with alpha, taken from top to bottom, whose colours are spread under what is hidden.

    Args:
        source: the picture.
    """

    def __init__(self, source: "RowSource") -> None:
        self.header = source.header
        self._source = source
        self._top = 0
        self._colours: NDArray[Any] | None = None
        self._alpha: NDArray[Any] | None = None
        self._block = imaging.Band(np.empty((0, 0, 0)), np.empty((0, 0)))
        self._block_top = 0

    def rows(self, top: int, bottom: int) -> imaging.Band:
        """Return the rows from ``top`` up to, and without, ``bottom``; they reach no higher than before."""
        colours: list[NDArray[Any]] = []
        alphas: list[NDArray[Any]] = []
        while top < bottom:
            if not self._block_top <= top < self._block_top + len(self._block.pixels):
                self._spread_block(top)
            rows = slice(top - self._block_top, bottom - self._block_top)
            assert self._block.alpha is not None
            colours.append(self._block.pixels[rows])
            alphas.append(self._block.alpha[rows])
            top += len(colours[-1])
        return imaging.Band(np.concatenate(colours), np.concatenate(alphas))

    def _spread_block(self, top: int) -> None:
        """Make the rows from ``top`` on ready."""
        height = self.header.height
        first, bottom = max(0, top - REACH_PX), min(height, top + _BLOCK_ROWS)
        colours, alpha = self._show(first, min(height, bottom + REACH_PX))
        rows = slice(top - first, bottom - first)
        self._block = imaging.Band(spread_colours(colours, alpha)[rows], alpha[rows])
        self._block_top = top

    def _show(self, first: int, stop: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the rows of the source, of which those that were shown before are not read again."""
        held = self._top if self._colours is None else self._top + len(self._colours)
        start = max(first, held)
        bands = [self._source.rows(start, stop)] if start < stop else []
        colours = [band.pixels for band in bands]
        alphas = [band.alpha for band in bands if band.alpha is not None]
        if self._colours is not None and self._alpha is not None and first < held:
            colours.insert(0, self._colours[first - self._top :])
            alphas.insert(0, self._alpha[first - self._top :])
        self._colours, self._alpha, self._top = np.concatenate(colours), np.concatenate(alphas), first
        return self._colours[: stop - first], self._alpha[: stop - first]


def _beside(known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where one of the eight neighbours is known; the outermost pixels are not asked."""
    beside = np.zeros_like(known)
    inner = beside[1:-1, 1:-1]
    height, width = known.shape
    for down, right in _NEIGHBOURS:
        inner |= known[1 + down : height - 1 + down, 1 + right : width - 1 + right]
    return beside


def _rounded(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    return values.astype(dtype) if dtype == np.float32 else (values + np.float32(0.5)).astype(dtype)
