"""Rows of a wide TIFF file in plain strips, or in strips by deflate: libvips holds hundreds of them, this a few."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from swinir.imaging.band import Band, Header
from swinir.imaging.decode import repair_values
from swinir.imaging.row_encoders import type_of
from swinir.imaging.tiff_pages import Layout, Page, Tag, read_numbers

_PLAIN, _DEFLATE = 1, (8, 32946)
_BLACK_IS_ZERO, _RGB = 1, 2
_UNSIGNED, _FLOAT = 1, 3
_TOGETHER = 1
_DIFFERENCES = 2
# Compressed bytes that are read at once.
_CHUNK_BYTES = 2**18


class WideStrips:
    """Rows from top to bottom.

    Args:
        path: of the file.
        layout: of its numbers.
        page: that is read; one that ``is_in_plain_strips``.
        like: the page as libvips opens it.
        header: of the picture.
        is_raw: values that are not finite are left as they are, and not made 0.

    Raises:
        OSError: the file cannot be read.
    """

    def __init__(
        self,
        path: Path,
        layout: Layout,
        page: Page,
        like: pyvips.Image,
        header: Header,
        *,
        is_raw: bool = False,
    ) -> None:
        self._like = like
        self._is_raw = is_raw
        self._header = header
        self._dtype = np.dtype(layout.order + type_of(like).str[1:])
        self._has_differences = page.value(Tag.PREDICTOR, 1) == _DIFFERENCES
        self._is_plain = page.value(Tag.COMPRESSION, _PLAIN) == _PLAIN
        self._row_bytes = like.width * like.bands * self._dtype.itemsize
        self._rows_per_strip = page.rows_per_strip
        self._file = path.open("rb")
        self._offsets, self._sizes = (
            [int(each) for each in read_numbers(self._file, layout, page, tag)]
            for tag in (Tag.STRIP_OFFSETS, Tag.STRIP_BYTES)
        )
        self._row = 0
        self._left = 0
        self._inflater: Any = None

    def take(self, top: int, bottom: int) -> Band:
        """Return rows as they are stored; none above those that were taken.

        Raises:
            pyvips.Error: they are damaged or cut short.
        """
        while self._row < top:
            self._next_row()
        data = b"".join(self._next_row() for _ in range(bottom - top))
        shape = (bottom - top, self._like.width, self._like.bands)
        values = np.frombuffer(data, self._dtype).astype(self._dtype.newbyteorder("=")).reshape(shape)
        if self._has_differences:
            np.cumsum(values, axis=1, dtype=values.dtype, out=values)
        band = self._header.split(values[:, :, : self._header.values])
        if not self._is_raw:
            repair_values(band.pixels, [])
        return band

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _next_row(self) -> bytes:
        strip, inside = divmod(self._row, self._rows_per_strip)
        if inside == 0:
            if strip >= min(len(self._offsets), len(self._sizes)):
                raise pyvips.Error(f"strip {strip} is missing")
            self._file.seek(self._offsets[strip])
            self._left = self._sizes[strip]
            self._inflater = None if self._is_plain else zlib.decompressobj()
        try:
            row = self._read(self._row_bytes) if self._is_plain else self._inflate(self._row_bytes)
        except zlib.error as error:
            raise pyvips.Error(f"strip {strip} is damaged") from error
        if len(row) < self._row_bytes:
            raise pyvips.Error(f"strip {strip} is cut short")
        self._row += 1
        return row

    def _read(self, num_bytes: int) -> bytes:
        data = self._file.read(min(num_bytes, self._left))
        self._left -= len(data)
        return data

    def _inflate(self, num_bytes: int) -> bytes:
        parts: list[bytes] = []
        while num_bytes:
            given = self._inflater.unconsumed_tail or self._read(_CHUNK_BYTES)
            part = self._inflater.decompress(given, num_bytes)
            if not part and not given:
                break
            parts.append(part)
            num_bytes -= len(part)
        return b"".join(parts)


def is_in_plain_strips(page: Page) -> bool:
    """Tell whether the strips of a page can be read here."""
    kind = page.value(Tag.SAMPLE_FORMAT, _UNSIGNED)
    differences = page.value(Tag.PREDICTOR, 1)
    return (
        Tag.TILE_WIDTH not in page.fields
        and page.value(Tag.COMPRESSION, _PLAIN) in (_PLAIN, *_DEFLATE)
        and page.value(Tag.PHOTOMETRIC, -1) in (_BLACK_IS_ZERO, _RGB)
        and page.value(Tag.PLANAR, _TOGETHER) == _TOGETHER
        and (kind, page.bits) in ((_UNSIGNED, 8), (_UNSIGNED, 16), (_FLOAT, 32))
        and (differences == 1 or (differences == _DIFFERENCES and kind == _UNSIGNED))
    )
