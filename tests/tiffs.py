"""TIFF files made byte by byte, of kinds that few programs write."""

import struct

import numpy as np

SHORT, LONG, ASCII = 3, 4, 2


def tiff_file(
    values: np.ndarray,
    *,
    order: str = "<",
    planar: bool = False,
    bits: int | None = None,
    photometric: int | None = None,
    description: bytes | None = None,
) -> bytes:
    """An uncompressed file of one strip, or of one for each plane.

    Args:
        values: [H, W, C] of any type of number.
        order: of bytes, "<" or ">".
        planar: whether planes stand apart.
        bits: of each value, where that is not all of its type.
        photometric: what the values mean; None for grey or RGB.
        description: of the picture, with its zero.
    """
    height, width, samples = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    planes = [values[:, :, index] for index in range(samples)] if planar else [values.reshape(height, -1)]
    strips = [_packed(plane, order, bits) for plane in planes]
    photometric = (2 if samples >= 3 else 1) if photometric is None else photometric
    bits = bits or 8 * values.dtype.itemsize
    starts, place = [], 8
    for strip in strips:
        starts.append(place)
        place += len(strip)
    entries = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [bits] * samples),
        259: (SHORT, [1]),
        262: (SHORT, [photometric]),
        273: (LONG, starts),
        277: (SHORT, [samples]),
        278: (LONG, [height]),
        279: (LONG, [len(strip) for strip in strips]),
        284: (SHORT, [2 if planar else 1]),
        339: (SHORT, [kind] * samples),
    }
    if description is not None:
        entries[270] = (ASCII, list(description))
    body = b"".join(strips)
    body += b"\0" * (len(body) % 2)
    start = 8 + len(body)
    return _header(order, start) + body + _directory(entries, start, order)


def _packed(plane: np.ndarray, order: str, bits: int | None) -> bytes:
    if bits is None:
        return plane.astype(plane.dtype.newbyteorder(order)).tobytes()
    digits = plane[:, :, None] >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(digits.reshape(len(plane), -1).astype(np.uint8), axis=1).tobytes()


def _header(order: str, start: int) -> bytes:
    return struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, start)


def _directory(entries: dict[int, tuple[int, list[int]]], start: int, order: str) -> bytes:
    letters = {SHORT: "H", LONG: "I", ASCII: "B"}
    table, values = struct.pack(order + "H", len(entries)), b""
    place = start + 2 + 12 * len(entries) + 4
    for tag, (kind, numbers) in sorted(entries.items()):
        data = struct.pack(f"{order}{len(numbers)}{letters[kind]}", *numbers)
        table += struct.pack(order + "HHI", tag, kind, len(numbers))
        if len(data) <= 4:
            table += data.ljust(4, b"\0")
        else:
            table += struct.pack(order + "I", place + len(values))
            values += data + b"\0" * (len(data) % 2)
    return table + bytes(4) + values
