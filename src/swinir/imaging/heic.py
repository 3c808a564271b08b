"""HEIC pictures, which phones take, by pillow-heif: libvips' own build has no decoder for them."""

from io import BytesIO
from typing import Any

import numpy as np

from swinir.imaging import heif
from swinir.imaging.decode import checked_metadata
from swinir.imaging.image import Image, profile_fits
from swinir.imaging.limits import Limits
from swinir.imaging.source import Source


def read_heic(source: Source, limits: Limits) -> Image:
    """Read the main picture.

    Raises:
        ImportError: pillow-heif is not installed.
        ValueError: the file is damaged.
        ImageTooLargeError: it is larger than the limits allow.
    """
    import pillow_heif  # noqa: PLC0415  the extra "heif"

    with source.open() as file:
        facts = heif.read_facts(file, source.name, limits)
    if facts.width_px and facts.height_px:
        limits.check_size(source.name, facts.width_px, facts.height_px, num_bytes=source.num_bytes)
    opened: Any = pillow_heif.open_heif(BytesIO(source.content()), convert_hdr_to_8bit=False)
    picture: Any = opened[opened.primary_index]
    limits.check_size(source.name, *picture.size, num_bytes=source.num_bytes)
    values = np.asarray(picture)
    values = values[:, :, None] if values.ndim == 2 else values
    bits = int(picture.info.get("bit_depth", 8))
    if values.dtype == np.uint16:
        # Values come shifted left: repeat their top bits below.
        values = values | values >> bits
    num_colors = 1 if values.shape[2] < 3 else 3
    notes = list(facts.notes)
    if len(opened) > 1:
        notes.append(f"Of {len(opened)} pictures the main one was read.")
    profile = picture.info.get("icc_profile")
    metadata = checked_metadata(
        exif=picture.info.get("exif"),
        xmp=picture.info.get("xmp"),
        iptc=None,
        resolution=None,
        # libheif has turned the pixels already; what EXIF says of that is not for readers of HEIF.
        orientation=1,
        facts=facts,
        notes=notes,
    )
    return Image(
        pixels=np.ascontiguousarray(values[:, :, :num_colors]),
        alpha=np.ascontiguousarray(values[:, :, num_colors]) if values.shape[2] > num_colors else None,
        profile=bytes(profile) if profile and profile_fits(profile, num_colors) else None,
        cicp=facts.cicp,
        bits=bits if values.dtype == np.uint16 and bits < 16 else None,
        metadata=metadata,
        notes=tuple(notes),
    )
