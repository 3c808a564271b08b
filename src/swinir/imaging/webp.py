"""WebP files, chunk by chunk. Layout: RFC 9649, section 2."""

import struct
from typing import BinaryIO

from swinir.imaging.facts import Facts
from swinir.imaging.limits import Limits

_CANVAS_MASK = 2**24 - 1
_FRAME = b"ANMF"
# Longer than any picture of 16,383 × 16,383 is that was not made to fill the memory.
_MAX_PICTURE_BYTES = 2**30


def read_facts(file: BinaryIO, name: str, limits: Limits) -> Facts:
    """Find the size of the canvas and count frames.

    Raises:
        ImageTooLargeError: the frames together are larger than the limits allow, or there is more metadata.
    """
    end = file.seek(0, 2)
    file.seek(4)
    end = min(end, 8 + int.from_bytes(file.read(4), "little"))
    place = file.seek(12)
    width = height = frames = num_records = num_bytes = 0
    while place + 8 <= end and len(head := file.read(8)) == 8:
        kind, size = struct.unpack("<4sI", head)
        if place + 8 + size > end:
            break
        if kind == b"VP8X":
            body = file.read(10).ljust(10, b"\0")
            width = (int.from_bytes(body[4:7], "little") & _CANVAS_MASK) + 1
            height = (int.from_bytes(body[7:10], "little") & _CANVAS_MASK) + 1
        elif kind in (b"VP8 ", b"VP8L") and not width:
            width, height = _size_of_picture(kind, file.read(10))
        elif kind == _FRAME:
            frames += 1
            limits.check_size(name, width, height, frames=frames)
        else:
            num_records, num_bytes = num_records + 1, num_bytes + size
            limits.check_metadata(name, num_records, num_bytes)
        place += 8 + size + size % 2
        file.seek(place)
    return Facts(width_px=width or None, height_px=height or None, bits=8, frames=max(1, frames))


def replace_exif(source: BinaryIO, target: BinaryIO, exif: bytes) -> None:
    """Copy a WebP file with its EXIF chunk replaced; what it has none of stays out."""
    target.write(source.read(12))
    while head := source.read(8):
        kind, size = struct.unpack("<4sI", head)
        body = source.read(size + size % 2)
        if kind == b"EXIF":
            head, body = struct.pack("<4sI", kind, len(exif)), exif + b"\0" * (len(exif) % 2)
        target.write(head + body)
    size = target.tell() - 8
    target.seek(4)
    target.write(struct.pack("<I", size))


def mended(data: bytes, filling: bytes = b"") -> bytes:
    """Return the whole chunks of a file that was cut short, and with a byte to fill it up, the picture's own."""
    chunks = b""
    place = 12
    while place + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, place)
        body = data[place + 8 : place + 8 + size]
        if len(body) == size or (filling and kind in (b"VP8 ", b"VP8L") and size <= _MAX_PICTURE_BYTES):
            chunks += (
                struct.pack("<4sI", kind, size) + body.ljust(size, filling or b"\0") + b"\0" * (size % 2)
            )
        place += 8 + size + size % 2
    return struct.pack("<4sI", b"RIFF", 4 + len(chunks)) + b"WEBP" + chunks


def _size_of_picture(kind: bytes, body: bytes) -> tuple[int, int]:
    """Width and height of a picture without a canvas: RFC 6386, section 9.1, and RFC 9649, section 3.4."""
    body = body.ljust(10, b"\0")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", body[6:10])
    return width & 0x3FFF, height & 0x3FFF
