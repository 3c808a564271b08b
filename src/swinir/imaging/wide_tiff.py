"""TIFF files of very long rows, and pyramids of them, which libvips writes as narrow columns of tiles."""

import os
import shutil
import struct
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
import pyvips
from numpy.typing import NDArray

from swinir.imaging.halving import HalvedRows
from swinir.imaging.limits import NO_LIMITS
from swinir.imaging.row_encoders import Raster, RowEncoder, VipsEncoder
from swinir.imaging.tiff_column import TILE_PX, TileColumn, state_tiles
from swinir.imaging.tiff_directories import pack_directory, pack_entry, pack_number
from swinir.imaging.tiff_pages import Layout, Page, Tag, read_numbers, read_pages

_LONG8 = 16
_REDUCED = 1


class Save(Protocol):
    """Writes a picture to a path."""

    def __call__(self, image: pyvips.Image, path: Path) -> None:
        """Write it."""
        ...


class PyramidSaves(NamedTuple):
    """What writes the sizes of a pyramid.

    Attributes:
        whole: the picture; see ``WideTiff``.
        smaller: the same of a smaller one, without metadata.
        rest: the first that is narrow, and those below it, as a pyramid.
    """

    whole: Save
    smaller: Save
    rest: Save


class WideTiff:
    """A file of tiles.

    Args:
        path: of the file.
        save: writes a picture as a TIFF file of strips that are as high as tiles.
        raster: what comes.
        folder: for a row of tiles.
    """

    def __init__(self, path: Path, save: Save, raster: Raster, folder: Path) -> None:
        self._path, self._raster = path, raster
        self._column = TileColumn(raster.height, raster.width, raster.values, raster.dtype, folder)
        column = replace(raster, height=self._column.height, width=self._column.width)
        self._encoder = VipsEncoder(partial(save, path=path), column)

    def put(self, rows: NDArray[Any]) -> None:
        """Write rows [rows, width · values]."""
        for part in self._column.add(rows):
            self._encoder.put(part)

    def finish(self) -> None:
        """Let the strips of the column be tiles."""
        self._encoder.finish()
        state_tiles(self._path, self._raster.height, self._raster.width)
        self._column.close()

    def stop(self) -> None:
        """Give memory and disk back."""
        self._encoder.stop()
        self._column.close()


class WidePyramid:
    """A BigTIFF file of a picture and its smaller sizes, each half the one before.

    Args:
        path: of the file.
        saves: write the sizes.
        raster: what comes; it has smaller sizes.
        folder: for smaller sizes until all are there, and rows of tiles.
    """

    def __init__(self, path: Path, saves: PyramidSaves, raster: Raster, folder: Path) -> None:
        self._path = path
        self._smaller: list[Path] = []
        self._levels: list[RowEncoder] = []
        self._halvings: list[HalvedRows] = []
        save = saves.whole
        while raster.is_wide and has_smaller(raster):
            self._levels.append(WideTiff(path, save, raster, folder))
            halving = HalvedRows(raster.height, raster.width, raster.values, rounds_up=False)
            self._halvings.append(halving)
            raster = replace(raster, height=halving.height, width=halving.width)
            path, save = folder / f"{self._path.name}.{len(self._levels)}", saves.smaller
            self._smaller.append(path)
        self._levels.append(VipsEncoder(partial(saves.rest, path=path), raster))

    def put(self, rows: NDArray[Any]) -> None:
        """Write rows [rows, width · values]."""
        for level, halving in zip(self._levels, self._halvings, strict=False):
            level.put(rows)
            rows = halving.add(rows)
        self._levels[-1].put(rows)

    def finish(self) -> None:
        """Put the smaller sizes behind the picture."""
        for level in self._levels:
            level.finish()
        for path in self._smaller:
            append_pages(self._path, path)
            path.unlink()

    def stop(self) -> None:
        """Give memory and disk back."""
        for level in self._levels:
            level.stop()
        for path in self._smaller:
            path.unlink(missing_ok=True)


def has_smaller(raster: Raster) -> bool:
    """Tell whether libvips has a smaller size below this one."""
    return max(raster.height, raster.width) > TILE_PX and min(raster.height, raster.width) > 1


def append_pages(path: Path, other: Path) -> None:
    """Append the pages of another BigTIFF file, of the same byte order, as smaller sizes of the last page."""
    with path.open("r+b") as target, other.open("rb") as source:
        read, found = (read_pages(file, os.fspath(path), NO_LIMITS) for file in (target, source))
        assert read is not None
        assert found is not None
        layout, pages = read
        link = _place_of_link(layout, pages[-1])
        shift = _aligned(target)
        source.seek(0)
        shutil.copyfileobj(source, target)
        for page in found[1]:
            directory = _moved(source, target, layout, page, shift)
            place = _aligned(target)
            target.write(directory)
            target.seek(link)
            target.write(struct.pack(layout.offset, place))
            link = place + len(directory) - struct.calcsize(layout.offset)


def _aligned(file: BinaryIO) -> int:
    """Go to the end of a file, where offsets may point, and return the place."""
    end = file.seek(0, os.SEEK_END)
    file.write(b"\0" * (-end % 8))
    return file.tell()


def _place_of_link(layout: Layout, page: Page) -> int:
    """Return where a directory says which one is next: behind its entries."""
    return max(field.place for field in page.fields.values()) + layout.entry_bytes


def _moved(source: BinaryIO, target: BinaryIO, layout: Layout, page: Page, shift: int) -> bytes:
    """Return the directory of a smaller size whose file now begins at another place; offsets are written at once."""
    room = struct.calcsize(layout.offset)
    entries = {int(Tag.SUBFILE_TYPE): pack_number(layout, _REDUCED)}
    for tag, field in page.fields.items():
        if tag in (Tag.STRIP_OFFSETS, Tag.TILE_OFFSETS):
            offsets = read_numbers(source, layout, page, Tag(tag)) + np.uint64(shift)
            packed = offsets.astype(layout.order + "u8").tobytes()
            if len(packed) > room:
                place = _aligned(target)
                target.write(packed)
                packed = struct.pack(layout.offset, place)
            entries[tag] = pack_entry(layout, _LONG8, len(offsets), packed)
        elif tag != Tag.SUBFILE_TYPE:
            source.seek(field.place)
            entry = source.read(layout.entry_bytes)
            if field.num_bytes > room:
                (place,) = struct.unpack(layout.offset, entry[-room:])
                entry = entry[:-room] + struct.pack(layout.offset, place + shift)
            entries[tag] = entry[2:]
    return pack_directory(layout, entries)
