"""Rows of a wide picture, read as a sequence of pictures of a few rows each: of one, libvips holds hundreds."""

import threading
from collections.abc import Callable
from typing import Protocol

import numpy as np
import pyvips

from swinir.imaging.band import Band


class DamagedBlockError(pyvips.Error):
    """A part of a picture is damaged or missing."""

    def __init__(self, reason: str) -> None:
        # Without a detail pyvips takes one from the list of messages that all threads share.
        super().__init__(reason, reason)


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

    While one of these is open, libvips remembers no operations, in the whole process: it would keep the blocks of
    the last hundred. That costs time only where somebody computes the same twice.

    Args:
        blocks: of the picture.
        decode: returns rows of a block as bands, from one row up to, and without, another.
    """

    def __init__(self, blocks: Blocks, decode: Callable[[pyvips.Image, int, int], Band]) -> None:
        _memory.forget()
        self._blocks: Blocks | None = blocks
        self._decode = decode
        self._shown: int | None = None
        self._image: pyvips.Image | None = None
        self._failure: pyvips.Error | None = None

    def take(self, top: int, bottom: int) -> Band:
        """Return rows as they are stored; none above those that were taken.

        Raises:
            pyvips.Error: they, or rows that were taken before, are damaged or cut short.
        """
        assert self._blocks is not None
        if self._failure is not None:
            raise self._failure
        rows_per_block = self._blocks.rows_per_block
        band: Band | None = None
        row = top
        try:
            while row < bottom:
                index, inside = divmod(row, rows_per_block)
                num_rows = min(bottom - row, rows_per_block - inside)
                part = self._decode(self._show(index), inside, inside + num_rows)
                if num_rows == bottom - top:
                    return part
                # Joined at the end, all parts would be there twice.
                if band is None:
                    band = _empty_like(part, bottom - top)
                _copy_rows(part, band, row - top)
                del part  # before the next one is decoded
                row += num_rows
        except pyvips.Error as error:
            # Of what follows it is not known where it is.
            self._failure = error
            raise
        assert band is not None
        return band

    def close(self) -> None:
        """Give back what reading took."""
        self._image = None
        if self._blocks is not None:
            self._blocks.close()
            self._blocks = None
            _memory.remember()

    def _show(self, index: int) -> pyvips.Image:
        assert self._blocks is not None
        if self._image is None or index != self._shown:
            self._image = None
            self._image = self._blocks.open(index)
            self._shown = index
        return self._image


def _empty_like(band: Band, num_rows: int) -> Band:
    pixels = np.empty((num_rows, *band.pixels.shape[1:]), band.pixels.dtype)
    return Band(pixels, None if band.alpha is None else np.empty(pixels.shape[:2], band.alpha.dtype))


def _copy_rows(part: Band, whole: Band, row: int) -> None:
    rows = slice(row, row + len(part.pixels))
    whole.pixels[rows] = part.pixels
    if whole.alpha is not None and part.alpha is not None:
        whole.alpha[rows] = part.alpha


class _Memory:
    """How many operations libvips remembers: none as long as anybody wants that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_forgetting = 0
        self._usual = 0

    def forget(self) -> None:
        with self._lock:
            if self._num_forgetting == 0:
                self._usual = pyvips.vips_lib.vips_cache_get_max()
                pyvips.cache_set_max(0)
            self._num_forgetting += 1

    def remember(self) -> None:
        with self._lock:
            self._num_forgetting -= 1
            if self._num_forgetting == 0:
                pyvips.cache_set_max(self._usual)


_memory = _Memory()
