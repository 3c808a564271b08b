"""The pages of a TIFF file: what each directory says of its picture, before libtiff looks at it.

Layout: TIFF 6.0, section 2; BigTIFF as libtiff 4 defines it.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from swinir.imaging.limits import Limits

_VALUE_FORMATS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
# Bytes of one value, by its type.
VALUE_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
# Of lists of numbers only the first few are needed here.
_MAX_NUMBERS = 16
_MAX_VALUE_BYTES = 2**26
_MAX_PLACE = 2**62


class Tag(IntEnum):
    """Fields that decide how a page is read."""

    SUBFILE_TYPE = 254
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTES = 279
    X_RESOLUTION = 282
    Y_RESOLUTION = 283
    PLANAR = 284
    RESOLUTION_UNIT = 296
    PREDICTOR = 317
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_BYTES = 325
    SUBFILES = 330
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    XMP = 700
    PROFILE = 34675
    MODEL_PIXEL_SCALE = 33550
    MODEL_TIEPOINT = 33922
    MODEL_TRANSFORMATION = 34264
    GEO_KEYS = 34735
    DNG_VERSION = 50706


_REDUCED, _MASK = 1, 4
_GEO = {Tag.MODEL_PIXEL_SCALE, Tag.MODEL_TIEPOINT, Tag.MODEL_TRANSFORMATION, Tag.GEO_KEYS}
CIELAB, ICCLAB = 8, 9


class Field(NamedTuple):
    """One entry of a directory: where its 12 or 20 bytes stand, how many values it has, and the first of them."""

    place: int
    kind: int
    num_values: int
    numbers: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Length of all values."""
        return self.num_values * VALUE_BYTES.get(self.kind, 1)


