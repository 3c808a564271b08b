"""TIFF files of one page each, joined into one file of several pages. Layout: TIFF 6.0, section 2."""

import shutil
import struct
from typing import BinaryIO

from swinir.imaging.tiff_pages import VALUE_BYTES

_STRIP_OFFSETS, _TILE_OFFSETS = 273, 324
_DIRECTORIES = (0x8769, 0x8825, 330)
_CLASSIC = 42
_SHORT, _LONG = 3, 4
# Offsets have 32 bits.
_MAX_BYTES = 2**32 - 2**20


class TooLargeForTiffError(ValueError):
    """The pages together are larger than a classic TIFF file can be."""


def append_page(target: BinaryIO, page: BinaryIO) -> None:
    """Put the page of one file behind the pages of another.

    Args:
        target: a TIFF file open for reading and writing, or an empty one.
        page: a file of the same byte order with one page, whose directory may stand anywhere.

    Raises:
        TooLargeForTiffError: the two together are too large, or one is a BigTIFF.
    """
    end = target.seek(0, 2)
    page.seek(0)
    if end == 0:
        shutil.copyfileobj(page, target)
        return
    target.write(b"\0" * (end % 2))
    start = target.tell()
    size = page.seek(0, 2)
    if start + size > _MAX_BYTES:
        raise TooLargeForTiffError(f"{start + size:,} bytes")
    page.seek(0)
    shutil.copyfileobj(page, target)
    target.seek(start)
    order, first = _header(target)
    _move_directory(target, order, start + first, start)
    _link(target, start + first)


def _header(file: BinaryIO) -> tuple[str, int]:
    start = file.read(8)
    order = "<" if start[:2] == b"II" else ">"
    version, first = struct.unpack(order + "HI", start[2:])
    if version != _CLASSIC:
        raise TooLargeForTiffError("a BigTIFF page")
    return order, first


def _move_directory(file: BinaryIO, order: str, place: int, distance: int) -> None:
    """Add a distance to every offset in a directory and in those that it points to."""
    file.seek(place)
    (count,) = struct.unpack(order + "H", file.read(2))
    for index in range(count):
        entry = place + 2 + 12 * index
        file.seek(entry)
        tag, kind, num_values = struct.unpack(order + "HHI", file.read(8))
        (value,) = struct.unpack(order + "I", file.read(4))
        num_bytes = VALUE_BYTES.get(kind, 0) * num_values
        if num_bytes > 4:
            _write_number(file, order, entry + 8, value + distance)
        if tag in (_STRIP_OFFSETS, _TILE_OFFSETS, *_DIRECTORIES):
            _move_numbers(file, order, entry, distance)
        if tag in _DIRECTORIES and num_values == 1:
            _move_directory(file, order, value + distance, distance)


def _move_numbers(file: BinaryIO, order: str, entry: int, distance: int) -> None:
    """Add a distance to the offsets that an entry lists, which may have 16 bits and then get 32."""
    file.seek(entry + 2)
    kind, num_values, place = struct.unpack(order + "HII", file.read(10))
    is_short = kind == _SHORT
    file.seek(place if VALUE_BYTES[kind] * num_values > 4 else entry + 8)
    read = struct.unpack(
        f"{order}{num_values}{'H' if is_short else 'I'}", file.read(VALUE_BYTES[kind] * num_values)
    )
    moved = struct.pack(f"{order}{num_values}I", *(number + distance for number in read))
    if is_short and num_values > 1:
        place = file.seek(0, 2)
        file.write(moved)
        moved = struct.pack(order + "I", place)
    elif num_values > 1:
        file.seek(place)
        file.write(moved)
        return
    file.seek(entry + 2)
    file.write(struct.pack(order + "HI", _LONG, num_values) + moved)


def _link(file: BinaryIO, place: int) -> None:
    """Let the last directory of the chain name the new one."""
    file.seek(0)
    order, current = _header(file)
    while True:
        file.seek(current)
        (count,) = struct.unpack(order + "H", file.read(2))
        following_at = current + 2 + 12 * count
        file.seek(following_at)
        (following,) = struct.unpack(order + "I", file.read(4))
        if following == 0:
            _write_number(file, order, following_at, place)
            return
        current = following


def _write_number(file: BinaryIO, order: str, place: int, value: int) -> None:
    file.seek(place)
    file.write(struct.pack(order + "I", value))
