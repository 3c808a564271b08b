"""TIFF directories: the form of every EXIF record, and where a TIFF file keeps what it says of its picture.

libvips neither reads nor writes EXIF and IPTC of TIFF files properly, so it is done here, without touching
the pixels. Layout of a directory: TIFF 6.0, section 2. Private tags: EXIF 2.32, section 4.6.
"""

import struct
from collections.abc import Mapping
from fractions import Fraction
from io import BytesIO
from typing import BinaryIO, Literal, NamedTuple

from swinir.imaging.tiff_pages import VALUE_BYTES

Order = Literal["<", ">"]

_DESCRIPTION = 0x010E
_ORIENTATION = 0x0112
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_IPTC = 0x83BB
_EXIF_DIRECTORY, _GPS_DIRECTORY, _INTEROPERABILITY_DIRECTORY = 0x8769, 0x8825, 0xA005
_PIXEL_X_DIMENSION, _PIXEL_Y_DIMENSION = 0xA002, 0xA003
# Of a TIFF's first directory only these are about the picture and not about how the file stores it:
# description, make, model, software, date, artist, copyright.
_DESCRIPTIVE = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
_SHORT, _LONG, _RATIONAL, _UNDEFINED, _SIGNED_RATIONAL = 3, 4, 5, 7, 10
# A record about a picture is no picture: a longer value means a damaged or hostile file.
_MAX_VALUE_BYTES = 16 * 2**20
_CLASSIC_TIFF = 42
_EMPTY_RECORD = b"II*\0\x08\0\0\0" + b"\0" * 6


class Entry(NamedTuple):
    """Value of one tag."""

    kind: int
    num_values: int
    data: bytes


Directory = dict[int, Entry]


class Records(NamedTuple):
    """What a TIFF file or an EXIF record says of its picture, in one byte order."""

    order: Order
    first: Directory
    exif: Directory
    gps: Directory


def upright_exif(exif: bytes) -> bytes | None:
    """Set orientation to 1 and cut the thumbnail off, leaving every other byte where it is.

    Maker notes point to places in the whole record, so it is never rebuilt. None if it is damaged.
    """
    record = bytearray(exif)
    try:
        order, offset = _header(BytesIO(record))
        _patch(record, order, offset, {_ORIENTATION: (_SHORT, 1)})
        (count,) = struct.unpack_from(order + "H", record, offset)
        # The directory after the first one is the thumbnail's.
        struct.pack_into(order + "I", record, offset + 2 + 12 * count, 0)
    except (ValueError, struct.error):
        return None
    return bytes(record)


def exif_resolution(exif: bytes) -> tuple[float, float] | None:
    """Pixels per millimetre, across and down; None where the record states none."""
    try:
        order, offset = _header(BytesIO(exif))
        first = _read_directory(BytesIO(exif), offset, order)
        ratios = [struct.unpack(order + "II", first[tag].data) for tag in (_X_RESOLUTION, _Y_RESOLUTION)]
        (unit,) = struct.unpack(order + "H", first[_RESOLUTION_UNIT].data)
        across, down = (numerator / denominator for numerator, denominator in ratios)
    except (ValueError, KeyError, ZeroDivisionError, struct.error):
        return None
    unit_mm = {2: 25.4, 3: 10.0}.get(unit)
    return None if unit_mm is None or across <= 0 or down <= 0 else (across / unit_mm, down / unit_mm)


def completed_exif(
    exif: bytes | None, *, width: int, height: int, resolution: tuple[float, float] | None
) -> bytes:
    """Make a record tell the size, where it states one, and the resolution of the picture to be written.

    Nothing moves: a new first directory goes to the end if the old one has no place for the resolution.

    Args:
        exif: None begins a record; a damaged one is returned as it is.
        width: in pixels.
        height: in pixels.
        resolution: pixels per millimetre, across and down; None leaves what the record says.
    """
    record = bytearray(_EMPTY_RECORD if exif is None else exif)
    try:
        order, offset = _header(BytesIO(record))
        first = _read_directory(BytesIO(record), offset, order)
        place = _pointer(first, _EXIF_DIRECTORY, order)
        if place is not None:
            sides = {_PIXEL_X_DIMENSION: (_LONG, width), _PIXEL_Y_DIMENSION: (_LONG, height)}
            _patch(record, order, place, sides)
        wanted = {} if resolution is None else _resolution_entries(resolution, order)
        if any(first.get(tag) != entry for tag, entry in wanted.items()):
            record += b"\0" * (len(record) % 2)
            end = len(record)
            record += _serialize(wanted, _raw_entries(BytesIO(record), offset, order), end, order)
            struct.pack_into(order + "I", record, 4, end)
    except (ValueError, struct.error):
        return exif or _EMPTY_RECORD
    return bytes(record)


