"""Pictures read from top to bottom, a band of rows at a time: any size in the memory of a few rows."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import pyvips
from numpy.typing import NDArray

from swinir.errors import ImageReadError, UsageError
from swinir.imaging.decode import decode, upright
from swinir.imaging.facts import Facts
from swinir.imaging.formats import AVIF, GIF, JPEG, WEBP, Format
from swinir.imaging.image import Image
from swinir.imaging.io import damage_as_errors, note_on_frames, read, recognize
from swinir.imaging.limits import DEFAULT_LIMITS, Limits
from swinir.imaging.opening import Opened, jpeg_warnings_raised, load, open_file
from swinir.imaging.salvage import find_damage
from swinir.imaging.source import open_source
from swinir.imaging.spool import Spool
from swinir.imaging.tiff_samples import needs_unpacking

# Against files that are made to work for ever, for pictures of which only some rows are in memory.
STREAM_LIMITS = Limits(
    # Deflate makes 1,030 bytes of one at most.
    max_pixels=2**36,
    max_side_px=2**27,
    max_file_bytes=2**42,
    max_total_pixels=2**36,
    max_expansion=800,
)
# Rows are moved in bands of about so many bytes where nobody asks for others.
_BAND_BYTES = 2**24
# Orientations that turn rows into columns, and those of the others that begin with the last row.
_TURNED = (5, 6, 7, 8)
_FROM_BELOW = (3, 4)
# What a header says once for the whole picture.
_HEADER_FIELDS = ("exif-data", "xmp-data", "iptc-data", "orientation")
_CONTENT_FIELDS = (*_HEADER_FIELDS, "icc-profile-data", "bits-per-sample")


class Band(NamedTuple):
    """Some rows of a picture.

    Attributes:
        pixels: [rows, W, C], C = 1 (grey) or 3 (RGB); uint8, uint16 or float32.
        alpha: [rows, W] of the same type; None where the picture has none.
    """

    pixels: NDArray[Any]
    alpha: NDArray[Any] | None


@dataclass(frozen=True, kw_only=True)
class Header:
    """What is known of a picture before its rows are.

    Attributes:
        height: rows, once the picture is upright.
        width: columns.
        has_alpha: bands come with opacity.
        template: a picture of one pixel with everything else: type, channels, profile, metadata, notes.
        value_range: lowest and highest value of the colours, for floats; the nominal range for integers.
    """

    height: int
    width: int
    has_alpha: bool
    template: Image
    value_range: tuple[float, float]

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB; alpha does not count."""
        return self.template.channels

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a value."""
        return self.template.pixels.dtype

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of colours and alpha."""
        return self.width * (self.channels + self.has_alpha) * self.dtype.itemsize


