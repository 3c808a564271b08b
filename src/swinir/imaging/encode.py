"""From an Image to a libvips image that a format can hold, and the notes on what it cannot."""

from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
import pyvips
from numpy.typing import NDArray

from swinir.imaging.containers import (
    insert_jpeg_exif,
    insert_png_exif,
    photoshop_from_iptc,
    replace_webp_exif,
)
from swinir.imaging.formats import AVIF, GIF, JPEG, PNG, WEBP, Format
from swinir.imaging.image import Image, profile_fits
from swinir.imaging.tiff import completed_exif, write_records

_VIPS_TYPES = {"uint8": "uchar", "uint16": "ushort", "float32": "float"}
_KEEP = pyvips.enums.ForeignKeep
# Pixels per millimetre for a picture that states nothing: 72 to the inch, as most programs do.
_DEFAULT_RESOLUTION = 72 / 25.4


def prepare(image: Image, file_format: Format) -> tuple[pyvips.Image, list[str]]:
    """Convert lazily to what the format can hold, with the metadata that libvips will write."""
    notes: list[str] = []
    alpha = image.alpha
    prepared = _wrapped(image.pixels)
    if alpha is not None and file_format.has_alpha:
        prepared = prepared.bandjoin(_wrapped(alpha[:, :, None]))
    elif alpha is not None and not _is_opaque(alpha, image.white):
        notes.append(f"{file_format.name} cannot hold transparency: flattened on white")
        white = [image.white] * image.channels
        joined = prepared.bandjoin(_wrapped(alpha[:, :, None]))
        prepared = joined.flatten(background=white, max_alpha=image.white).cast(prepared.format)
    prepared = _interpreted(prepared)
    prepared = _at_depth(prepared, image, file_format, notes)
    profile = image.profile
    if profile is not None and not profile_fits(profile, image.channels):
        notes.append("colour profile left out: it does not fit the pixels")
        profile = None
    loses_gray = image.channels == 1 and not file_format.has_gray
    if profile is not None and (loses_gray or not file_format.has_profile):
        notes.append(f"{file_format.name} cannot hold this colour profile: converted to sRGB")
        prepared = _to_srgb(prepared, profile)
        profile = None
    if file_format is GIF:
        notes.append("GIF holds 256 colours: reduced to those")
    return _with_metadata(prepared, image, profile, file_format, notes), notes


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


def insert_exif(
    source: BinaryIO, target: BinaryIO, exif: bytes, file_format: Format, notes: list[str]
) -> None:
    """Copy a finished PNG, JPEG or WebP file and put an EXIF record in."""
    if file_format is PNG:
        insert_png_exif(source, target, exif)
    elif file_format is WEBP:
        replace_webp_exif(source, target, exif)
    elif not insert_jpeg_exif(source, target, exif):
        notes.append(f"EXIF left out: its {len(exif):,} bytes are more than JPEG can hold")


def append_tiff_records(file: BinaryIO, exif: bytes | None, image: Image, notes: list[str]) -> None:
    """Add EXIF and IPTC to a finished TIFF file that is open for reading and writing."""
    if not write_records(file, exif, image.metadata.iptc):
        notes.append("EXIF and IPTC left out: this TIFF file is too large or they are damaged")


def keep_flags(file_format: Format, exif: bytes | None) -> int:
    """Choose what libvips is to write of the metadata."""
    flags = _KEEP.ICC | _KEEP.XMP | _KEEP.OTHER
    if file_format is JPEG:
        flags |= _KEEP.IPTC
    if file_format in (AVIF, WEBP) and exif is not None:
        flags |= _KEEP.EXIF
    return flags


def _wrapped(pixels: NDArray[Any]) -> pyvips.Image:
    """View an array [H, W, C] as a libvips image without copying it."""
    height, width, bands = pixels.shape
    data = np.ascontiguousarray(pixels).data.cast("B")
    return pyvips.Image.new_from_memory(data, width, height, bands, _VIPS_TYPES[pixels.dtype.name])


