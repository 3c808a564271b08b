"""A wide TIFF file in strips as small files of one strip each, which libvips reads one after the other.

A strip that is large is cut where its rows can be found: one that is not compressed is an offset and a length
wherever it is cut, and one by deflate is decompressed row by row and stored again without compression.
"""

import os
import zlib
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import pyvips

from swinir.imaging.block_rows import DamagedBlockError
from swinir.imaging.inflating import CHUNK_BYTES, Inflater
from swinir.imaging.tiff_directories import OverlaidTiff, can_be_overlaid
from swinir.imaging.tiff_pages import Layout, Page, Tag, read_strips

_DEFLATE = (8, 32946)
_YCBCR = 6
# Of the rows that are cut out of a strip, as they are decoded.
_BLOCK_BYTES = 2**21
# Of a strip that is not cut, which libvips decodes whole.
_MOST_STRIP_BYTES = 2**26
# libtiff takes a strip of more bytes for damaged if it is not compressed and has fewer rows than others.
DOUBTED_BYTES = 100_000_000


class StripBlocks:
    """The strips of a page, or parts of them.

    Args:
        path: of the file.
        layout: of its numbers.
        page: that is read; one that ``can_be_blocks``.
        row_bytes: of a row that is decoded.

    Raises:
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path, layout: Layout, page: Page, row_bytes: int) -> None:
        self._layout, self._page = layout, page
        self._file = path.open("rb")
        self._offsets, self._sizes = read_strips(self._file, layout, page)
        self._file_bytes = path.stat().st_size
        self.rows_per_block = _rows_per_block(page, row_bytes)
        self._is_cut = self.rows_per_block < page.rows_per_strip
        self._shown: OverlaidTiff | None = None
        self._inflater: Inflater | None = None
        self._next_row = 0
        self._place = self._end = 0

    def open(self, index: int) -> pyvips.Image:
        """Open a block.

        Raises:
            pyvips.Error: it, or its strip above it, is damaged or missing.
        """
        self._close_shown()
        top = index * self.rows_per_block
        num_rows = min(self.rows_per_block, self._page.height_px - top)
        strip = top // self._page.rows_per_strip
        if strip >= len(self._offsets) or not self._offsets[strip]:
            raise DamagedBlockError(f"strip {strip} is missing")
        rows = {Tag.HEIGHT: num_rows, Tag.ROWS_PER_STRIP: num_rows}
        if self._is_cut and not self._page.is_plain:
            data = zlib.compress(self._inflate_rows(strip, top, num_rows), 0)
            self._shown = self._overlaid(rows, data)
        else:
            place, size = self._place_of(strip, top, num_rows)
            self._shown = self._overlaid({**rows, Tag.STRIP_OFFSETS: place, Tag.STRIP_BYTES: size})
        return self._shown.image

    def close(self) -> None:
        """Close the file."""
        self._close_shown()
        self._file.close()

    def _overlaid(self, stated: dict[Tag, int], strip: bytes = b"") -> OverlaidTiff:
        return OverlaidTiff(
            self._file, self._layout, self._page, stated=stated, dropped={Tag.SUBFILES}, strip=strip
        )

    def _place_of(self, strip: int, top: int, num_rows: int) -> tuple[int, int]:
        """Return offset and length of rows as they are stored."""
        place, size = self._offsets[strip], self._size_of(strip)
        if self._page.is_plain:
            place += (top - strip * self._page.rows_per_strip) * self._page.row_bytes
            size = num_rows * self._page.row_bytes
        # Behind the file is what was laid there.
        if place + size > self._file_bytes:
            raise DamagedBlockError(f"strip {strip} is cut short")
        return place, size

    def _size_of(self, strip: int) -> int:
        """Return the length of a strip; of one that is not compressed it need not be stated."""
        size = self._sizes[strip] if strip < len(self._sizes) else 0
        if size == 0 and not self._page.is_plain:
            raise DamagedBlockError(f"strip {strip} is empty")
        return size

    def _inflate_rows(self, strip: int, top: int, num_rows: int) -> bytes:
        """Decompress rows of a strip by deflate, after those above them."""
        first = strip * self._page.rows_per_strip
        if self._inflater is None or self._next_row <= first:
            self._next_row = first
            self._place = self._offsets[strip]
            self._end = self._place + self._size_of(strip)
            self._inflater = Inflater(self._read)
        row_bytes = self._page.row_bytes
        try:
            while self._next_row < top:
                self._inflater.take(row_bytes)
                self._next_row += 1
            data = self._inflater.take(num_rows * row_bytes)
        except zlib.error as error:
            raise DamagedBlockError(f"strip {strip} is damaged") from error
        if len(data) < num_rows * row_bytes:
            raise DamagedBlockError(f"strip {strip} is cut short")
        self._next_row = top + num_rows
        return data

    def _read(self) -> bytes:
        self._file.seek(self._place)
        data = self._file.read(min(CHUNK_BYTES, self._end - self._place))
        self._place += len(data)
        return data

    def _close_shown(self) -> None:
        if self._shown is not None:
            self._shown.close()
            self._shown = None


def can_be_blocks(page: Page, row_bytes: int) -> bool:
    """Tell whether a page can be read strip by strip, its rows being of ``row_bytes`` when they are decoded."""
    is_stated = page.value(Tag.STRIP_OFFSETS) > 0 and (page.is_plain or page.value(Tag.STRIP_BYTES) > 0)
    # Where rows are that share their colours is not known.
    is_known = not page.is_plain or page.value(Tag.PHOTOMETRIC) != _YCBCR
    rows = _rows_per_block(page, row_bytes)
    return page.is_in_strips and is_stated and is_known and rows * row_bytes <= _MOST_STRIP_BYTES


def is_doubted(page: Page) -> bool:
    """Tell whether libtiff refuses the last strip of a sound page, because it has fewer rows than the others."""
    rows = page.rows_per_strip
    return (
        page.is_in_strips
        and page.is_plain
        and rows * page.row_bytes > DOUBTED_BYTES
        and page.height_px % rows != 0
    )


def join_strips(file: BinaryIO, layout: Layout, page: Page) -> OverlaidTiff | None:
    """Open a page that ``is_doubted`` as one strip; None if its strips do not follow each other.

    Raises:
        pyvips.Error: it is damaged.
    """
    offsets, _ = read_strips(file, layout, page)
    strip_bytes = page.rows_per_strip * page.row_bytes
    size = file.seek(0, os.SEEK_END)
    if not offsets or not can_be_overlaid(layout, size):
        return None
    if any(below - above != strip_bytes for above, below in pairwise(offsets)):
        return None
    num_bytes = page.height_px * page.row_bytes
    if offsets[0] + num_bytes > size:
        raise DamagedBlockError("the last strip is cut short")
    stated = {
        Tag.ROWS_PER_STRIP: page.height_px,
        Tag.STRIP_OFFSETS: offsets[0],
        Tag.STRIP_BYTES: num_bytes,
    }
    return OverlaidTiff(file, layout, page, stated=stated, dropped={Tag.SUBFILES})


def _rows_per_block(page: Page, row_bytes: int) -> int:
    """Return how many rows are read at once: whole strips, or equal parts of them."""
    rows = page.rows_per_strip
    wanted = max(1, _BLOCK_BYTES // row_bytes)
    is_deflated = page.value(Tag.COMPRESSION) in _DEFLATE and page.value(Tag.FILL_ORDER, 1) == 1
    can_be_cut = (page.is_plain or is_deflated) and page.value(Tag.PHOTOMETRIC) != _YCBCR
    if rows <= wanted or not can_be_cut:
        return rows
    if rows == page.height_px:
        return wanted
    # No block may reach over the end of a strip.
    return next(each for each in range(wanted, 0, -1) if rows % each == 0)
