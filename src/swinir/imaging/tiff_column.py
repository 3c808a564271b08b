"""Wide TIFF files, tile by tile: libvips reads and writes their tiles as the strips of one narrow column.

libvips holds some five hundred rows of a picture that it reads or writes, whatever they take. The tiles of a TIFF
file, one below the other, are a picture as wide as a tile, and each tile is a strip of it, byte for byte. So only
the directory differs: TIFF 6.0, sections 3 and 15.
"""

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from swinir.imaging.limits import NO_LIMITS
from swinir.imaging.spool import Spool
from swinir.imaging.tiff_directories import OverlaidTiff, changed_directory, pack_header
from swinir.imaging.tiff_pages import Layout, Page, Tag, read_pages

TILE_PX = 256
# Tiles that are handed over at once.
_GROUP = 16


class TileColumn:
    """Rows of a wide picture, turned into rows of the column of its tiles.

    Args:
        height: rows of the picture.
        width: its columns.
        values: of each pixel.
        dtype: of each value.
        folder: for a row of tiles; None for the system's place for temporary files.
    """

    width = TILE_PX

    def __init__(
        self, height: int, width: int, values: int, dtype: np.dtype[Any], folder: Path | None
    ) -> None:
        self._rows_left = height
        self._num_across = ceil(width / TILE_PX)
        self.height = self._num_across * ceil(height / TILE_PX) * TILE_PX
        self._spool = Spool(TILE_PX, width, values, dtype, folder=folder)
        self._num_rows = 0

    def add(self, rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Take rows [rows, width · values], and yield those [rows, 256 · values] of the column that are whole."""
        _, width, values = self._spool.shape
        while len(rows):
            part, rows = np.split(rows, [min(len(rows), TILE_PX - self._num_rows)])
            self._spool.write(self._num_rows, 0, part.reshape(len(part), width, values))
            self._num_rows += len(part)
            self._rows_left -= len(part)
            if self._num_rows == TILE_PX or self._rows_left == 0:
                yield from self._tiles()
                self._num_rows = 0

    def close(self) -> None:
        """Give memory or disk back."""
        self._spool.close()

    def _tiles(self) -> Iterator[NDArray[Any]]:
        _, width, values = self._spool.shape
        for first in range(0, self._num_across, _GROUP):
            last = min(first + _GROUP, self._num_across)
            tiles = np.zeros((last - first, TILE_PX, TILE_PX, values), self._spool.dtype)
            for index in range(first, last):
                left, right = index * TILE_PX, min((index + 1) * TILE_PX, width)
                read = self._spool.read(0, self._num_rows, left, right)
                tiles[index - first, : self._num_rows, : right - left] = read
            yield tiles.reshape(-1, TILE_PX * values)


def state_tiles(path: Path, height: int, width: int) -> None:
    """Let the strips of a finished column be the tiles of a picture."""
    with path.open("r+b") as file:
        read = read_pages(file, os.fspath(path), NO_LIMITS)
        assert read is not None
        layout, [page] = read
        stated = {Tag.WIDTH: width, Tag.HEIGHT: height, Tag.TILE_WIDTH: TILE_PX, Tag.TILE_HEIGHT: TILE_PX}
        renamed = {Tag.STRIP_OFFSETS: Tag.TILE_OFFSETS, Tag.STRIP_BYTES: Tag.TILE_BYTES}
        directory = changed_directory(
            file, layout, page, stated=stated, renamed=renamed, dropped={Tag.ROWS_PER_STRIP}
        )
        end = file.seek(0, os.SEEK_END)
        place = end + end % 2
        file.seek(place)
        file.write(directory)
        file.seek(0)
        file.write(pack_header(layout, place))


class WideTiles:
    """The tiles of a wide TIFF file, read as a column, row of tiles after row of tiles.

    Args:
        path: of the file.
        layout: of its numbers.
        page: that is read; its tiles have a size.

    Raises:
        pyvips.Error: the file is damaged.
    """

    def __init__(self, path: Path, layout: Layout, page: Page) -> None:
        self.tile_width, self.tile_height = page.value(Tag.TILE_WIDTH), page.value(Tag.TILE_HEIGHT)
        self.num_across = ceil(page.width_px / self.tile_width)
        num_down = ceil(page.height_px / self.tile_height)
        height = self.num_across * num_down * self.tile_height
        self._file = path.open("rb")
        stated = {Tag.WIDTH: self.tile_width, Tag.HEIGHT: height, Tag.ROWS_PER_STRIP: self.tile_height}
        renamed = {Tag.TILE_OFFSETS: Tag.STRIP_OFFSETS, Tag.TILE_BYTES: Tag.STRIP_BYTES}
        dropped = {Tag.TILE_WIDTH, Tag.TILE_HEIGHT, Tag.SUBFILES}
        self._overlaid = OverlaidTiff(
            self._file, layout, page, stated=stated, renamed=renamed, dropped=dropped
        )
        self.column: pyvips.Image = self._overlaid.image

    def close(self) -> None:
        """Close the file."""
        del self.column
        self._overlaid.close()
        self._file.close()


def is_tiled(page: Page) -> bool:
    """Tell whether a page is in tiles that can be read as a column."""
    needed = (Tag.TILE_WIDTH, Tag.TILE_HEIGHT, Tag.TILE_OFFSETS, Tag.TILE_BYTES)
    return all(page.value(tag) > 0 for tag in needed)
