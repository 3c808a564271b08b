"""Boxes put into finished AVIF files: what libvips has no words for. Layout: ISO/IEC 23008-12, 14496-12."""

import shutil
import struct
from typing import BinaryIO

from swinir.imaging.cicp import Cicp
from swinir.imaging.facts import HdrLight

# The matrix that libheif codes RGB with unless asked otherwise: BT.601.
_MATRIX = 6


def property_boxes(cicp: Cicp | None, light: HdrLight) -> list[bytes]:
    """Boxes colr, mdcv and clli: HEIF, sections 6.5.5 and 12.1.5, and ISO/IEC 14496-12."""
    boxes: list[bytes] = []
    if cicp is not None:
        nclx = struct.pack(">4sHHHB", b"nclx", cicp.primaries, cicp.transfer, _MATRIX, 0x80)
        boxes.append(_box(b"colr", nclx))
    if light.mastering is not None and len(light.mastering) == 24:
        red, green, blue = (light.mastering[start : start + 4] for start in (0, 4, 8))
        boxes.append(_box(b"mdcv", green + blue + red + light.mastering[12:]))
    if light.content is not None and len(light.content) == 8:
        levels = (min(65_535, level // 10_000) for level in struct.unpack(">II", light.content))
        boxes.append(_box(b"clli", struct.pack(">HH", *levels)))
    return boxes


def insert_properties(source: BinaryIO, target: BinaryIO, boxes: list[bytes]) -> bool:
    """Copy a file and give its primary item more properties.

    Returns:
        False, and a plain copy, where the file is not laid out as libheif does it: ``meta`` before all pixels.
    """
    start = source.read(2**16)
    found = _find(start, b"meta", 0, len(start))
    grown = None if found is None else _grown_meta(start, *found, boxes)
    if found is None or grown is None:
        target.write(start)
        shutil.copyfileobj(source, target)
        return False
    begin, end = found
    target.write(start[:begin] + grown + start[end:])
    shutil.copyfileobj(source, target)
    return True


def _grown_meta(data: bytes, begin: int, end: int, boxes: list[bytes]) -> bytes | None:
    inner = begin + 12
    places = {kind: _find(data, kind, inner, end) for kind in (b"iprp", b"iloc", b"pitm")}
    iprp, iloc, pitm = places[b"iprp"], places[b"iloc"], places[b"pitm"]
    if iprp is None or iloc is None or pitm is None:
        return None
    ipco = _find(data, b"ipco", iprp[0] + 8, iprp[1])
    ipma = _find(data, b"ipma", iprp[0] + 8, iprp[1])
    if ipco is None or ipma is None or data[pitm[0] + 8] != 0:
        return None
    primary = data[pitm[0] + 12 : pitm[0] + 14]
    first = _count_boxes(data, ipco[0] + 8, ipco[1]) + 1
    associated = _associated(data[ipma[0] + 8 : ipma[1]], primary, range(first, first + len(boxes)))
    if associated is None:
        return None
    new_ipco = _box(b"ipco", data[ipco[0] + 8 : ipco[1]] + b"".join(boxes))
    parts = {ipco: new_ipco, ipma: _box(b"ipma", associated)}
    new_iprp = _box(b"iprp", _replaced(data, iprp[0] + 8, iprp[1], parts))
    delta = len(new_iprp) - (iprp[1] - iprp[0])
    moved = _moved(data[iloc[0] + 8 : iloc[1]], end, delta)
    if moved is None:
        return None
    parts = {iprp: new_iprp, iloc: _box(b"iloc", moved)}
    return _box(b"meta", data[begin + 8 : inner] + _replaced(data, inner, end, parts))


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _find(data: bytes, kind: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Where a box begins and ends, among those that stand side by side from ``start`` on."""
    while start + 8 <= end:
        size, found = struct.unpack_from(">I4s", data, start)
        if size < 8 or start + size > len(data):
            return None
        if found == kind:
            return start, start + size
        start += size
    return None


def _count_boxes(data: bytes, start: int, end: int) -> int:
    count = 0
    while start + 8 <= end:
        start += max(8, int.from_bytes(data[start : start + 4], "big"))
        count += 1
    return count


def _replaced(data: bytes, start: int, end: int, parts: dict[tuple[int, int], bytes]) -> bytes:
    """Exchange some parts of a stretch of bytes."""
    whole = b""
    for (begin, stop), part in sorted(parts.items()):
        whole += data[start:begin] + part
        start = stop
    return whole + data[start:end]


def _associated(body: bytes, primary: bytes, indices: range) -> bytes | None:
    """Body of ipma with more properties for the primary item; None for a form that libheif does not write."""
    if body[:4] != b"\0\0\0\0" or indices.stop > 128:
        return None
    place = 8
    for _ in range(int.from_bytes(body[4:8], "big")):
        item, count = body[place : place + 2], body[place + 2]
        end = place + 3 + count
        if item == primary:
            head = body[: place + 2] + bytes([count + len(indices)])
            return head + body[place + 3 : end] + bytes(indices) + body[end:]
        place = end
    return None


def _moved(body: bytes, end: int, delta: int) -> bytes | None:
    """Body of iloc with the places of all that stands behind ``end`` moved; HEIF, section 8.11.3 of 14496-12."""
    version = body[0]
    offset_bytes, length_bytes, base_bytes = body[4] >> 4, body[4] & 15, body[5] >> 4
    if version > 1 or offset_bytes != 4 or (version == 1 and body[5] & 15):
        return None
    moved = bytearray(body)
    (count,) = struct.unpack_from(">H", body, 6)
    place = 8
    for _ in range(count):
        in_file = version == 0 or struct.unpack_from(">H", body, place + 2)[0] & 15 == 0
        place += 2 + (2 if version == 1 else 0) + 2
        base = int.from_bytes(body[place : place + base_bytes], "big")
        place += base_bytes
        (num_extents,) = struct.unpack_from(">H", body, place)
        place += 2
        for _ in range(num_extents):
            (offset,) = struct.unpack_from(">I", body, place)
            if in_file and base + offset >= end:
                struct.pack_into(">I", moved, place, offset + delta)
            place += offset_bytes + length_bytes
    return bytes(moved)