@dataclass(frozen=True, kw_only=True)
class Page:
    """One directory.

    Attributes:
        number: of the directory in its chain, from 0: what libtiff calls it.
        fields: by tag.
    """

    number: int
    fields: dict[int, Field]

    def value(self, tag: Tag, default: int = 0) -> int:
        """Return the first number of a field."""
        field = self.fields.get(tag)
        return field.numbers[0] if field is not None and field.numbers else default

    @property
    def is_picture(self) -> bool:
        """Whether it is a page of its own, not a smaller copy or a mask of another one."""
        return not self.value(Tag.SUBFILE_TYPE) & (_REDUCED | _MASK)

    @property
    def is_raw(self) -> bool:
        """Whether it is what a camera's raw file starts with: a preview, or values of a sensor."""
        is_preview = bool(self.value(Tag.SUBFILE_TYPE) & _REDUCED) and Tag.SUBFILES in self.fields
        is_sensor = self.value(Tag.PHOTOMETRIC) in (32803, 34892)
        return Tag.DNG_VERSION in self.fields or is_preview or is_sensor

    @property
    def is_georeferenced(self) -> bool:
        """Whether it says where on earth its pixels are."""
        return not _GEO.isdisjoint(self.fields)

    @property
    def width_px(self) -> int:
        """Columns."""
        return self.value(Tag.WIDTH)

    @property
    def height_px(self) -> int:
        """Rows."""
        return self.value(Tag.HEIGHT)

    @property
    def samples(self) -> int:
        """Values of a pixel."""
        return self.value(Tag.SAMPLES, 1)

    @property
    def row_bytes(self) -> int:
        """Length of a row that is not compressed, whose values of a pixel stand together."""
        return (self.width_px * self.samples * self.bits + 7) // 8

    @property
    def is_plain(self) -> bool:
        """Whether nothing is compressed."""
        return self.value(Tag.COMPRESSION, 1) == 1

    @property
    def is_in_strips(self) -> bool:
        """Whether rows are in strips, one after the other, with all values of a pixel together."""
        is_together = self.samples == 1 or self.value(Tag.PLANAR, 1) == 1
        return Tag.TILE_WIDTH not in self.fields and is_together

    @property
    def rows_per_strip(self) -> int:
        """Rows of each strip but the last, which may have less."""
        return min(self.value(Tag.ROWS_PER_STRIP) or self.height_px, self.height_px)

    @property
    def bits(self) -> int:
        """Bits of a value."""
        return self.value(Tag.BITS, 1)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How numbers stand in a TIFF file: byte order for struct, and whether offsets have 64 bits."""

    order: str
    is_big: bool

    @property
    def entry_bytes(self) -> int:
        """Length of an entry of a directory."""
        return 20 if self.is_big else 12

    @property
    def offset(self) -> str:
        """Format of an offset, and of the count of an entry."""
        return self.order + ("Q" if self.is_big else "I")


def read_pages(file: BinaryIO, name: str, limits: Limits) -> tuple[Layout, list[Page]] | None:
    """Read the chain of directories.

    Returns:
        How the file is laid out, and all directories; None if it is no TIFF file.

    Raises:
        ImageTooLargeError: there are more pages, or larger ones, than the limits allow.
    """
    layout, place = _read_header(file)
    if layout is None:
        return None
    seen: set[int] = set()
    pages: list[Page] = []
    # A chain that comes back to where it was has no end.
    while place and place not in seen:
        seen.add(place)
        page, place = _read_page(file, layout, place, len(pages))
        if page is None:
            break
        pages.append(page)
        limits.check_size(name, page.width_px, page.height_px, frames=len(pages))
    return layout, pages


def read_value(file: BinaryIO, layout: Layout, page: Page, tag: Tag) -> bytes | None:
    """Read all bytes of a field; None where the page has none, or they are cut short.

    Args:
        file: the TIFF file.
        layout: of its numbers.
        page: a directory of it.
        tag: of the field.
    """
    field = page.fields.get(tag)
    if field is None:
        return None
    size = field.num_bytes
    room = 8 if layout.is_big else 4
    place = field.place + 4 + room
    if size > room:
        (place,) = struct.unpack(layout.offset, _read_at(file, place, room))
    data = _read_at(file, place, min(size, _MAX_VALUE_BYTES))
    return data if len(data) == size else None


def read_numbers(file: BinaryIO, layout: Layout, page: Page, tag: Tag) -> NDArray[np.uint64]:
    """Read all numbers of a field of offsets or lengths; none where the page has none, or they are cut short."""
    field = page.fields.get(tag)
    kind = None if field is None else {3: "u2", 4: "u4", 16: "u8"}.get(field.kind)
    data = read_value(file, layout, page, tag)
    if kind is None or data is None:
        return np.zeros(0, np.uint64)
    return np.frombuffer(data, layout.order + kind).astype(np.uint64)


def read_strips(file: BinaryIO, layout: Layout, page: Page) -> tuple[list[int], list[int]]:
    """Read where the strips of a page are, and how long; of lengths there may be none."""
    offsets, sizes = (
        [int(each) for each in read_numbers(file, layout, page, tag)]
        for tag in (Tag.STRIP_OFFSETS, Tag.STRIP_BYTES)
    )
    return offsets, sizes


def _read_at(file: BinaryIO, place: int, num_bytes: int) -> bytes:
    """Read from a place; nothing from one that no file has."""
    if place > _MAX_PLACE:
        return b""
    file.seek(place)
    return file.read(num_bytes)


def _read_header(file: BinaryIO) -> tuple[Layout | None, int]:
    file.seek(0)
    start = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    if order is None or len(start) < 8:
        return None, 0
    (version,) = struct.unpack(order + "H", start[2:4])
    layout = Layout(order=order, is_big=version == 43)
    if layout.is_big:
        return layout, struct.unpack(order + "Q", start[8:])[0] if len(start) == 16 else 0
    return layout, struct.unpack(order + "I", start[4:8])[0]


def _read_page(file: BinaryIO, layout: Layout, place: int, number: int) -> tuple[Page | None, int]:
    """One directory, and the place of the next one; 0 where there is none."""
    count_format = layout.order + ("Q" if layout.is_big else "H")
    count_bytes = struct.calcsize(count_format)
    head = _read_at(file, place, count_bytes)
    if len(head) < count_bytes:
        return None, 0
    # TIFF 6.0 allows 65,535 entries; BigTIFF's count is as good as that.
    count = min(struct.unpack(count_format, head)[0], 65_535)
    size = layout.entry_bytes
    table = file.read(count * size)
    following = file.read(struct.calcsize(layout.offset))
    if len(table) < count * size:
        return None, 0
    fields: dict[int, Field] = {}
    for start in range(0, len(table), size):
        tag, field = _read_field(file, layout, table[start : start + size], place + count_bytes + start)
        fields.setdefault(tag, field)
    complete = len(following) == struct.calcsize(layout.offset)
    after = struct.unpack(layout.offset, following)[0] if complete else 0
    return Page(number=number, fields=fields), after


def _read_field(file: BinaryIO, layout: Layout, entry: bytes, place: int) -> tuple[int, Field]:
    tag, kind = struct.unpack(layout.order + "HH", entry[:4])
    room = 8 if layout.is_big else 4
    (count,) = struct.unpack(layout.offset, entry[4 : 4 + room])
    if kind not in _VALUE_FORMATS:
        return tag, Field(place, kind, count, ())
    number_bytes = VALUE_BYTES[kind]
    wanted = min(count, _MAX_NUMBERS)
    data = entry[4 + room :]
    if count * number_bytes > room:
        if tag not in set(Tag):
            return tag, Field(place, kind, count, ())
        data = _read_at(file, struct.unpack(layout.offset, data)[0], wanted * number_bytes)
    fitting = min(wanted, len(data) // number_bytes)
    numbers = struct.unpack(layout.order + f"{fitting}{_VALUE_FORMATS[kind]}", data[: fitting * number_bytes])
    return tag, Field(place, kind, count, numbers)
