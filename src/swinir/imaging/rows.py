"""Rows of pictures as files keep them: decoded whole, or a band at a time."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from swinir.errors import ImageError
from swinir.imaging.band import Band, Header, rows_of_band
from swinir.imaging.block_rows import BlockRows
from swinir.imaging.decode import decode
from swinir.imaging.facts import Facts
from swinir.imaging.formats import AVIF, JPEG, PNG, WEBP
from swinir.imaging.image import Image, has_equal_channels
from swinir.imaging.io import note_on_frames
from swinir.imaging.limits import DEFAULT_LIMITS, Limits
from swinir.imaging.opening import Opened, jpeg_warnings_raised, load
from swinir.imaging.png_blocks import PngBlocks
from swinir.imaging.row_encoders import WIDE_ROW_BYTES
from swinir.imaging.strip_blocks import StripBlocks, can_be_blocks, is_doubted
from swinir.imaging.tiff_column import WideTiles, is_tiled
from swinir.imaging.tiff_directories import can_be_overlaid
from swinir.imaging.tiled_rows import TiledRows

WideRows = TiledRows | BlockRows
_FLOATS = {"float": np.float32, "double": np.float64}
# Orientations that turn rows into columns.
_TURNED = (5, 6, 7, 8)
# What a header says once for the whole picture.
_HEADER_FIELDS = ("exif-data", "xmp-data", "iptc-data", "orientation")
_CONTENT_FIELDS = (*_HEADER_FIELDS, "icc-profile-data", "bits-per-sample")


def whole_limits(limits: Limits) -> Limits:
    """Hold what has to be in memory to the limits of such pictures."""
    ours = vars(limits)
    return Limits(**{name: min(ours[name], value) for name, value in vars(DEFAULT_LIMITS).items()})


class WholeRows:
    """A picture that had to be decoded whole."""

    def __init__(self, image: Image) -> None:
        self._image: Image | None = image
        pixel = replace(image, pixels=image.pixels[:1, :1], alpha=None)
        is_float = image.pixels.dtype == np.float32
        self.header = Header(
            height=image.height,
            width=image.width,
            has_alpha=image.alpha is not None,
            template=pixel,
            value_range=(float(image.pixels.min()), float(image.pixels.max()))
            if is_float
            else (0, image.white),
            is_grey=has_equal_channels(image.pixels),
        )

    def take(self, top: int, bottom: int) -> Band:
        """Return rows; none above those that were taken."""
        assert self._image is not None
        alpha = self._image.alpha
        return Band(self._image.pixels[top:bottom], None if alpha is None else alpha[top:bottom])

    def close(self) -> None:
        """Give back what reading took."""
        self._image = None


class StoredRows:
    """Rows in the order of the file, each band decoded like a picture of its own."""

    def __init__(self, opened: Opened, limits: Limits, folder: Path | None) -> None:
        self._opened = opened
        self._image: pyvips.Image | None = load(opened)
        image = self._image
        self._is_whole = _has(image, "interlaced") or opened.file_format in (AVIF, WEBP)
        checked = whole_limits(limits) if self._is_whole else limits
        checked.check_size(opened.source.name, image.width, image.height, num_bytes=opened.num_bytes)
        stated: Any = image.get("orientation") if _has(image, "orientation") else 1
        self.orientation = int(stated)
        pixel = decode(_black_pixel(image), opened.file_format, opened.facts)
        pixel = pixel.with_notes(note_on_frames(opened))
        self.stored_shape = image.height, image.width
        height, width = self.stored_shape
        if self.orientation in _TURNED:
            height, width = width, height
        self.header = Header(
            height=height,
            width=width,
            has_alpha=pixel.alpha is not None,
            template=replace(pixel, alpha=None),
            value_range=(0.0, pixel.white),
        )
        if self.header.dtype == np.float32:
            value_range, notes = self._scan(folder)
            self.header = replace(
                self.header, template=self.header.template.with_notes(notes), value_range=value_range
            )
        if self.header.channels == 3:
            self.header = replace(self.header, is_grey=self._is_grey(folder))
        self._wide = self._open_wide(folder)

    @property
    def is_out_of_order(self) -> bool:
        """Whether the first row of the picture is not the first one of the file."""
        return self.orientation > 2

    def take(self, top: int, bottom: int) -> Band:
        """Return rows; none above those that were taken."""
        if self._wide is not None:
            return self._turned(self._wide.take(top, bottom))
        assert self._image is not None
        is_end_of_jpeg = self._opened.file_format is JPEG and bottom == self.stored_shape[0]
        with jpeg_warnings_raised() if is_end_of_jpeg else nullcontext():
            return self._turned(self._decode(self._image, top, bottom))

    def close(self) -> None:
        """Give back what reading took."""
        self._image = None
        if self._wide is not None:
            self._wide.close()

    def _turned(self, band: Band) -> Band:
        return band.upright(self.orientation) if self.orientation == 2 else band

    def _decode(self, image: pyvips.Image, top: int, bottom: int) -> Band:
        """Decode some rows as they are stored, without what was said of them in the header."""
        rows = image.crop(0, top, image.width, bottom - top).copy()
        for name in _HEADER_FIELDS:
            rows.remove(name)
        decoded = decode(rows, self._opened.file_format, Facts(bits=self._opened.facts.bits))
        return Band(decoded.pixels, decoded.alpha)

    def _open_wide(self, folder: Path | None, *, is_raw: bool = False) -> WideRows | None:
        """Open a file that would take libvips too much memory, or that it would refuse.

        Args:
            folder: for what does not stay in memory.
            is_raw: floats that are not finite are left as they are, and not made 0.
        """
        path = self._opened.source.path
        width = self.stored_shape[1]
        row_bytes = width * (self.header.row_bytes // self.header.width)
        if path is None or self._is_whole:
            return None
        decode_rows = self._decode_raw if is_raw else self._decode
        is_wide = row_bytes > WIDE_ROW_BYTES
        if self._opened.file_format is PNG and is_wide:
            return BlockRows(PngBlocks(path, row_bytes), decode_rows)
        layout, pages = self._opened.layout, self._opened.pages
        if layout is None or not pages or not can_be_overlaid(layout, self._opened.source.num_bytes):
            return None
        if is_wide and is_tiled(pages[0]):
            return TiledRows(WideTiles(path, layout, pages[0]), width, self.header, decode_rows, folder)
        if (is_wide or is_doubted(pages[0])) and can_be_blocks(pages[0], row_bytes):
            return BlockRows(StripBlocks(path, layout, pages[0], row_bytes), decode_rows)
        return None

    def _is_grey(self, folder: Path | None) -> bool:
        """Go over all values once, as long as they are grey."""
        # What is damaged is said when its rows are taken.
        with suppress(pyvips.Error, ImageError), self._scanned(folder) as bands:
            return all(has_equal_channels(band.pixels) for band in bands)
        return False

    @contextmanager
    def _scanned(self, folder: Path | None, *, is_raw: bool = False) -> Generator[Iterator[Band]]:
        """Go over all rows in the order of the file, from a reader of their own; ``is_raw`` as of ``_open_wide``."""
        wide = self._open_wide(folder, is_raw=is_raw)
        decode_rows = self._decode_raw if is_raw else self._decode
        take = partial(decode_rows, load(self._opened)) if wide is None else wide.take
        height, width = self.stored_shape
        step = rows_of_band(width * self.header.values * self.header.dtype.itemsize)
        with closing(wide) if wide is not None else nullcontext():
            yield (take(top, min(top + step, height)) for top in range(0, height, step))

    def _decode_raw(self, image: pyvips.Image, top: int, bottom: int) -> Band:
        """Decode rows of a picture of floats, values that are not finite among them."""
        dtype = _FLOATS.get(str(image.format))
        if dtype is None:
            return self._decode(image, top, bottom)
        data = pyvips.Region.new(image).fetch(0, top, image.width, bottom - top)
        values = np.frombuffer(data, dtype).reshape(bottom - top, image.width, image.bands)
        return self.header.split(values[:, :, : self.header.values].astype(np.float32))

    def _scan(self, folder: Path | None) -> tuple[tuple[float, float], tuple[str, ...]]:
        """Go over all values once, for their range and for what is not a number."""
        lowest, highest, num_bad = np.inf, -np.inf, 0
        with self._scanned(folder, is_raw=True) as bands:
            for pixels, _ in bands:
                is_bad = ~np.isfinite(pixels)
                num_bad += int(is_bad.sum())
                pixels[is_bad] = 0
                lowest, highest = min(lowest, float(pixels.min())), max(highest, float(pixels.max()))
        notes: list[str] = []
        if num_bad:
            notes.append(f"{num_bad:,} values that are not finite were read as 0.")
        if lowest < 0 or highest > 1:
            notes.append(f"The values go from {lowest:g} to {highest:g}, where 0 to 1 is nominal.")
        return (lowest, highest), tuple(notes)


def _has(image: pyvips.Image, name: str) -> bool:
    return bool(image.get_typeof(name))


def _black_pixel(image: pyvips.Image) -> pyvips.Image:
    """Make a picture of one pixel that says all that this one says."""
    pixel = image.new_from_image([0] * image.bands).crop(0, 0, 1, 1).copy(xres=image.xres, yres=image.yres)
    for name in _CONTENT_FIELDS:
        if _has(image, name):
            pixel.set_type(image.get_typeof(name), name, image.get(name))
    return pixel
