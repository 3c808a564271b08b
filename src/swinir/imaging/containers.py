"""Where JPEG, PNG and WebP files keep EXIF, XMP and IPTC: bytes in, bytes out, pixels untouched.

libvips rebuilds an EXIF record on writing and loses maker notes by it; here it is put in verbatim.
"""

import re
import shutil
import struct
import zlib
from typing import BinaryIO

# A JPEG segment's length counts its own two bytes and has sixteen bits.
_MAX_JPEG_SEGMENT_BYTES = 65_533
_EXIF_PREFIX = b"Exif\0\0"
_APP0, _APP1 = 0xE0, 0xE1
_IPTC_RESOURCE = 0x0404


def upright_xmp(xmp: bytes) -> bytes:
    """Set tiff:Orientation, written as an attribute or as an element, to 1."""
    return re.sub(rb"(tiff:Orientation(?:\s*=\s*[\"']|\s*>)\s*)[2-8]", rb"\g<1>1", xmp)


def iptc_from_photoshop(block: bytes) -> bytes | None:
    """Find the IPTC records among Photoshop's image resources, where a JPEG keeps them; None without any."""
    position = block.find(b"8BIM")
    while 0 <= position <= len(block) - 12:
        resource, name_bytes = struct.unpack_from(">HB", block, position + 4)
        # The name is padded so that it takes an even number of bytes with its length byte.
        start = position + 6 + (name_bytes + 2) // 2 * 2
        if start + 4 > len(block):
            return None
        (size,) = struct.unpack_from(">I", block, start)
        if resource == _IPTC_RESOURCE:
            return block[start + 4 : start + 4 + size]
        position = block.find(b"8BIM", start + 4 + size)
    return None


def photoshop_from_iptc(iptc: bytes) -> bytes:
    """Wrap IPTC records as a JPEG keeps them."""
    resource = struct.pack(">HHI", _IPTC_RESOURCE, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)
    return b"Photoshop 3.0\x008BIM" + resource


def insert_jpeg_exif(source: BinaryIO, target: BinaryIO, exif: bytes) -> bool:
    """Copy a JPEG file that has no EXIF and put one in; False, and a plain copy, if it is too long."""
    payload = _EXIF_PREFIX + exif
    fits = len(payload) <= _MAX_JPEG_SEGMENT_BYTES
    target.write(source.read(2))
    head = source.read(4)
    if head[1] == _APP0:
        target.write(head + source.read(struct.unpack(">H", head[2:])[0] - 2))
        head = b""
    if fits:
        target.write(struct.pack(">BBH", 0xFF, _APP1, len(payload) + 2) + payload)
    target.write(head)
    shutil.copyfileobj(source, target)
    return fits


def insert_png_exif(source: BinaryIO, target: BinaryIO, exif: bytes) -> None:
    """Copy a PNG file that has no EXIF and put one in, right behind its header."""
    signature_and_header_bytes = 8 + (8 + 13 + 4)
    target.write(source.read(signature_and_header_bytes))
    chunk = struct.pack(">I4s", len(exif), b"eXIf") + exif
    target.write(chunk + struct.pack(">I", zlib.crc32(chunk[4:])))
    shutil.copyfileobj(source, target)


def replace_webp_exif(source: BinaryIO, target: BinaryIO, exif: bytes) -> None:
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