def read_records(file: BinaryIO) -> tuple[bytes | None, bytes | None, tuple[str, ...]]:
    """Collect what a TIFF file says of its picture.

    Returns:
        An EXIF record and IPTC records, None for what there is none of, for both in a BigTIFF; and notes on what
        is left out.
    """
    notes: list[str] = []
    try:
        order, offset = _header(file)
        records = _read_records(file, order, offset)
        first = _read_directory(file, offset, order)
    except (ValueError, struct.error):
        return None, None, ()
    description = records.first.get(_DESCRIPTION)
    if description is not None and (program := _program_of(description.data)):
        del records.first[_DESCRIPTION]
        notes.append(
            f"The description that {program} wrote was left out, for it states the old size or pages."
        )
    iptc = first[_IPTC].data if _IPTC in first else None
    if not (records.first or records.exif or records.gps):
        return None, iptc, tuple(notes)
    start = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", _CLASSIC_TIFF, 0)
    tail, place = _serialize_records(records, {}, len(start))
    return start[:4] + struct.pack(order + "I", place) + tail, iptc, tuple(notes)


def write_records(file: BinaryIO, exif: bytes | None, iptc: bytes | None) -> bool:
    """Add records to a finished TIFF file that is open for reading and writing.

    The file grows at its end: the records, and a new copy of the first directory that points to them.

    Returns:
        False where that cannot be done: the EXIF record is damaged, or the file is a BigTIFF.
    """
    try:
        order, offset = _header(file)
        kept = _raw_entries(file, offset, order)
        records = Records(order, {}, {}, {})
        if exif is not None:
            exif_order, exif_offset = _header(BytesIO(exif))
            records = _read_records(BytesIO(exif), exif_order, exif_offset)
            records = records if exif_order == order else _swapped(records)
    except (ValueError, struct.error):
        return False
    if iptc is not None:
        records.first[_IPTC] = Entry(_UNDEFINED, len(iptc), iptc)
    end = file.seek(0, 2)
    file.write(b"\0" * (end % 2))
    tail, place = _serialize_records(records, kept, end + end % 2)
    file.write(tail)
    file.seek(4)
    file.write(struct.pack(order + "I", place))
    return True


def _program_of(description: bytes) -> str | None:
    """Which program described pages or sizes in a form that other programs read; None for words for people."""
    if description.startswith(b"ImageJ="):
        return "ImageJ"
    if b"<OME " in description[:2000] or b"openmicroscopy.org" in description[:2000]:
        return "OME"
    if description.startswith(b'{"shape"'):
        return "tifffile"
    return None


def _header(file: BinaryIO) -> tuple[Order, int]:
    """Byte order and offset of the first directory; ValueError if this is no classic TIFF structure."""
    file.seek(0)
    start = file.read(8)
    if start[:2] not in (b"II", b"MM") or len(start) < 8:
        raise ValueError("not a TIFF structure")
    order: Order = "<" if start[:2] == b"II" else ">"
    magic, offset = struct.unpack(order + "HI", start[2:])
    if magic != _CLASSIC_TIFF:
        raise ValueError("not a classic TIFF structure")
    return order, offset


def _resolution_entries(resolution: tuple[float, float], order: Order) -> Directory:
    """XResolution, YResolution and ResolutionUnit (inches) for pixels per millimetre."""
    ratios = [Fraction(25.4 * side).limit_denominator(1000) for side in resolution]
    across, down = (
        Entry(_RATIONAL, 1, struct.pack(order + "II", ratio.numerator, ratio.denominator)) for ratio in ratios
    )
    return {
        _X_RESOLUTION: across,
        _Y_RESOLUTION: down,
        _RESOLUTION_UNIT: Entry(_SHORT, 1, struct.pack(order + "H", 2)),
    }


