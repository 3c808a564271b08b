"""HDR gain maps: the second picture in a JPEG file, which says how much brighter an HDR screen shows each place.

Layout: Ultra HDR Image Format 1.1 (Google), ISO 21496-1, and CIPA DC-007 (MPF) for where the second picture stands.
"""

import re
import struct
from dataclasses import replace
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
import pyvips
from numpy.typing import NDArray

from swinir.imaging import jpeg
from swinir.imaging.facts import GainMap
from swinir.imaging.limits import Limits

_ISO_PREFIX = b"urn:iso:std:iso:ts:21496:-1\0"
_HDRGM = b"hdrgm:"
_GAIN_MAP_ITEM = re.compile(rb"<Container:Item\b[^>]*\bItem:Semantic\s*=\s*[\"']GainMap[\"'][^>]*>")
_ITEM_LENGTH = re.compile(rb"(\bItem:Length\s*=\s*[\"'])\d+")
# The map is small and smooth; what it loses is multiplied into light.
_QUALITY = 95
# Pictures behind the first one that are looked at.
_MAX_PICTURES = 8
# CIPA DC-007, section 5.2: version, number of pictures, entry of each.
_MPF_VERSION, _MPF_COUNT, _MPF_ENTRIES = 0xB000, 0xB001, 0xB002
_MPF_PRIMARY = 0x00030000
_MPF_BYTES = 4 + 8 + 2 + 3 * 12 + 4 + 2 * 16


def read_gain_map(
    file: BinaryIO, structure: jpeg.Structure, name: str, limits: Limits
) -> tuple[GainMap | None, int]:
    """Find the gain map behind the first picture of a JPEG file.

    Returns:
        The map, and how many other pictures stand there.

    Raises:
        ImageTooLargeError: they are larger than the limits allow.
        pyvips.Error: the map is damaged.
    """
    if structure.end is None:
        return None, 0
    file.seek(structure.end)
    rest = file.read(limits.max_metadata_bytes)
    found: GainMap | None = None
    others = place = 0
    for _ in range(_MAX_PICTURES):
        place = rest.find(b"\xff\xd8\xff", place)
        if place < 0:
            break
        picture = BytesIO(rest[place:])
        inner = jpeg.read_structure(picture, name, limits)
        if inner.end is None:
            break
        segments = _meaning(picture, inner)
        if found is None and segments and structure.width_px and structure.height_px:
            limits.check_size(name, inner.width_px, inner.height_px)
            data = rest[place : place + inner.end]
            base = tuple(_packed(file, structure, _ISO_PREFIX))
            found = _decoded(data, structure, tuple(segments), base)
        else:
            others += 1
        place += inner.end
    return found, others


def turned_gain_map(gain_map: GainMap, pixels: NDArray[Any], *, swaps_sides: bool) -> GainMap:
    """Return the map with its pixels turned as the picture was."""
    ratios = gain_map.width_ratio, gain_map.height_ratio
    width_ratio, height_ratio = ratios[::-1] if swaps_sides else ratios
    return replace(gain_map, pixels=pixels, width_ratio=width_ratio, height_ratio=height_ratio)


def encode_gain_map(gain_map: GainMap, width: int, height: int) -> bytes:
    """Write the map as the JPEG file that goes behind a picture of this size."""
    rows, columns, bands = gain_map.pixels.shape
    image = pyvips.Image.new_from_memory(gain_map.pixels.tobytes(), columns, rows, bands, "uchar").copy(
        interpretation="b-w" if bands == 1 else "srgb"
    )
    new_width = max(1, round(width * gain_map.width_ratio))
    new_height = max(1, round(height * gain_map.height_ratio))
    resized = image.resize(new_width / columns, vscale=new_height / rows, kernel="cubic")
    data: bytes = resized.jpegsave_buffer(
        Q=_QUALITY, subsample_mode="off", keep=pyvips.enums.ForeignKeep.NONE
    )
    whole = BytesIO()
    jpeg.insert_segments(BytesIO(data), whole, gain_map.segments)
    return whole.getvalue()


def with_length(xmp: bytes, num_bytes: int) -> bytes:
    """State the length of the map in the directory of the picture's XMP."""

    def corrected(match: re.Match[bytes]) -> bytes:
        return _ITEM_LENGTH.sub(rb"\g<1>" + str(num_bytes).encode(), match[0])

    return _GAIN_MAP_ITEM.sub(corrected, xmp)


def mpf_segment(place: int, num_bytes: int, map_bytes: int) -> bytes:
    """Index of the two pictures, as the segment that is to stand at ``place`` in the finished file.

    Args:
        place: of the segment in the file.
        num_bytes: of the first picture, this segment included.
        map_bytes: of the second one, which follows at once.
    """
    # Offsets count from the byte order mark: behind marker, length and "MPF\0".
    start = place + 4 + 4
    entries = struct.pack(">IIIHH", _MPF_PRIMARY, num_bytes, 0, 0, 0)
    entries += struct.pack(">IIIHH", 0, map_bytes, num_bytes - start, 0, 0)
    directory = struct.pack(">H", 3)
    directory += struct.pack(">HHI4s", _MPF_VERSION, 7, 4, b"0100")
    directory += struct.pack(">HHII", _MPF_COUNT, 4, 1, 2)
    directory += struct.pack(">HHII", _MPF_ENTRIES, 7, len(entries), 8 + 2 + 3 * 12 + 4)
    directory += struct.pack(">I", 0)
    return jpeg.packed_segment(jpeg.APP2, b"MPF\0MM\0*\0\0\0\x08" + directory + entries)


def mpf_segment_bytes() -> int:
    """Length of such a segment in the file."""
    return 4 + _MPF_BYTES


def _meaning(picture: BinaryIO, structure: jpeg.Structure) -> list[bytes]:
    """Segments that say how a gain map is meant; empty for another picture."""
    xmp = [part for part in _packed(picture, structure, jpeg.XMP_PREFIX) if _HDRGM in part]
    return xmp + list(_packed(picture, structure, _ISO_PREFIX))


def _packed(file: BinaryIO, structure: jpeg.Structure, prefix: bytes) -> list[bytes]:
    """Segments with this beginning, as they stand in the file."""
    found: list[bytes] = []
    for segment in structure.segments:
        if segment.marker in (jpeg.APP1, jpeg.APP2):
            file.seek(segment.start)
            body = file.read(segment.size)
            if body.startswith(prefix):
                found.append(jpeg.packed_segment(segment.marker, body))
    return found


def _decoded(
    data: bytes, structure: jpeg.Structure, segments: tuple[bytes, ...], base: tuple[bytes, ...]
) -> GainMap:
    image = pyvips.Image.jpegload_buffer(data, fail_on="warning")
    pixels = image.numpy()
    pixels = np.array(pixels[:, :, None] if pixels.ndim == 2 else pixels)
    return GainMap(
        pixels=pixels,
        width_ratio=image.width / structure.width_px,
        height_ratio=image.height / structure.height_px,
        segments=segments,
        base_segments=base,
    )
