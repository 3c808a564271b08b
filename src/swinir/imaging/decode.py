"""From an opened libvips image to an Image: colours as they are, upright, alpha beside them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from swinir.imaging.containers import iptc_from_photoshop, upright_xmp
from swinir.imaging.formats import AVIF, GIF, JPEG, TIFF, Format
from swinir.imaging.image import Image, Metadata, profile_fits
from swinir.imaging.tiff import exif_resolution, upright_exif

# Rows are decoded in bands of about this many bytes, so that only the result itself takes memory.
_BAND_BYTES = 2**22
_NUMPY_TYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32, "double": np.float32}
_LAB = ("lab", "labs", "xyz", "lch")
# What libvips says of a file that states none.
_NO_RESOLUTION = 1.0
# Pixels per millimetre; finer than light's waves is a damaged number.
_MAX_RESOLUTION = 10_000


class UnsupportedPixelsError(ValueError):
    """Pixels that are no picture: complex numbers, signed or 32-bit integers."""


@dataclass(frozen=True, kw_only=True)
class TiffRecords:
    """What libvips does not read from a TIFF file."""

    exif: bytes | None = None
    iptc: bytes | None = None


def decode(opened: pyvips.Image, file_format: Format, records: TiffRecords, notes: tuple[str, ...]) -> Image:
    """Decode all pixels.

    Args:
        opened: for sequential access, its first frame only.
        file_format: what the file is.
        records: for a TIFF file.
        notes: what is known already.

    Raises:
        UnsupportedPixelsError: for pixels that are no picture.
        pyvips.Error: for damaged data.
    """
    told = list(notes)
    image = _to_gray_or_rgb(opened, told)
    num_colors = 1 if image.bands < 3 else 3
    if image.bands > 4:
        told.append(f"only the first 4 of {image.bands} channels")
    pixels, alpha = _decode_bands(image, num_colors)
    _repair_values(pixels, told)
    if file_format is GIF and alpha is not None and alpha.min() == np.iinfo(alpha.dtype).max:
        # An animation's frames always come with transparency, used or not.
        alpha = None
    if file_format is AVIF and pixels.dtype == np.uint16:
        # Values come shifted left, so that those of 10 bits end at 65,472: repeat the top bits below.
        bits = int(_field(opened, "bits-per-sample") or 16)
        pixels |= pixels >> bits
        alpha = None if alpha is None else alpha | alpha >> bits
    orientation = int(_field(opened, "orientation") or 1)
    profile = _profile(image, num_colors, told)
    return Image(
        pixels=_upright(pixels, orientation),
        alpha=None if alpha is None else _upright(alpha, orientation),
        profile=profile,
        metadata=_metadata(opened, file_format, records, orientation, told),
        notes=tuple(told),
    )


def count_frames(opened: pyvips.Image) -> int:
    """Frames of an animation or pages of a document."""
    return int(_field(opened, "n-pages") or 1)


def _field(image: pyvips.Image, name: str) -> Any:
    return image.get(name) if image.get_typeof(name) else None


def _to_gray_or_rgb(image: pyvips.Image, notes: list[str]) -> pyvips.Image:
    """Convert what is neither grey nor RGB to sRGB, and say so."""
    if image.interpretation == "cmyk":
        source = "its profile" if _field(image, "icc-profile-data") else "a standard profile, having none"
        notes.append(f"CMYK converted to sRGB by {source}")
        depth = 8 if image.format == "uchar" else 16
        converted = image.icc_transform(
            "srgb", embedded=True, input_profile="cmyk", depth=depth, black_point_compensation=True
        )
        return _without_profile(converted)
    if image.interpretation in _LAB:
        notes.append("CIE colours converted to sRGB")
        return _without_profile(image.colourspace("srgb" if image.format == "uchar" else "rgb16"))
    if image.format not in _NUMPY_TYPES:
        raise UnsupportedPixelsError(f"pixels of type {image.format}")
    return image


def _without_profile(image: pyvips.Image) -> pyvips.Image:
    if not image.get_typeof("icc-profile-data"):
        return image
    bare = image.copy()
    bare.remove("icc-profile-data")
    return bare


def _decode_bands(image: pyvips.Image, num_colors: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Decode from top to bottom, colours [H, W, C] and alpha [H, W] apart."""
    kept = _NUMPY_TYPES[str(image.format)]
    stored = np.float64 if image.format == "double" else kept
    height, width, bands = image.height, image.width, image.bands
    pixels = np.empty((height, width, num_colors), kept)
    alpha = np.empty((height, width), kept) if bands > num_colors else None
    rows = max(1, _BAND_BYTES // (width * bands * np.dtype(stored).itemsize))
    region = pyvips.Region.new(image)
    for top in range(0, height, rows):
        count = min(rows, height - top)
        band = np.frombuffer(region.fetch(0, top, width, count), stored).reshape(count, width, bands)
        pixels[top : top + count] = band[:, :, :num_colors]
        if alpha is not None:
            alpha[top : top + count] = band[:, :, num_colors]
    return pixels, alpha


def _repair_values(pixels: NDArray[Any], notes: list[str]) -> None:
    """Replace what is not a number by 0, and say if the range is not the nominal one; floats only."""
    if pixels.dtype != np.float32:
        return
    lowest, highest = float(pixels.min()), float(pixels.max())
    if not np.isfinite(lowest + highest):
        bad = ~np.isfinite(pixels)
        notes.append(f"{int(bad.sum())} values that are not finite read as 0")
        pixels[bad] = 0
        lowest, highest = float(pixels.min()), float(pixels.max())
    if lowest < 0 or highest > 1:
        notes.append(f"values from {lowest:g} to {highest:g}, where 0 to 1 is nominal")


def _upright(plane: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn and mirror as EXIF 2.32, section 4.6.4, tag Orientation, says; [H, W, ...]."""
    if orientation in (5, 6, 7, 8):
        plane = plane.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        plane = plane[:, ::-1]
    if orientation in (3, 4, 7, 8):
        plane = plane[::-1]
    return np.ascontiguousarray(plane)


def _profile(image: pyvips.Image, num_colors: int, notes: list[str]) -> bytes | None:
    """ICC profile, unless it is for another kind of colour than the pixels have."""
    profile = _field(image, "icc-profile-data")
    if profile is None:
        return None
    if not profile_fits(profile, num_colors):
        notes.append("colour profile left out: it does not fit the pixels")
        return None
    return bytes(profile)


def _metadata(
    opened: pyvips.Image, file_format: Format, records: TiffRecords, orientation: int, notes: list[str]
) -> Metadata:
    exif, iptc, xmp = records.exif, records.iptc, _field(opened, "xmp-data")
    if file_format is not TIFF:
        exif = _field(opened, "exif-data")
    if file_format is JPEG and (block := _field(opened, "iptc-data")):
        iptc = iptc_from_photoshop(bytes(block))
    upright = upright_exif(bytes(exif).removeprefix(b"Exif\0\0")) if exif else None
    if exif and upright is None:
        notes.append("EXIF left out: it is damaged")
    resolution = exif_resolution(upright) if upright else None
    if file_format is not GIF and _NO_RESOLUTION not in (opened.xres, opened.yres):
        resolution = float(opened.xres), float(opened.yres)
    if resolution is not None and not 0 < min(resolution) <= max(resolution) <= _MAX_RESOLUTION:
        resolution = None
    if resolution is not None and orientation >= 5:
        resolution = resolution[1], resolution[0]
    return Metadata(
        exif=upright,
        xmp=upright_xmp(bytes(xmp)) if xmp else None,
        iptc=iptc,
        resolution=resolution,
    )
