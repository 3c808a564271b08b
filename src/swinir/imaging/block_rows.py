"""Rows of a wide picture that libvips reads as a sequence of low ones: of one picture it holds hundreds of rows."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import pyvips

from swinir.imaging.band import Band


class Blocks(Protocol):
    """A picture as pictures of a few of its rows, one below the other.

    Attributes:
        rows_per_block: of each but the last, which may be lower.
    """

    rows_per_block: int

    def open(self, index: int) -> pyvips.Image:
        """Open a block; none above one that was opened. It is good until the next is.

        Raises:
            pyvips.Error: it, or one above it, is damaged or cut short.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class BlockRows:
    """Rows from top to bottom, of which libvips has one block.

    Args:
        blocks: of the picture.
        decode: makes rows of a block, from one to another, what the picture's rows are.
    """

    def __init__(self, blocks: Blocks, decode: Callable[[pyvips.Image, int, int], Band]) -> None:
        # libvips remembers a hundred operations, and with each what it reads from: a dozen blocks. This is for the
        # whole process, and only a matter of speed where somebody else computes the same twice.
        pyvips.cache_set_max(0)
        self._blocks = blocks
        self._decode = decode
        self._shown: int | None = None
        self._image: pyvips.Image | None = None

    def take(self, top: int, bottom: int) -> Band:
        """Return rows as they are stored; none above those that were taken.

        Raises:
            pyvips.Error: they are damaged or cut short.
        """
        parts: list[Band] = []
        while top < bottom:
            index, inside = divmod(top, self._blocks.rows_per_block)
            num_rows = min(bottom - top, self._blocks.rows_per_block - inside)
            parts.append(self._decode(self._show(index), inside, inside + num_rows))
            top += num_rows
        if len(parts) == 1:
            return parts[0]
        pixels = np.concatenate([part.pixels for part in parts])
        alphas = [part.alpha for part in parts if part.alpha is not None]
        return Band(pixels, np.concatenate(alphas) if alphas else None)

    def close(self) -> None:
        """Give back what reading took."""
        self._image = None
        self._blocks.close()

    def _show(self, index: int) -> pyvips.Image:
        if self._image is None or index != self._shown:
            self._image = None
            self._image = self._blocks.open(index)
            self._shown = index
        return self._image
