"""From an opened libvips image to an Image: colours as they are, upright, alpha beside them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from swinir.imaging.facts import Facts
from swinir.imaging.formats import AVIF, GIF, JPEG, TIFF, Format
from swinir.imaging.gain_map import turned_gain_map
from swinir.imaging.image import Image, Metadata, UnsupportedPixelsError, profile_fits
from swinir.imaging.iptc import iptc_from_photoshop
from swinir.imaging.tiff import exif_resolution, upright_exif
from swinir.imaging.xmp import upright_xmp

# Rows are decoded in bands of about this many bytes, so that only the result itself takes memory.
_BAND_BYTES = 2**22
_NUMPY_TYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32, "double": np.float32}
# Integers that no picture of this program has: they become floats, of the same values.
_NUMBERS = {"char": "int8", "short": "int16", "int": "int32", "uint": "uint32"}
_LAB = ("lab", "labs", "xyz", "lch", "yxy")
# What libvips says of a file that states none.
_NO_RESOLUTION = 1.0
# Pixels per millimetre; finer than light's waves is a damaged number.
_MAX_RESOLUTION = 10_000


def decode(opened: pyvips.Image, file_format: Format, facts: Facts) -> Image:
    """Decode all pixels.

    Args:
        opened: for sequential access, one frame only.
        file_format: what the file is.
        facts: what the file says that libvips does not read.

    Raises:
        UnsupportedPixelsError: for pixels that are no picture.
        pyvips.Error: for damaged data.
    """
    notes = list(facts.notes)
    image = _to_gray_or_rgb(opened, facts, notes)
    num_colors = 1 if image.bands < 3 else 3
    if image.bands > num_colors + 1:
        notes.append(f"Of {image.bands} channels the first {num_colors + 1} were read.")
    pixels, alpha = _decode_bands(image, num_colors)
    repair_values(pixels, notes)
    number_type = _NUMBERS.get(str(opened.format))
    if number_type is not None and alpha is not None:
        alpha /= np.float32(np.iinfo(number_type).max)
    if file_format is GIF and alpha is not None and alpha.min() == np.iinfo(alpha.dtype).max:
        # An animation's frames always come with transparency, used or not.
        alpha = None
    bits = None
    if file_format is AVIF and pixels.dtype == np.uint16:
        # Values come shifted left, so that those of 10 bits end at 65,472: repeat the top bits below.
        bits = int(_field(opened, "bits-per-sample") or 16)
        pixels |= pixels >> bits
        alpha = None if alpha is None else alpha | alpha >> bits
    orientation = int(_field(opened, "orientation") or 1)
    metadata = _metadata(opened, file_format, facts, orientation, notes)
    decoded = Image(
        pixels=pixels,
        alpha=alpha,
        profile=_profile(image, facts, num_colors, notes),
        cicp=facts.cicp if image is opened or num_colors == 3 else None,
        bits=bits,
        number_type=number_type,
        metadata=metadata,
        notes=tuple(notes),
    )
    return turned_upright(decoded, orientation)


def turned_upright(image: Image, orientation: int) -> Image:
    """Turn and mirror as EXIF 2.32, section 4.6.4, tag Orientation, says."""
    if orientation not in range(2, 9):
        return image
    alpha = None if image.alpha is None else upright(image.alpha, orientation)
    metadata = image.metadata
    if metadata.gain_map is not None:
        turned = upright(metadata.gain_map.pixels, orientation)
        gain_map = turned_gain_map(metadata.gain_map, turned, swaps_sides=orientation >= 5)
        metadata = replace(metadata, gain_map=gain_map)
    return replace(image, pixels=upright(image.pixels, orientation), alpha=alpha, metadata=metadata)


def upright(plane: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn and mirror pixels [H, W, ...] as an EXIF orientation says."""
    if orientation in (5, 6, 7, 8):
        plane = plane.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        plane = plane[:, ::-1]
    if orientation in (3, 4, 7, 8):
        plane = plane[::-1]
    return np.ascontiguousarray(plane)


def repair_values(pixels: NDArray[Any], notes: list[str]) -> None:
    """Replace what is not a number by 0, and say if the range is not the nominal one; floats only."""
    if pixels.dtype != np.float32:
        return
    lowest, highest = float(pixels.min()), float(pixels.max())
    if not np.isfinite(lowest + highest):
        bad = ~np.isfinite(pixels)
        notes.append(f"{int(bad.sum()):,} values that are not finite were read as 0.")
        pixels[bad] = 0
        lowest, highest = float(pixels.min()), float(pixels.max())
    if lowest < 0 or highest > 1:
        notes.append(f"The values go from {lowest:g} to {highest:g}, where 0 to 1 is nominal.")


