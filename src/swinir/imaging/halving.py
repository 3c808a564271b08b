"""Rows at half the size, for pictures that are kept at several sizes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class HalvedRows:
    """Takes the rows of a picture and gives those of one of half its size: means of two by two pixels.

    Where there is alpha, it is the weight of the colours, as it is for libvips.

    Args:
        height: of the picture.
        width: of the picture.
        values: of each pixel; alpha is the last of 2 or 4.
        rounds_up: an odd last row or column is one of the half; otherwise it is left out, unless it is the only one.
    """

    def __init__(self, height: int, width: int, values: int, *, rounds_up: bool) -> None:
        self.height, self.width = ((side + rounds_up) // 2 or 1 for side in (height, width))
        self._values = values
        self._has_alpha = values in (2, 4)
        self._rows_left = height
        self._repeats = rounds_up or height == 1
        self._waiting: NDArray[Any] | None = None

    def add(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Take rows [n, width · values] and return those [m, width / 2 · values] that are complete with them."""
        self._rows_left -= len(rows)
        if self._waiting is not None:
            rows = np.concatenate([self._waiting, rows])
        if self._rows_left == 0 and self._repeats and len(rows) % 2:
            rows = np.concatenate([rows, rows[-1:]])
        num_pairs = len(rows) // 2
        self._waiting = rows[2 * num_pairs :].copy() if len(rows) % 2 else None
        halves = np.empty((num_pairs, self.width * self._values), rows.dtype)
        for index in range(num_pairs):
            halves[index] = self._half(rows[2 * index : 2 * index + 2]).ravel()
        return halves

    def _half(self, pair: NDArray[Any]) -> NDArray[Any]:
        """Return one row [width / 2, values] of two."""
        pixels = pair.reshape(2, -1, self._values)
        if pixels.shape[1] < 2 * self.width:
            pixels = np.concatenate([pixels, pixels[:, -1:]], axis=1)
        blocks = pixels[:, : 2 * self.width].reshape(2, self.width, 2, self._values)
        is_float = blocks.dtype.kind == "f"
        if not self._has_alpha:
            total = blocks.sum(axis=(0, 2), dtype=blocks.dtype if is_float else np.uint32)
            return total / blocks.dtype.type(4) if is_float else (total + 2) // 4
        weights = blocks[..., -1:].astype(np.float64)
        weight = weights.sum(axis=(0, 2))
        colours = (blocks[..., :-1] * weights).sum(axis=(0, 2)) / np.where(weight > 0, weight, 1)
        half = np.concatenate([colours, weight / 4], axis=1)
        return half if is_float else np.floor(half + 0.5)
