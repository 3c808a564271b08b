"""IPTC records, and Photoshop's image resources, which JPEG and PSD files keep them in."""

import struct
from collections.abc import Iterator

_IPTC_RESOURCE = 0x0404


def iptc_from_photoshop(block: bytes) -> bytes | None:
    """Find the IPTC records among Photoshop's image resources, where a JPEG keeps them; None without any."""
    return next((data for kind, data in photoshop_resources(block) if kind == _IPTC_RESOURCE), None)


def photoshop_from_iptc(iptc: bytes) -> bytes:
    """Wrap IPTC records as a JPEG keeps them."""
    resource = struct.pack(">HHI", _IPTC_RESOURCE, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)
    return b"Photoshop 3.0\x008BIM" + resource


def photoshop_resources(block: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and data of each image resource; what is damaged ends it."""
    position = block.find(b"8BIM")
    while 0 <= position <= len(block) - 12:
        resource, name_bytes = struct.unpack_from(">HB", block, position + 4)
        # The name is padded so that it takes an even number of bytes with its length byte.
        start = position + 6 + (name_bytes + 2) // 2 * 2
        if start + 4 > len(block):
            return
        (size,) = struct.unpack_from(">I", block, start)
        yield resource, block[start + 4 : start + 4 + size]
        position = block.find(b"8BIM", start + 4 + size)