class ImageReader:
    """A picture, upright, whose rows are taken from top to bottom.

    Where the file keeps rows in another order (EXIF orientations 3 to 8), all pixels pass through a file on the
    disk. Floats are read twice, for what is said of their range. What only decodes whole (GIF, interlaced PNG,
    progressive JPEG, WebP, AVIF, formats of other packages) takes the memory that its decoder does, and is held to
    the limits of pictures in memory.

    Args:
        source: a file.
        limits: beyond them nothing is decoded.
        folder: for a file on the disk where one is needed; None for the system's place for temporary files.
        salvage: of a damaged file, read what can be decoded, whole; a note says what is missing.

    Raises:
        ImageReadError: the file is missing, damaged, or none of the formats that are known.
        ImageTooLargeError: it is beyond the limits.
        MissingPackageError: its format takes a package that is not installed.
    """

    def __init__(
        self,
        source: Path | str,
        *,
        limits: Limits = STREAM_LIMITS,
        folder: Path | None = None,
        salvage: bool = False,
    ) -> None:
        self._position = 0
        self._source = open_source(source, limits)
        self._format = recognize(self._source)
        self._rows: _WholeRows | _StoredRows | _SpooledRows
        try:
            with damage_as_errors(self._source, self._format):
                self._rows = self._open_rows(limits, folder, is_checked=salvage)
        except ImageReadError:
            if not salvage:
                raise
            self._rows = _WholeRows(read(source, limits=_whole_limits(limits), salvage=True))
        self.header = self._rows.header

    def _open_rows(
        self, limits: Limits, folder: Path | None, *, is_checked: bool
    ) -> "_WholeRows | _StoredRows | _SpooledRows":
        """Open a picture, and see first that all of it can be decoded if ``is_checked``."""
        source, file_format = self._source, self._format
        opened = open_file(source, file_format, limits) if isinstance(file_format, Format) else None
        if opened is None or not _is_streamable(opened):
            assert source.path is not None
            return _WholeRows(read(source.path, limits=_whole_limits(limits)))
        rows = _StoredRows(opened, limits)
        if is_checked and find_damage(opened) is not None:
            raise ImageReadError(f"{source.name} is damaged")
        return _SpooledRows(rows, folder) if rows.orientation in (*_TURNED, *_FROM_BELOW) else rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back that reading took."""
        self._rows.close()

    def rows(self, top: int, bottom: int) -> Band:
        """Return the rows from ``top`` up to, and without, ``bottom``.

        Raises:
            UsageError: rows are asked for that do not exist, or that lie above some that were returned.
            ImageReadError: the file is damaged there.
        """
        if not self._position <= top < bottom <= self.header.height:
            raise UsageError(
                f"rows {top} to {bottom} are asked for, but those from {self._position} to "
                f"{self.header.height} are left"
            )
        self._position = bottom
        with damage_as_errors(self._source, self._format):
            return self._rows.take(top, bottom)

    def bands(self) -> Iterator[Band]:
        """Yield the rows that are left, in bands of some megabytes."""
        height = self.header.height
        step = rows_of_band(self.header.row_bytes)
        while self._position < height:
            yield self.rows(self._position, min(self._position + step, height))


def rows_of_band(row_bytes: int) -> int:
    """Return how many rows make a band that is quick to move and takes little memory."""
    return max(1, _BAND_BYTES // row_bytes)


def _is_streamable(opened: Opened) -> bool:
    """Whether rows can be had one after the other, each band decoded by itself."""
    if opened.file_format is GIF:
        # Whether it is transparent shows when all of it was seen.
        return False
    return not (opened.pages and needs_unpacking(opened.pages[0]))


def _whole_limits(limits: Limits) -> Limits:
    """Hold what has to be in memory to the limits of such pictures."""
    ours = vars(limits)
    return Limits(**{name: min(ours[name], value) for name, value in vars(DEFAULT_LIMITS).items()})


class _WholeRows:
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
        )

    def take(self, top: int, bottom: int) -> Band:
        assert self._image is not None
        alpha = self._image.alpha
        return Band(self._image.pixels[top:bottom], None if alpha is None else alpha[top:bottom])

    def close(self) -> None:
        self._image = None


class _StoredRows:
    """Rows in the order of the file, each band decoded like a picture of its own."""

    def __init__(self, opened: Opened, limits: Limits) -> None:
        self._opened = opened
        self._image: pyvips.Image | None = load(opened)
        image = self._image
        is_whole = _has(image, "interlaced") or opened.file_format in (AVIF, WEBP)
        checked = _whole_limits(limits) if is_whole else limits
        checked.check_size(opened.source.name, image.width, image.height, num_bytes=opened.num_bytes)
        stated: Any = image.get("orientation") if _has(image, "orientation") else 1
        self.orientation = int(stated)
        pixel = decode(_black_pixel(image), opened.file_format, opened.facts)
        pixel = pixel.with_notes(note_on_frames(opened))
        self.stored_shape = image.height, image.width
        notes: tuple[str, ...] = ()
        value_range = (0.0, pixel.white)
        if pixel.pixels.dtype == np.float32:
            value_range, notes = self._scan()
        height, width = self.stored_shape
        if self.orientation in _TURNED:
            height, width = width, height
        self.header = Header(
            height=height,
            width=width,
            has_alpha=pixel.alpha is not None,
            template=replace(pixel, alpha=None, notes=pixel.notes + notes),
            value_range=value_range,
        )

    def take(self, top: int, bottom: int) -> Band:
        assert self._image is not None
        is_end_of_jpeg = self._opened.file_format is JPEG and bottom == self.stored_shape[0]
        with jpeg_warnings_raised() if is_end_of_jpeg else nullcontext():
            image = self._decode(self._image, top, bottom)
        band = Band(image.pixels, image.alpha)
        return _upright_band(band, self.orientation) if self.orientation == 2 else band

    def close(self) -> None:
        self._image = None

    def _decode(self, image: pyvips.Image, top: int, bottom: int) -> Image:
        """Decode some rows as they are stored, without what was said of them in the header."""
        rows = image.crop(0, top, image.width, bottom - top).copy()
        for name in _HEADER_FIELDS:
            rows.remove(name)
        return decode(rows, self._opened.file_format, Facts(bits=self._opened.facts.bits))

    def _scan(self) -> tuple[tuple[float, float], tuple[str, ...]]:
        """Go over all values once, for their range and for what is not a number."""
        image = load(self._opened)
        lowest, highest, num_bad = np.inf, -np.inf, 0
        kinds = {"float": np.float32, "double": np.float64}
        step = rows_of_band(image.width * image.bands * 4)
        region = pyvips.Region.new(image)
        for top in range(0, image.height, step):
            bottom = min(top + step, image.height)
            if str(image.format) in kinds:
                values = np.frombuffer(
                    region.fetch(0, top, image.width, bottom - top), kinds[str(image.format)]
                )
                colors = 1 if image.bands < 3 else 3
                pixels = values.reshape(-1, image.bands)[:, :colors].astype(np.float32)
                is_bad = ~np.isfinite(pixels)
                num_bad += int(is_bad.sum())
                pixels[is_bad] = 0
            else:
                pixels = self._decode(image, top, bottom).pixels
            lowest, highest = min(lowest, float(pixels.min())), max(highest, float(pixels.max()))
        notes: list[str] = []
        if num_bad:
            notes.append(f"{num_bad:,} values that are not finite were read as 0.")
        if lowest < 0 or highest > 1:
            notes.append(f"The values go from {lowest:g} to {highest:g}, where 0 to 1 is nominal.")
        return (lowest, highest), tuple(notes)


class _SpooledRows:
    """Rows of a picture that has to be turned: all of it was written down, and is read in the new order."""

    def __init__(self, stored: _StoredRows, folder: Path | None) -> None:
        self.header = stored.header
        self._orientation = stored.orientation
        self._shape = stored.stored_shape
        height, width = self._shape
        header = self.header
        self._spool = Spool(height, width, header.channels + header.has_alpha, header.dtype, folder=folder)
        step = rows_of_band(width * (header.channels + header.has_alpha) * header.dtype.itemsize)
        try:
            for top in range(0, height, step):
                pixels, alpha = stored.take(top, min(top + step, height))
                joined = pixels if alpha is None else np.concatenate([pixels, alpha[:, :, None]], axis=2)
                self._spool.write(top, 0, joined)
        except BaseException:
            self._spool.close()
            raise
        finally:
            stored.close()

    def take(self, top: int, bottom: int) -> Band:
        height, width = self._shape
        if self._orientation in _FROM_BELOW:
            window = self._spool.read(height - bottom, height - top)
        elif self._orientation in (7, 8):
            window = self._spool.read(0, height, width - bottom, width - top)
        else:
            window = self._spool.read(0, height, top, bottom)
        channels = self.header.channels
        alpha = window[:, :, channels] if self.header.has_alpha else None
        return _upright_band(Band(window[:, :, :channels], alpha), self._orientation)

    def close(self) -> None:
        self._spool.close()


def _upright_band(band: Band, orientation: int) -> Band:
    alpha = None if band.alpha is None else upright(band.alpha, orientation)
    return Band(upright(band.pixels, orientation), alpha)


def _has(image: pyvips.Image, name: str) -> bool:
    return bool(image.get_typeof(name))


def _black_pixel(image: pyvips.Image) -> pyvips.Image:
    """Make a picture of one pixel that says all that this one says."""
    pixel = image.new_from_image([0] * image.bands).crop(0, 0, 1, 1).copy(xres=image.xres, yres=image.yres)
    for name in _CONTENT_FIELDS:
        if _has(image, name):
            pixel.set_type(image.get_typeof(name), name, image.get(name))
    return pixel