def checked_metadata(
    *,
    exif: bytes | None,
    xmp: bytes | None,
    iptc: bytes | None,
    resolution: tuple[float, float] | None,
    orientation: int,
    facts: Facts,
    notes: list[str],
) -> Metadata:
    """Metadata for an upright picture, from what a file states.

    Args:
        exif: with or without its prefix.
        xmp: a packet.
        iptc: IIM records.
        resolution: pixels per millimetre as the file states it apart from EXIF.
        orientation: that the pixels are turned by.
        facts: what else the file states.
        notes: grows where something is lost.
    """
    turned = upright_exif(exif.removeprefix(b"Exif\0\0")) if exif else None
    if exif and turned is None:
        notes.append("EXIF was left out, for it is damaged.")
    if resolution is None and turned is not None:
        resolution = exif_resolution(turned)
    if resolution is not None and not 0 < min(resolution) <= max(resolution) <= _MAX_RESOLUTION:
        resolution = None
    if resolution is not None and orientation >= 5:
        resolution = resolution[1], resolution[0]
    return Metadata(
        exif=turned,
        xmp=upright_xmp(xmp) if xmp else None,
        iptc=iptc,
        resolution=resolution,
        texts=facts.texts,
        light=facts.light,
        gain_map=facts.gain_map,
    )


def _field(image: pyvips.Image, name: str) -> Any:
    return image.get(name) if image.get_typeof(name) else None


def _to_gray_or_rgb(image: pyvips.Image, facts: Facts, notes: list[str]) -> pyvips.Image:
    """Convert what is neither grey nor RGB to sRGB, and say so."""
    if image.interpretation == "cmyk" and image.bands >= 4:
        return from_cmyk(image, notes)
    if image.interpretation in _LAB and image.bands >= 3:
        notes.append("CIE colours were converted to sRGB.")
        image = _without_profile(image)
        if image.interpretation in ("lab", "labs"):
            # Files have L*a*b* of D50, as profiles do; libvips' own formulas are for D65.
            depth = 8 if facts.bits == 8 else 16
            return _without_profile(
                image.colourspace("lab").icc_export(output_profile="srgb", pcs="lab", depth=depth)
            )
        return image.colourspace("srgb" if facts.bits == 8 else "rgb16")
    if image.format in _NUMBERS:
        return image.cast("float")
    if image.format not in _NUMPY_TYPES:
        raise UnsupportedPixelsError(f"pixels of type {image.format}")
    return image


def is_of_bytes(image: pyvips.Image) -> bool:
    """Tell whether values have 8 bits."""
    return str(image.format) == "uchar"


def from_cmyk(image: pyvips.Image, notes: list[str]) -> pyvips.Image:
    """Convert four inks to sRGB by their profile, or by a standard one, and say which."""
    profile = _field(image, "icc-profile-data")
    fits = profile is not None and bytes(profile)[16:20] == b"CMYK"
    source = "its profile" if fits else "a standard profile, having none"
    notes.append(f"CMYK was converted to sRGB by {source}.")
    depth = 8 if is_of_bytes(image) else 16
    tagged = image if fits else _without_profile(image)
    converted = tagged.icc_transform(
        "srgb", embedded=True, input_profile="cmyk", depth=depth, black_point_compensation=True
    )
    return _without_profile(converted)


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


def _profile(image: pyvips.Image, facts: Facts, num_colors: int, notes: list[str]) -> bytes | None:
    """ICC profile, unless it is for another kind of colour than the pixels have."""
    profile = _field(image, "icc-profile-data") or facts.profile
    if profile is None:
        return None
    if not profile_fits(profile, num_colors):
        notes.append("The colour profile was left out, for it does not fit the pixels.")
        return None
    return bytes(profile)


def _metadata(
    opened: pyvips.Image, file_format: Format, facts: Facts, orientation: int, notes: list[str]
) -> Metadata:
    exif, iptc, xmp = facts.exif, facts.iptc, facts.xmp or _field(opened, "xmp-data")
    if file_format is not TIFF:
        exif = _field(opened, "exif-data") or exif
    if file_format is JPEG and (block := _field(opened, "iptc-data")):
        iptc = iptc_from_photoshop(bytes(block))
    resolution = None
    if file_format is not GIF and _NO_RESOLUTION not in (opened.xres, opened.yres):
        resolution = float(opened.xres), float(opened.yres)
    return checked_metadata(
        exif=bytes(exif) if exif else None,
        xmp=bytes(xmp) if xmp else None,
        iptc=iptc,
        resolution=resolution,
        orientation=orientation,
        facts=facts,
        notes=notes,
    )
