"""Directories of TIFF files, packed: those of files on the disk with some fields changed. TIFF 6.0, section 2."""

import os
import struct
from collections.abc import Mapping, Set
from typing import BinaryIO

import pyvips

from swinir.imaging.tiff_pages import Layout, Page, Tag

_LONG, _LONG8 = 4, 16
# Of a file that is overlaid: the rest is for a strip and a directory.
_MOST_CLASSIC_BYTES = 2**32 - 2**28


def can_be_overlaid(layout: Layout, num_bytes: int) -> bool:
    """Tell whether a file of this length has room for a directory behind it: offsets may have 32 bits."""
    return layout.is_big or num_bytes < _MOST_CLASSIC_BYTES


def pack_header(layout: Layout, place: int) -> bytes:
    """Pack the head of a file whose first directory is at ``place``."""
    mark = b"II" if layout.order == "<" else b"MM"
    if layout.is_big:
        return mark + struct.pack(layout.order + "HHHQ", 43, 8, 0, place)
    return mark + struct.pack(layout.order + "HI", 42, place)


def pack_entry(layout: Layout, kind: int, num_values: int, value: bytes) -> bytes:
    """Pack an entry without its tag: the values themselves where they fit, else their place."""
    room = struct.calcsize(layout.offset)
    return (
        struct.pack(layout.order + "H", kind)
        + struct.pack(layout.offset, num_values)
        + value.ljust(room, b"\0")
    )


def pack_number(layout: Layout, number: int) -> bytes:
    """Pack an entry of one number, without its tag; only a BigTIFF holds one of more than 32 bits."""
    kind, form = (_LONG, "I") if number < 2**32 else (_LONG8, "Q")
    return pack_entry(layout, kind, 1, struct.pack(layout.order + form, number))


def pack_directory(layout: Layout, entries: Mapping[int, bytes], following: int = 0) -> bytes:
    """Pack entries, each behind its tag, and the place of the directory that follows; 0 for none."""
    table = b"".join(struct.pack(layout.order + "H", tag) + entries[tag] for tag in sorted(entries))
    count = struct.pack(layout.order + ("Q" if layout.is_big else "H"), len(entries))
    return count + table + struct.pack(layout.offset, following)


def changed_directory(
    file: BinaryIO,
    layout: Layout,
    page: Page,
    *,
    stated: Mapping[Tag, int],
    renamed: Mapping[Tag, Tag] | None = None,
    dropped: Set[Tag] = frozenset(),
) -> bytes:
    """Pack the directory of a page with some of its fields changed; long values stay where they are.

    Args:
        file: the TIFF file.
        layout: of its numbers.
        page: a directory of it.
        stated: fields of one number that take the place of others.
        renamed: fields whose tags become others.
        dropped: fields that are left out.
    """
    renamed = renamed or {}
    entries: dict[int, bytes] = {}
    for tag, field in page.fields.items():
        if tag not in dropped:
            file.seek(field.place)
            entry = file.read(layout.entry_bytes)
            entries[renamed.get(Tag(tag), tag) if tag in set(Tag) else tag] = entry[2:]
    entries |= {int(tag): pack_number(layout, number) for tag, number in stated.items()}
    return pack_directory(layout, entries)


class OverlaidTiff:
    """A page of a TIFF file as libvips reads it with another directory, which stands behind the file for it.

    ``image`` is good as long as this lives: libvips does not keep what it calls.

    Args:
        file: the TIFF file, which stays open and is read at any place.
        layout: of its numbers.
        page: a directory of it.
        stated, renamed, dropped: as of ``changed_directory``.
        strip: data of the only strip, if it is not one of the file's.

    Raises:
        pyvips.Error: the file is damaged.
    """

    def __init__(
        self,
        file: BinaryIO,
        layout: Layout,
        page: Page,
        *,
        stated: Mapping[Tag, int],
        renamed: Mapping[Tag, Tag] | None = None,
        dropped: Set[Tag] = frozenset(),
        strip: bytes = b"",
    ) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        start = self._size + self._size % 2
        if strip:
            stated = {**stated, Tag.STRIP_OFFSETS: start, Tag.STRIP_BYTES: len(strip)}
        padding = b"\0" * (len(strip) % 2)
        directory = changed_directory(file, layout, page, stated=stated, renamed=renamed, dropped=dropped)
        self._header = pack_header(layout, start + len(strip) + len(padding))
        self._end = b"".join((b"\0" * (self._size % 2), strip, padding, directory))
        self._position = 0
        source = pyvips.SourceCustom()
        source.on_read(self._read)
        source.on_seek(self._seek)
        # It calls this, and this holds it: only ``close`` ends that at once.
        self._source: pyvips.SourceCustom | None = source
        self.image: pyvips.Image = pyvips.Image.tiffload_source(
            source, access="sequential", fail_on="error", unlimited=True
        )

    def close(self) -> None:
        """Give back what libvips holds once ``image`` is nowhere else."""
        self._source = None
        del self.image

    def _read(self, num_bytes: int) -> bytes:
        start = self._position
        if start < len(self._header):
            data = self._header[start : start + num_bytes]
        elif start < self._size:
            self._file.seek(start)
            data = self._file.read(num_bytes)
        else:
            place = start - self._size
            data = self._end[place : place + num_bytes]
        self._position += len(data)
        return data

    def _seek(self, offset: int, whence: int) -> int:
        base = (0, self._position, self._size + len(self._end))[whence]
        self._position = base + offset
        return self._position
