"""Deep Zoom pictures of very long rows, whose large sizes are cut into tiles here and whose others are by libvips.

Layout: Deep Zoom's, as libvips writes it: sizes are numbered from that of one pixel up, tiles overlap by a pixel.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from swinir.imaging.halving import HalvedRows
from swinir.imaging.row_encoders import Raster, VipsEncoder
from swinir.imaging.spool import Spool

TILE_PX, OVERLAP_PX = 254, 1


class WideDeepZoom:
    """A description and a folder of tiles.

    Args:
        path: of the description, without suffix; the tiles go into a folder beside it.
        save: writes a picture and its smaller ones by libvips, to ``path``.
        save_tile: writes one tile to a path without suffix.
        raster: what comes.
        folder: for rows of tiles.
    """

    def __init__(
        self,
        path: Path,
        save: Callable[[pyvips.Image], None],
        save_tile: Callable[[pyvips.Image, Path], None],
        raster: Raster,
        folder: Path,
    ) -> None:
        self._path = path
        self._size = raster.height, raster.width
        self._levels: list[_Level] = []
        self._halvings: list[HalvedRows] = []
        number = (max(self._size) - 1).bit_length()
        while raster.is_wide and max(raster.height, raster.width) > TILE_PX:
            level = path.with_name(f"{path.name}_files") / str(number)
            self._levels.append(_Level(level, save_tile, raster, folder))
            halving = HalvedRows(raster.height, raster.width, raster.values, rounds_up=True)
            self._halvings.append(halving)
            raster = replace(raster, height=halving.height, width=halving.width)
            number -= 1
        self._rest = VipsEncoder(save, raster)

    def put(self, rows: NDArray[Any]) -> None:
        """Write rows [rows, width · values]."""
        for level, halving in zip(self._levels, self._halvings, strict=True):
            level.put(rows)
            rows = halving.add(rows)
        self._rest.put(rows)

    def finish(self) -> None:
        """Write the smaller sizes, and the description."""
        self._rest.finish()
        description = self._path.with_name(f"{self._path.name}.dzi")
        text = description.read_text(encoding="utf-8")
        for side, px in zip(("Height", "Width"), self._size, strict=True):
            text = re.sub(rf'\b{side}="\d+"', f'{side}="{px}"', text)
        description.write_text(text, encoding="utf-8")
        self._close()

    def stop(self) -> None:
        """Give memory and disk back."""
        self._rest.stop()
        self._close()

    def _close(self) -> None:
        for level in self._levels:
            level.close()


class _Level:
    """One size of the picture: its rows are kept until they make a row of tiles."""

    def __init__(
        self, folder: Path, save_tile: Callable[[pyvips.Image, Path], None], raster: Raster, place: Path
    ) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._save_tile = save_tile
        self._raster = raster
        self._height, self._width = raster.height, raster.width
        self._spool = Spool(TILE_PX + 2 * OVERLAP_PX, raster.width, raster.values, raster.dtype, folder=place)
        self._top = self._bottom = 0
        self._number = 0

    def put(self, rows: NDArray[Any]) -> None:
        while len(rows):
            wanted = min((self._number + 1) * TILE_PX + OVERLAP_PX, self._height) - self._bottom
            part, rows = rows[:wanted], rows[wanted:]
            self._keep(part.reshape(len(part), self._width, -1))
            if len(part) == wanted:
                self._write_tiles()
        # What the last row of tiles shares with the one above it can be all that it has.
        if self._bottom == self._height and self._number * TILE_PX < self._height:
            self._write_tiles()

    def close(self) -> None:
        self._spool.close()

    def _keep(self, rows: NDArray[Any]) -> None:
        self._spool.write(self._bottom - self._top, 0, rows)
        self._bottom += len(rows)

    def _write_tiles(self) -> None:
        """Write one row of tiles, and keep what the next one shares with it."""
        num_rows = self._bottom - self._top
        for column, start in enumerate(range(0, self._width, TILE_PX)):
            left, right = max(0, start - OVERLAP_PX), min(start + TILE_PX + OVERLAP_PX, self._width)
            pixels = np.ascontiguousarray(self._spool.read(0, num_rows, left, right))
            self._save_tile(
                self._raster.of(pyvips.Image.new_from_array(pixels)),
                self._folder / f"{column}_{self._number}",
            )
        self._number += 1
        top = self._number * TILE_PX - OVERLAP_PX
        if top < self._bottom:
            shared = self._spool.read(top - self._top, num_rows)
            self._spool.write(0, 0, shared)
        self._top = top
