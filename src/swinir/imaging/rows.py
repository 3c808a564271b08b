"""Rows of pictures as files keep them: decoded whole, a band at a time, tile by tile, or turned."""

from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyvips
from numpy.typing import NDArray

from swinir.errors import ImageError
from swinir.imaging.decode import decode, upright
from swinir.imaging.facts import Facts
from swinir.imaging.formats import AVIF, JPEG, WEBP
from swinir.imaging.image import Image, has_equal_channels
from swinir.imaging.io import note_on_frames
from swinir.imaging.limits import DEFAULT_LIMITS, Limits
from swinir.imaging.opening import Opened, jpeg_warnings_raised, load
from swinir.imaging.spool import Spool
from swinir.imaging.tiff_column import WideTiles, is_wide_and_tiled

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
        is_grey: RGB whose three channels are equal everywhere.
    """

    height: int
    width: int
    has_alpha: bool
    template: Image
    value_range: tuple[float, float]
    is_grey: bool = False

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


def rows_of_band(row_bytes: int) -> int:
    """Return how many rows make a band that is quick to move and takes little memory."""
    return max(1, _BAND_BYTES // row_bytes)


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
        is_whole = _has(image, "interlaced") or opened.file_format in (AVIF, WEBP)
        checked = whole_limits(limits) if is_whole else limits
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
        tiles = self._open_wide_tiles()
        if self.header.channels == 3:
            # In the order of the file, as rows are taken: from a reader of its own.
            scanned = None if tiles is None else self._open_wide_tiles()
            self.header = replace(
                self.header, is_grey=self._is_grey(load(opened) if scanned is None else scanned.column)
            )
            if scanned is not None:
                scanned.close()
        self._tiled = None if tiles is None else _TiledRows(tiles, self, folder)

    @property
    def is_out_of_order(self) -> bool:
        """Whether the first row of the picture is not the first one of the file."""
        return self.orientation in (*_TURNED, *_FROM_BELOW)

    def take(self, top: int, bottom: int) -> Band:
        """Return rows; none above those that were taken."""
        if self._tiled is not None:
            return self._turned(self._tiled.take(top, bottom))
        assert self._image is not None
        is_end_of_jpeg = self._opened.file_format is JPEG and bottom == self.stored_shape[0]
        with jpeg_warnings_raised() if is_end_of_jpeg else nullcontext():
            image = self.decode(self._image, top, bottom)
        return self._turned(Band(image.pixels, image.alpha))

    def close(self) -> None:
        """Give back what reading took."""
        self._image = None
        if self._tiled is not None:
            self._tiled.close()

    def _turned(self, band: Band) -> Band:
        return _upright_band(band, self.orientation) if self.orientation == 2 else band

    def decode(self, image: pyvips.Image, top: int, bottom: int) -> Image:
        """Decode some rows as they are stored, without what was said of them in the header."""
        rows = image.crop(0, top, image.width, bottom - top).copy()
        for name in _HEADER_FIELDS:
            rows.remove(name)
        return decode(rows, self._opened.file_format, Facts(bits=self._opened.facts.bits))

    def _open_wide_tiles(self) -> WideTiles | None:
        """Open the tiles of a file whose rows are too long to be read as they are."""
        opened = self._opened
        page = opened.pages[0] if opened.pages else None
        path = opened.source.path
        row_bytes = self.stored_shape[1] * (self.header.row_bytes // self.header.width)
        if page is None or path is None or opened.layout is None or not is_wide_and_tiled(page, row_bytes):
            return None
        return WideTiles(path, opened.layout, page)

    def _is_grey(self, image: pyvips.Image) -> bool:
        """Go over all values once, as long as they are grey."""
        step = rows_of_band(image.width * self.header.channels * self.header.dtype.itemsize)
        # What is damaged is said when its rows are taken.
        with suppress(pyvips.Error, ImageError):
            return all(
                has_equal_channels(self.decode(image, top, min(top + step, image.height)).pixels)
                for top in range(0, image.height, step)
            )
        return False

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
                pixels = self.decode(image, top, bottom).pixels
            lowest, highest = min(lowest, float(pixels.min())), max(highest, float(pixels.max()))
        notes: list[str] = []
        if num_bad:
            notes.append(f"{num_bad:,} values that are not finite were read as 0.")
        if lowest < 0 or highest > 1:
            notes.append(f"The values go from {lowest:g} to {highest:g}, where 0 to 1 is nominal.")
        return (lowest, highest), tuple(notes)


class _TiledRows:
    """Rows of a wide TIFF file in tiles, of which one row is on the disk."""

    def __init__(self, tiles: WideTiles, stored: StoredRows, folder: Path | None) -> None:
        self._tiles = tiles
        self._stored = stored
        header = stored.header
        self._width = stored.stored_shape[1]
        self._spool = Spool(
            tiles.tile_height, self._width, header.channels + header.has_alpha, header.dtype, folder=folder
        )
        self._shown: int | None = None

    def take(self, top: int, bottom: int) -> Band:
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
        return _split(window, self._stored.header)

    def close(self) -> None:
        self._spool.close()
        self._tiles.close()

    def _show(self, down: int) -> None:
        height, width = self._tiles.tile_height, self._tiles.tile_width
        first = down * self._tiles.num_across * height
        for across in range(self._tiles.num_across):
            top = first + across * height
            tile = self._stored.decode(self._tiles.column, top, top + height)
            left = across * width
            joined = _join(Band(tile.pixels, tile.alpha))
            self._spool.write(0, left, joined[:, : self._width - left])
        self._shown = down


class SpooledRows:
    """Rows of a picture that has to be turned: all of it was written down, and is read in the new order."""

    def __init__(self, stored: StoredRows, folder: Path | None) -> None:
        self.header = stored.header
        self._orientation = stored.orientation
        self._shape = stored.stored_shape
        height, width = self._shape
        header = self.header
        self._spool = Spool(height, width, header.channels + header.has_alpha, header.dtype, folder=folder)
        step = rows_of_band(width * (header.channels + header.has_alpha) * header.dtype.itemsize)
        try:
            for top in range(0, height, step):
                self._spool.write(top, 0, _join(stored.take(top, min(top + step, height))))
        except BaseException:
            self._spool.close()
            raise
        finally:
            stored.close()

    def take(self, top: int, bottom: int) -> Band:
        """Return rows."""
        height, width = self._shape
        if self._orientation in _FROM_BELOW:
            window = self._spool.read(height - bottom, height - top)
        elif self._orientation in (7, 8):
            window = self._spool.read(0, height, width - bottom, width - top)
        else:
            window = self._spool.read(0, height, top, bottom)
        return _upright_band(_split(window, self.header), self._orientation)

    def close(self) -> None:
        """Give back what reading took."""
        self._spool.close()


def _join(band: Band) -> NDArray[Any]:
    pixels, alpha = band
    return pixels if alpha is None else np.concatenate([pixels, alpha[:, :, None]], axis=2)


def _split(joined: NDArray[Any], header: Header) -> Band:
    channels = header.channels
    return Band(joined[:, :, :channels], joined[:, :, channels] if header.has_alpha else None)


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
