"""Bands of rows, which pictures go by that are larger than the memory, and what is known of such a picture."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from swinir.imaging.decode import upright
from swinir.imaging.image import Image

# Rows are moved in bands of about so many bytes where nobody asks for others.
_BAND_BYTES = 2**24


class Band(NamedTuple):
    """Some rows of a picture.

    Attributes:
        pixels: [rows, W, C], C = 1 (grey) or 3 (RGB); uint8, uint16 or float32.
        alpha: [rows, W] of the same type; None where the picture has none.
    """

    pixels: NDArray[Any]
    alpha: NDArray[Any] | None

    def joined(self) -> NDArray[Any]:
        """Return colours and alpha in one array, [rows, W, C or C + 1]."""
        if self.alpha is None:
            return self.pixels
        return np.concatenate([self.pixels, self.alpha[:, :, None]], axis=2)

    def upright(self, orientation: int) -> "Band":
        """Turn the rows as EXIF's orientation says, 1 to 8."""
        alpha = None if self.alpha is None else upright(self.alpha, orientation)
        return Band(upright(self.pixels, orientation), alpha)


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
    def values(self) -> int:
        """Of a pixel: colours and alpha."""
        return self.channels + self.has_alpha

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a value."""
        return self.template.pixels.dtype

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of colours and alpha."""
        return self.width * self.values * self.dtype.itemsize

    def split(self, joined: NDArray[Any]) -> Band:
        """Take colours and alpha apart, [rows, W, values]."""
        channels = self.channels
        return Band(joined[:, :, :channels], joined[:, :, channels] if self.has_alpha else None)


def rows_of_band(row_bytes: int) -> int:
    """Return how many rows make a band that is quick to move and takes little memory."""
    return max(1, _BAND_BYTES // row_bytes)
