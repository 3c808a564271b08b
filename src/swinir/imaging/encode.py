"""From an Image to a libvips image that a format can hold, and the notes on what it cannot."""

from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from swinir.imaging import cicp
from swinir.imaging.decode import is_of_bytes
from swinir.imaging.formats import AVIF, GIF, JPEG, PNG, WEBP, Format
from swinir.imaging.icc import profile_of_cicp
from swinir.imaging.image import Image, profile_fits
from swinir.imaging.iptc import photoshop_from_iptc
from swinir.imaging.png import insert_chunks
from swinir.imaging.tiff import completed_exif
from swinir.imaging.xmp import with_size, without_gain_map

_VIPS_TYPES = {"uint8": "uchar", "uint16": "ushort", "float32": "float"}
_KEEP = pyvips.enums.ForeignKeep
# How far float values may leave 0 to 1 by sharpening or interpolation, in a picture that means that range.
_OVERSHOOT = 0.25
# Pixels per millimetre for a picture that states nothing: 72 to the inch, as most programs do.
_DEFAULT_RESOLUTION = 72 / 25.4


def prepare(image: Image, file_format: Format) -> tuple[pyvips.Image, Image, list[str]]:
    """Convert to what the format can hold, with the metadata that libvips will write.

    Returns:
        The picture for libvips, converted as it is written; the image as it is described in the file, in the
        colours that it then has; and notes.
    """
    notes: list[str] = []
    prepared, described = convert(image, file_format, notes)
    return with_metadata(prepared, described, file_format, notes), described, notes


def convert(image: Image, file_format: Format, notes: list[str]) -> tuple[pyvips.Image, Image]:
    """Convert pixels to what the format can hold.

    Returns:
        The picture for libvips, without metadata, and the image as it is described in the file, in the colours that
        it then has.
    """
    image = _with_writable_colors(image, file_format, notes)
    alpha = image.alpha
    prepared = _wrapped(image.pixels)
    if alpha is not None and file_format.has_alpha:
        prepared = prepared.bandjoin(_wrapped(alpha[:, :, None]))
    elif alpha is not None and not _is_opaque(alpha, image.white):
        notes.append(f"{file_format.name} cannot hold transparency: the picture was laid on white.")
        white = [image.white] * image.channels
        joined = prepared.bandjoin(_wrapped(alpha[:, :, None]))
        prepared = joined.flatten(background=white, max_alpha=image.white).cast(prepared.format)
    prepared = _interpreted(prepared)
    prepared = _at_depth(prepared, image, file_format, notes)
    if image.profile is not None and not _can_hold_profile(image, file_format):
        notes.append(
            f"{file_format.name} cannot hold this colour profile: the colours were converted to sRGB."
        )
        prepared = _to_srgb(prepared, image.profile)
        image = replace(image, profile=None)
    if file_format is GIF:
        notes.append("GIF holds 256 colours: the picture was reduced to those.")
    return prepared, image


def written_bits(image: Image, file_format: Format) -> int:
    """Bits of a value in the file."""
    if image.depth == 8 or file_format.bits == 8:
        return 8
    # AV1 has 8, 10 and 12; what comes with more gets 10, which every decoder knows.
    return 12 if file_format is AVIF and image.depth == 12 else file_format.bits


def exif_to_write(image: Image, file_format: Format) -> bytes | None:
    """Build the record for a file of this format; None where it needs none."""
    metadata = image.metadata
    if not file_format.has_exif:
        return None
    # JPEG, WebP and AVIF have no other place for the resolution.
    only_for_resolution = metadata.resolution is not None and file_format in (JPEG, WEBP, AVIF)
    if metadata.exif is None and not only_for_resolution:
        return None
    return completed_exif(
        metadata.exif, width=image.width, height=image.height, resolution=metadata.resolution
    )


def xmp_to_write(image: Image, file_format: Format) -> bytes | None:
    """Return the packet, with the size of this picture in it, and without claims that will not be true."""
    xmp = image.metadata.xmp
    if xmp is None:
        return None
    if file_format is not JPEG:
        xmp = without_gain_map(xmp)
    return with_size(xmp, image.width, image.height)


