"""One picture in memory, with all that has to survive its restoration."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swinir.errors import UsageError
from swinir.imaging.cicp import Cicp
from swinir.imaging.color import white_level
from swinir.imaging.facts import NO_LIGHT, GainMap, HdrLight
from swinir.imaging.text import Text


class UnsupportedPixelsError(ValueError):
    """Pixels of a file that cannot be read, such as complex numbers; the message says what they are."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a file says about its picture, in the bytes that the standards define.

    Attributes:
        exif: a TIFF structure, without the "Exif" prefix that some files put before it. Orientation is 1,
            for reading turns the pixels upright; there is no thumbnail, for it would show the old picture.
        xmp: an XML packet.
        iptc: IIM records.
        resolution: pixels per millimetre, across and down.
        texts: words beside the picture: text chunks of PNG, comments of JPEG and GIF.
        light: of an HDR picture: the screen it was made on, and how bright it is.
        gain_map: for HDR screens.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    resolution: tuple[float, float] | None = None
    texts: tuple[Text, ...] = ()
    light: HdrLight = NO_LIGHT
    gain_map: GainMap | None = None


def profile_fits(profile: bytes, channels: int) -> bool:
    """Whether an ICC profile is whole and for grey (1 channel) or RGB (3)."""
    # ICC.1:2022, section 7.2: bytes 16 to 19 of the header name the colour space, 36 to 39 are a signature.
    return profile[16:20] == (b"GRAY" if channels == 1 else b"RGB ") and profile[36:40] == b"acsp"


@dataclass(frozen=True, kw_only=True, eq=False)
class Image:
    """A picture: colours, transparency beside them, and what its file said.

    Attributes:
        pixels: [H, W, C], C = 1 (grey) or 3 (RGB); uint8, uint16, or float32 with a nominal range of [0, 1].
        alpha: opacity [H, W] of the same type, not multiplied into the colours; None is opaque.
        profile: the ICC profile the pixels are in, verbatim; None means sRGB, if ``cicp`` says nothing else.
        cicp: code points of the colours; where there is a profile as well, they win.
        bits: that a value has of the 16 of its type, such as 10; None for all.
        number_type: of the file, where its pixels are integers of another type than pixels have here and became
            floats of the same values: "int16", "uint32".
        metadata: what the file said.
        notes: what reading did that a user should know, in sentences.
    """

    pixels: NDArray[Any]
    alpha: NDArray[Any] | None = None
    profile: bytes | None = None
    cicp: Cicp | None = None
    bits: int | None = None
    number_type: str | None = None
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if len(shape) != 3 or shape[2] not in (1, 3) or 0 in shape:
            raise UsageError(f"pixels must be [H, W, 1] or [H, W, 3] and not empty, got shape {shape}")
        if self.pixels.dtype.type not in (np.uint8, np.uint16, np.float32):
            raise UsageError(f"pixels must be uint8, uint16 or float32, got {self.pixels.dtype}")
        if self.alpha is not None and (
            self.alpha.shape != shape[:2] or self.alpha.dtype != self.pixels.dtype
        ):
            raise UsageError(
                f"alpha must be {shape[:2]} of {self.pixels.dtype} like the pixels, "
                f"got {self.alpha.shape} of {self.alpha.dtype}"
            )

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return self.pixels.shape[1]

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB; alpha does not count."""
        return self.pixels.shape[2]

    @property
    def depth(self) -> int:
        """Bits per value: 8, those of 16 that count, or 32 for float."""
        return self.bits or 8 * self.pixels.dtype.itemsize

    @property
    def white(self) -> float:
        """Value of white and of full opacity: 255, 65535 or 1."""
        return white_level(self.pixels.dtype)

    def with_notes(self, notes: tuple[str, ...]) -> "Image":
        """Return the same picture with more notes in front."""
        return replace(self, notes=notes + self.notes) if notes else self

    def with_pixels(self, pixels: NDArray[Any], alpha: NDArray[Any] | None) -> "Image":
        """Return the same picture with new pixels, of any size and type; profile, metadata and notes stay."""
        return replace(self, pixels=pixels, alpha=alpha)


def has_equal_channels(pixels: NDArray[Any]) -> bool:
    """Tell whether [H, W, 3] is grey; what is not is mostly known by a few rows."""

    def are_equal(rows: NDArray[Any]) -> bool:
        return bool((rows[:, :, :1] == rows[:, :, 1:]).all())

    return pixels.shape[2] == 3 and are_equal(pixels[::64]) and are_equal(pixels)