def _patch(record: bytearray, order: Order, offset: int, values: Mapping[int, tuple[int, int]]) -> None:
    """Overwrite entries that are there with one value each, given as (field type, value)."""
    (count,) = struct.unpack_from(order + "H", record, offset)
    for start in range(offset + 2, offset + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from(order + "H", record, start)
        if tag in values:
            kind, value = values[tag]
            data = struct.pack(order + ("H2x" if kind == _SHORT else "I"), value)
            struct.pack_into(order + "HI4s", record, start + 2, kind, 1, data)


def _raw_entries(file: BinaryIO, offset: int, order: Order) -> dict[int, bytes]:
    """Entries of a directory as they stand, 12 bytes by tag; longer values stay where they are."""
    file.seek(offset)
    (count,) = struct.unpack(order + "H", file.read(2))
    table = file.read(12 * count)
    if len(table) < 12 * count:
        raise ValueError("directory cut short")
    entries = (table[start : start + 12] for start in range(0, len(table), 12))
    return {struct.unpack(order + "H", entry[:2])[0]: entry for entry in entries}


def _read_directory(file: BinaryIO, offset: int, order: Order) -> Directory:
    """Entries of a directory with their values; those of unknown type or pointing elsewhere are left out."""
    directory: Directory = {}
    for tag, raw in _raw_entries(file, offset, order).items():
        kind, count = struct.unpack(order + "HI", raw[2:8])
        size = VALUE_BYTES.get(kind, 0) * count
        if not 0 < size <= _MAX_VALUE_BYTES or tag == _INTEROPERABILITY_DIRECTORY:
            continue
        data = raw[8 : 8 + size]
        if size > 4:
            file.seek(struct.unpack(order + "I", raw[8:])[0])
            data = file.read(size)
        if len(data) == size:
            directory[tag] = Entry(kind, count, data)
    return directory


def _pointer(directory: Directory, tag: int, order: Order) -> int | None:
    """Offset of the directory that `tag` points to."""
    if tag not in directory or len(directory[tag].data) != 4:
        return None
    (place,) = struct.unpack(order + "I", directory[tag].data)
    return place


def _read_records(file: BinaryIO, order: Order, offset: int) -> Records:
    first = _read_directory(file, offset, order)
    places = [_pointer(first, tag, order) for tag in (_EXIF_DIRECTORY, _GPS_DIRECTORY)]
    exif, gps = ({} if place is None else _read_directory(file, place, order) for place in places)
    return Records(order, {tag: first[tag] for tag in _DESCRIPTIVE if tag in first}, exif, gps)


def _swapped(records: Records) -> Records:
    """Turn all values into the other byte order."""

    def swap(directory: Directory) -> Directory:
        turned: Directory = {}
        for tag, (kind, count, data) in directory.items():
            # Byte order applies to each of the two numbers of a ratio.
            unit = 4 if kind in (_RATIONAL, _SIGNED_RATIONAL) else VALUE_BYTES[kind]
            parts = (data[start : start + unit][::-1] for start in range(0, len(data), unit))
            turned[tag] = Entry(kind, count, b"".join(parts))
        return turned

    order: Order = ">" if records.order == "<" else "<"
    return Records(order, swap(records.first), swap(records.exif), swap(records.gps))


def _serialize_records(records: Records, kept: Mapping[int, bytes], start: int) -> tuple[bytes, int]:
    """Lay out directories, the first one last, because it points to the others.

    Args:
        records: entries; in the first directory they win over kept ones.
        kept: raw entries of the first directory whose values already are in place.
        start: offset in the file at which the bytes will stand, even.

    Returns:
        The bytes, and the offset of the first directory.
    """
    tail = b""
    pointers: Directory = {}
    for tag, part in ((_EXIF_DIRECTORY, records.exif), (_GPS_DIRECTORY, records.gps)):
        if part:
            pointers[tag] = Entry(_LONG, 1, struct.pack(records.order + "I", start + len(tail)))
            tail += _serialize(part, {}, start + len(tail), records.order)
    place = start + len(tail)
    return tail + _serialize(records.first | pointers, kept, place, records.order), place


def _serialize(directory: Directory, kept: Mapping[int, bytes], start: int, order: Order) -> bytes:
    """One directory and its values, an even number of bytes, to stand at offset `start`."""
    tags = sorted(directory.keys() | kept.keys())
    table = struct.pack(order + "H", len(tags))
    values = b""
    values_start = start + 2 + 12 * len(tags) + 4
    for tag in tags:
        if tag not in directory:
            table += kept[tag]
            continue
        kind, count, data = directory[tag]
        table += struct.pack(order + "HHI", tag, kind, count)
        if len(data) <= 4:
            table += data.ljust(4, b"\0")
        else:
            table += struct.pack(order + "I", values_start + len(values))
            values += data + b"\0" * (len(data) % 2)
    return table + struct.pack(order + "I", 0) + values