def keep_flags(file_format: Format, exif: bytes | None) -> int:
    """Choose what libvips is to write of the metadata."""
    flags = _KEEP.ICC | _KEEP.OTHER
    if file_format not in (PNG, JPEG):
        flags |= _KEEP.XMP
    if file_format is JPEG:
        flags |= _KEEP.IPTC
    if file_format in (AVIF, WEBP) and exif is not None:
        flags |= _KEEP.EXIF
    return flags


def _with_writable_colors(image: Image, file_format: Format, notes: list[str]) -> Image:
    """Bring colours to a form that the format can state: code points, a profile, or sRGB."""
    if image.profile is not None and not profile_fits(image.profile, image.channels):
        notes.append("The colour profile was left out, for it does not fit the pixels.")
        image = replace(image, profile=None)
    stated = image.cicp
    if stated is None or file_format.has_cicp:
        return image
    image = replace(image, cicp=None)
    if stated.is_srgb or (image.profile is not None and not stated.is_hdr):
        return image
    profile = profile_of_cicp(stated, is_gray=image.channels == 1)
    if profile is not None:
        notes.append(f"{file_format.name} states the colours ({stated.name}) by a profile.")
        return replace(image, profile=profile)
    if image.channels == 1 or stated.chromaticities is None:
        notes.append(f"{file_format.name} cannot state the colours ({stated.name}): that was left out.")
        return image
    notes.append(f"{file_format.name} cannot state {stated.name}: the picture was tone-mapped to sRGB.")
    return replace(image, profile=None, pixels=cicp.to_srgb(image.pixels, stated, image.white))


def _can_hold_profile(image: Image, file_format: Format) -> bool:
    loses_gray = image.channels == 1 and not file_format.has_gray
    return file_format.has_profile and not loses_gray


def _wrapped(pixels: NDArray[Any]) -> pyvips.Image:
    """View an array [H, W, C] as a libvips image without copying it."""
    height, width, bands = pixels.shape
    data = np.ascontiguousarray(pixels).data.cast("B")
    return pyvips.Image.new_from_memory(data, width, height, bands, _VIPS_TYPES[pixels.dtype.name])


def _is_float(image: pyvips.Image) -> bool:
    return str(image.format) == "float"


def _interpreted(image: pyvips.Image) -> pyvips.Image:
    """Say what the bands mean."""
    meanings = ("b-w", "srgb") if is_of_bytes(image) else ("grey16", "rgb16")
    if _is_float(image):
        meanings = ("b-w", "scrgb")
    return image.copy(interpretation=meanings[image.bands > 2])


def _is_opaque(alpha: NDArray[Any], white: float) -> bool:
    return float(alpha.min()) >= white


def _at_depth(image: pyvips.Image, source: Image, file_format: Format, notes: list[str]) -> pyvips.Image:
    """Round to the depth that the format holds; 16 bit types carry its depths above 8."""
    is_float = _is_float(image)
    if is_float and file_format.has_float:
        return image if source.number_type is None else _as_numbers(image, source)
    bits = written_bits(source, file_format)
    if is_float:
        image = _in_unit_range(image, source, file_format, notes)
    if is_float or source.depth > bits:
        was = "floating-point values" if is_float else f"{source.depth} bits"
        notes.append(f"{file_format.name} cannot hold {was}: they were reduced to {bits} bits.")
    most = 2**bits - 1
    if file_format is not AVIF or bits == 8:
        if most == source.white:
            return image
        return _interpreted(
            image.linear([most / source.white], [0.5]).cast("uchar" if bits == 8 else "ushort")
        )
    # The encoder drops the low bits of 16.
    return _interpreted(image.linear([most / source.white], [0.5]).cast("ushort") << (16 - bits))


def _in_unit_range(image: pyvips.Image, source: Image, file_format: Format, notes: list[str]) -> pyvips.Image:
    """Bring float colours to values from 0 to 1: overshoot is clipped, other ranges are scaled; alpha stays."""
    lowest, highest = float(source.pixels.min()), float(source.pixels.max())
    if lowest >= 0 and highest <= 1:
        return image
    span = f"{lowest:g} to {highest:g}"
    if lowest >= -_OVERSHOOT and highest <= 1 + _OVERSHOOT:
        notes.append(f"{file_format.name} holds no values from {span}: they were clipped.")
        return image
    notes.append(f"{file_format.name} holds no values from {span}: they were scaled to its range.")
    factor = 1 / (highest - lowest) if highest > lowest else 0.0
    num_alpha = image.bands - source.channels if source.alpha is not None else 0
    factors = [factor] * (image.bands - num_alpha) + [1.0] * num_alpha
    offsets = [-lowest * factor] * (image.bands - num_alpha) + [0.0] * num_alpha
    return image.linear(factors, offsets).copy(interpretation=image.interpretation)


