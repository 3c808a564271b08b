"""Portable anymaps, whose 16 bits Pillow and libvips' small build do not give: PBM, PGM, PPM, PFM.

Layout: netpbm's manual pages pbm, pgm, ppm (5); PFM as Debevec defined it.
"""

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swinir.imaging.image import Image
from swinir.imaging.limits import Limits
from swinir.imaging.source import Source

_TOKEN = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])*([^\s#]+)")
_CHANNELS = {b"P1": 1, b"P2": 1, b"P3": 3, b"P4": 1, b"P5": 1, b"P6": 3, b"Pf": 1, b"PF": 3}
_WORDS = (b"P1", b"P2", b"P3")
_FLOATS = (b"Pf", b"PF")
# Comments included.
_HEADER_BYTES = 2**20
# Five digits, with room for spaces and comments.
_MOST_WORD_BYTES = 64
_MOST_VALUE_BYTES = 4


def decode_pnm(source: Source, limits: Limits) -> Image:
    """Decode one anymap; what follows it is passed over.

    Values up to 255 become 8 bit, larger ones 16, scaled so that white is white.

    Raises:
        ValueError: it is damaged or cut short.
        ImageTooLargeError: it is larger than the limits allow.
    """
    data = source.content(_HEADER_BYTES)
    kind = data[:2]
    width, place = _number(data, 2)
    height, place = _number(data, place)
    limits.check_size(source.name, width, height, num_bytes=source.num_bytes)
    if min(width, height) < 1:
        raise ValueError("a picture without pixels")
    shape = (height, width, _CHANNELS[kind])
    word_bytes = _MOST_WORD_BYTES if kind in _WORDS else _MOST_VALUE_BYTES
    data = source.content(_HEADER_BYTES + word_bytes * math.prod(shape))
    if kind in _FLOATS:
        scale, place = _word(data, place)
        return Image(pixels=_floats(data[place + 1 :], shape, float(scale)))
    if kind in (b"P1", b"P4"):
        bits = _bits_of_words(data[place:], shape) if kind == b"P1" else _bits(data[place + 1 :], shape)
        return Image(pixels=np.where(bits, 0, 255).astype(np.uint8))
    most, place = _number(data, place)
    if not 1 <= most <= 65_535:
        raise ValueError(f"white is {most}")
    values = _words(data[place:], shape) if kind in _WORDS else _integers(data[place + 1 :], shape, most)
    return Image(pixels=_scaled(values, most))


def _word(data: bytes, place: int) -> tuple[bytes, int]:
    match = _TOKEN.match(data, place)
    if match is None:
        raise ValueError("a header that is cut short")
    return match[1], match.end()


def _number(data: bytes, place: int) -> tuple[int, int]:
    word, place = _word(data, place)
    if len(word) > 9:
        raise ValueError("a header with a number too long")
    return int(word), place


def _enough(data: bytes, num_bytes: int) -> bytes:
    if len(data) < num_bytes:
        raise ValueError(f"{num_bytes - len(data):,} bytes are missing")
    return data[:num_bytes]


def _integers(data: bytes, shape: tuple[int, int, int], most: int) -> NDArray[Any]:
    dtype = np.dtype(">u2" if most > 255 else "u1")
    return np.frombuffer(_enough(data, int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape)


def _bits(data: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    height, width, _ = shape
    row_bytes = (width + 7) // 8
    rows = np.frombuffer(_enough(data, height * row_bytes), np.uint8).reshape(height, row_bytes)
    return np.unpackbits(rows, axis=1)[:, :width, None]


def _bits_of_words(data: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    digits = np.frombuffer(re.sub(rb"#[^\r\n]*|\s", b"", data), np.uint8)
    count = int(np.prod(shape))
    if len(digits) < count or not np.isin(digits[:count], (48, 49)).all():
        raise ValueError("bits are missing")
    return (digits[:count] - 48).reshape(shape)


def _words(data: bytes, shape: tuple[int, int, int]) -> NDArray[Any]:
    count = int(np.prod(shape))
    words = re.sub(rb"#[^\r\n]*", b"", data).split(None, count)[:count]
    if len(words) < count:
        raise ValueError(f"{count - len(words):,} values are missing")
    return np.array(words, dtype=np.int64).reshape(shape)


def _floats(data: bytes, shape: tuple[int, int, int], scale: float) -> NDArray[np.float32]:
    """Rows from the bottom up; a negative scale means the low byte first."""
    dtype = np.dtype("<f4" if scale < 0 else ">f4")
    values = np.frombuffer(_enough(data, int(np.prod(shape)) * 4), dtype).reshape(shape)
    return np.ascontiguousarray(values[::-1]).astype(np.float32)


def _scaled(values: NDArray[Any], most: int) -> NDArray[Any]:
    dtype = np.uint8 if most <= 255 else np.uint16
    white = np.iinfo(dtype).max
    values = np.minimum(values, most)
    if most == white:
        return values.astype(dtype)
    return ((values.astype(np.uint32) * (2 * white) + most) // (2 * most)).astype(dtype)