def _interpreted(image: pyvips.Image) -> pyvips.Image:
    """Say what the bands mean."""
    meanings = ("b-w", "srgb") if image.format == "uchar" else ("grey16", "rgb16")
    if image.format == "float":
        meanings = ("b-w", "scrgb")
    return image.copy(interpretation=meanings[image.bands > 2])


def _is_opaque(alpha: NDArray[Any], white: float) -> bool:
    return float(alpha.min()) >= white


def _at_depth(image: pyvips.Image, source: Image, file_format: Format, notes: list[str]) -> pyvips.Image:
    """Round to the depth that the format holds; 16 bit types carry its depths above 8."""
    is_float = image.format == "float"
    if (is_float and file_format.has_float) or source.depth <= file_format.bits:
        return image
    was = "floating-point values" if is_float else f"{source.depth} bits"
    notes.append(f"{file_format.name} cannot hold {was}: reduced to {file_format.bits} bits")
    if file_format.bits == 8:
        return _interpreted(image.linear([255 / source.white], [0.5]).cast("uchar"))
    if file_format.bits == 16:
        return _interpreted(image.linear([65_535 / source.white], [0.5]).cast("ushort"))
    # The encoder of 10 bits drops the low bits of 16.
    most = 2**file_format.bits - 1
    shift = 16 - file_format.bits
    return _interpreted(image.linear([most / source.white], [0.5]).cast("ushort") << shift)


def _to_srgb(image: pyvips.Image, profile: bytes) -> pyvips.Image:
    tagged = image.copy()
    _set_blob(tagged, "icc-profile-data", profile)
    depth = 8 if image.format == "uchar" else 16
    converted = tagged.icc_transform("srgb", embedded=True, depth=depth, black_point_compensation=True)
    bare = converted.copy()
    bare.remove("icc-profile-data")
    return bare


def _with_metadata(
    image: pyvips.Image, source: Image, profile: bytes | None, file_format: Format, notes: list[str]
) -> pyvips.Image:
    metadata = source.metadata
    across, down = metadata.resolution or (_DEFAULT_RESOLUTION, _DEFAULT_RESOLUTION)
    told = image.copy(xres=across, yres=down)
    blobs = {"icc-profile-data": profile, "xmp-data": metadata.xmp}
    if metadata.iptc is not None and file_format is JPEG:
        blobs["iptc-data"] = photoshop_from_iptc(metadata.iptc)
    for name, blob in blobs.items():
        if blob is not None:
            _set_blob(told, name, blob)
    told.set_type(pyvips.GValue.gstr_type, "resolution-unit", "in")
    if file_format is AVIF and (exif := exif_to_write(source, file_format)) is not None:
        _set_parsed_exif(told, exif)
    if metadata.exif is not None and not file_format.has_exif:
        notes.append(f"{file_format.name} cannot hold EXIF: left out")
    if metadata.iptc is not None and not file_format.has_iptc:
        notes.append(f"{file_format.name} cannot hold IPTC: left out")
    return told


def _set_blob(image: pyvips.Image, name: str, blob: bytes) -> None:
    image.set_type(pyvips.GValue.blob_type, name, blob)  # pyright: ignore[reportArgumentType]


def _set_parsed_exif(image: pyvips.Image, exif: bytes) -> None:
    """Set EXIF tag by tag, the only form that libvips writes, by letting it parse them from a small PNG."""
    with_exif = BytesIO()
    insert_png_exif(BytesIO(pyvips.Image.black(1, 1).pngsave_buffer(keep=_KEEP.NONE)), with_exif, exif)
    parsed = pyvips.Image.pngload_buffer(with_exif.getvalue())
    for name in parsed.get_fields():
        if name.startswith("exif-"):
            image.set_type(parsed.get_typeof(name), name, parsed.get(name))