def _as_numbers(image: pyvips.Image, source: Image) -> pyvips.Image:
    """Make values the integers that they were; libvips' cast clips to the range of the type."""
    assert source.number_type is not None
    most = float(np.iinfo(source.number_type).max)
    factors = [1.0] * source.channels + [most] * (image.bands - source.channels)
    kinds = {"int8": "char", "int16": "short", "int32": "int", "uint32": "uint"}
    return (
        image.linear(factors, [0.0] * image.bands)
        .rint()
        .cast(kinds[source.number_type])
        .copy(interpretation="b-w" if image.bands < 3 else "srgb")
    )


def _to_srgb(image: pyvips.Image, profile: bytes) -> pyvips.Image:
    tagged = image.copy()
    _set_blob(tagged, "icc-profile-data", profile)
    depth = 8 if is_of_bytes(image) else 16
    converted = tagged.icc_transform("srgb", embedded=True, depth=depth, black_point_compensation=True)
    bare = converted.copy()
    bare.remove("icc-profile-data")
    return bare


def options_to_save(
    described: Image,
    like: pyvips.Image,
    file_format: Format,
    *,
    quality: int | None,
    bits: int,
    num_bytes: int,
) -> dict[str, Any]:
    """Return the options of libvips' save operation.

    Args:
        described: what the file says.
        like: any picture of the type that is saved.
        file_format: of the file.
        quality: see ``write``.
        bits: of a value.
        num_bytes: of all pixels.
    """
    is_float = _is_float(like)
    options = file_format.save_options(quality=quality, bits=bits, is_float=is_float, num_bytes=num_bytes)
    return {**options, "keep": keep_flags(file_format, exif_to_write(described, file_format))}


def with_metadata(image: pyvips.Image, source: Image, file_format: Format, notes: list[str]) -> pyvips.Image:
    """Give a converted picture the metadata that libvips writes."""
    metadata = source.metadata
    across, down = metadata.resolution or (_DEFAULT_RESOLUTION, _DEFAULT_RESOLUTION)
    described = image.copy(xres=across, yres=down)
    blobs = {"icc-profile-data": source.profile, "xmp-data": xmp_to_write(source, file_format)}
    if metadata.iptc is not None and file_format is JPEG:
        blobs["iptc-data"] = photoshop_from_iptc(metadata.iptc)
    for name, blob in blobs.items():
        if blob is not None:
            _set_blob(described, name, blob)
    described.set_type(pyvips.GValue.gstr_type, "resolution-unit", "in")
    if file_format is AVIF and (exif := exif_to_write(source, file_format)) is not None:
        _set_parsed_exif(described, exif)
    lost = {
        "EXIF": metadata.exif is not None and not file_format.has_exif,
        "an HDR gain map": metadata.gain_map is not None and file_format is not JPEG,
        "IPTC": metadata.iptc is not None and not file_format.has_iptc,
    }
    for kind, is_lost in lost.items():
        if is_lost:
            notes.append(f"{file_format.name} cannot hold {kind}, which was left out.")
    return described


def _set_blob(image: pyvips.Image, name: str, blob: bytes) -> None:
    image.set_type(pyvips.GValue.blob_type, name, blob)  # pyright: ignore[reportArgumentType]


def _set_parsed_exif(image: pyvips.Image, exif: bytes) -> None:
    """Set EXIF tag by tag, the only form that libvips writes, by letting it parse them from a small PNG."""
    with_exif = BytesIO()
    bare = pyvips.Image.black(1, 1).pngsave_buffer(keep=_KEEP.NONE)
    insert_chunks(BytesIO(bare), with_exif, [(b"eXIf", exif)])
    parsed = pyvips.Image.pngload_buffer(with_exif.getvalue())
    for name in parsed.get_fields():
        if name.startswith("exif-"):
            image.set_type(parsed.get_typeof(name), name, parsed.get(name))
