"""Wide TIFF files, tile by tile: libvips reads and writes their tiles as the strips of one narrow column.

libvips holds some five hundred rows of a picture that it reads or writes, whatever they take. The tiles of a TIFF
file, one below the other, are a picture as wide as a tile, and each tile is a strip of it, byte for byte. So only
the directory differs: TIFF 6.0, sections 3 and 15.
"""

import os
import struct
from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyvips
from numpy.typing import NDArray

from swinir.imaging.limits import NO_LIMITS
from swinir.imaging.row_encoders import WIDE_ROW_BYTES
from swinir.imaging.spool import Spool
from swinir.imaging.tiff_pages import Layout, Page, Tag, read_pages

TILE_PX = 256
_LONG = 4
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
        directory = _directory(
            file, layout, page, stated=stated, renamed=renamed, dropped={Tag.ROWS_PER_STRIP}
        )
        end = file.seek(0, os.SEEK_END)
        place = end + end % 2
        file.seek(place)
        file.write(directory)
        file.seek(0)
        file.write(_header(layout, place))


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
        directory = _directory(self._file, layout, page, stated=stated, renamed=renamed, dropped=dropped)
        self._size = self._file.seek(0, os.SEEK_END)
        self._place = self._size + self._size % 2
        self._header = _header(layout, self._place)
        self._end = b"\0" * (self._size % 2) + directory
        self._position = 0
        # Has to live as long as the column: libvips does not keep what it calls.
        self._source = pyvips.SourceCustom()
        self._source.on_read(self._read)
        self._source.on_seek(self._seek)
        self.column: pyvips.Image = pyvips.Image.tiffload_source(
            self._source, access="sequential", fail_on="error"
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, num_bytes: int) -> bytes:
        """Read the file with another directory at its end, and its header pointing there."""
        start = self._position
        if start < len(self._header):
            data = self._header[start : start + num_bytes]
        elif start < self._size:
            self._file.seek(start)
            data = self._file.read(num_bytes)
        else:
            data = self._end[start - self._size :][:num_bytes]
        self._position += len(data)
        return data

    def _seek(self, offset: int, whence: int) -> int:
        base = (0, self._position, self._size + len(self._end))[whence]
        self._position = base + offset
        return self._position


def is_wide_and_tiled(page: Page, row_bytes: int) -> bool:
    """Tell whether a page is better read tile by tile."""
    needed = (Tag.TILE_WIDTH, Tag.TILE_HEIGHT, Tag.TILE_OFFSETS, Tag.TILE_BYTES)
    return row_bytes > WIDE_ROW_BYTES and all(page.value(tag) > 0 for tag in needed)


def _header(layout: Layout, place: int) -> bytes:
    mark = b"II" if layout.order == "<" else b"MM"
    if layout.is_big:
        return mark + struct.pack(layout.order + "HHHQ", 43, 8, 0, place)
    return mark + struct.pack(layout.order + "HI", 42, place)


def _directory(
    file: BinaryIO,
    layout: Layout,
    page: Page,
    *,
    stated: Mapping[Tag, int],
    renamed: Mapping[Tag, Tag],
    dropped: set[Tag],
) -> bytes:
    """Return the directory of a page with some of its fields changed; long values stay where they are."""
    entries: dict[int, bytes] = {}
    for tag, field in page.fields.items():
        if tag not in dropped:
            file.seek(field.place)
            entries[renamed.get(Tag(tag), tag) if tag in set(Tag) else tag] = file.read(layout.entry_bytes)[
                2:
            ]
    room = layout.entry_bytes - 4 - struct.calcsize(layout.offset)
    for tag, number in stated.items():
        value = struct.pack(layout.order + "I", number).ljust(room, b"\0")
        entries[tag] = struct.pack(layout.order + "H", _LONG) + struct.pack(layout.offset, 1) + value
    table = b"".join(struct.pack(layout.order + "H", tag) + entries[tag] for tag in sorted(entries))
    count = struct.pack(layout.order + ("Q" if layout.is_big else "H"), len(entries))
    return count + table + struct.pack(layout.offset, 0)
