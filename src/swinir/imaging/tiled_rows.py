"""Rows of a wide TIFF file in tiles."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyvips

from swinir.imaging.band import Band, Header
from swinir.imaging.spool import Spool
from swinir.imaging.tiff_column import WideTiles


class TiledRows:
    """Rows of a wide TIFF file in tiles, of which one row is on the disk."""

    def __init__(
        self,
        tiles: WideTiles,
        width: int,
        header: Header,
        decode: Callable[[pyvips.Image, int, int], Band],
        folder: Path | None,
    ) -> None:
        self._tiles = tiles
        self._width = width
        self._header = header
        self._decode = decode
        self._spool = Spool(tiles.tile_height, width, header.values, header.dtype, folder=folder)
        self._shown: int | None = None

    def take(self, top: int, bottom: int) -> Band:
        """Return rows as they are stored; none above those that were taken."""
        height = self._tiles.tile_height
        window = np.empty((bottom - top, *self._spool.shape[1:]), self._spool.dtype)
        first = top
        while first < bottom:
            down = first // height
            if down != self._shown:
                self._show(down)
            stop = min(bottom, (down + 1) * height)
            window[first - top : stop - top] = self._spool.read(first - down * height, stop - down * height)
            first = stop
        return self._header.split(window)

    def close(self) -> None:
        """Give back what reading took."""
        self._spool.close()
        self._tiles.close()

    def _show(self, down: int) -> None:
        height, width = self._tiles.tile_height, self._tiles.tile_width
        first = down * self._tiles.num_across * height
        for across in range(self._tiles.num_across):
            top = first + across * height
            tile = self._decode(self._tiles.column, top, top + height)
            left = across * width
            self._spool.write(0, left, tile.joined()[:, : self._width - left])
        self._shown = down
