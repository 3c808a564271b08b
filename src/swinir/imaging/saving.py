"""How libvips writes a picture that comes in rows, and what stands in for it where rows are very long."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyvips

from swinir.imaging.encode import options_to_save, with_metadata
from swinir.imaging.formats import JPEG, PNG, TIFF, Format
from swinir.imaging.image import Image
from swinir.imaging.row_encoders import Raster, RowEncoder, VipsEncoder
from swinir.imaging.tiff_column import TILE_PX
from swinir.imaging.wide_deep_zoom import WideDeepZoom
from swinir.imaging.wide_png import WidePng
from swinir.imaging.wide_tiff import PyramidSaves, WidePyramid, WideTiff, has_smaller
from swinir.options import TiffLayout

_TILES = {"tile": True, "tile_width": TILE_PX, "tile_height": TILE_PX}
# The tiles of a wide file, one below the other.
_COLUMN = {"tile_height": TILE_PX}
# The sizes of a pyramid take a third more together, and tiles reach beyond the picture.
_MOST_BYTES_OF_CLASSIC_TILES = 2**31


@dataclass(frozen=True, kw_only=True)
class Saving:
    """Writes pictures by libvips, in one format and with the same metadata.

    Attributes:
        file_format: of the files, or of the tiles of a Deep Zoom picture.
        is_deep_zoom: whether it is one.
        described: what the metadata says.
        quality: as of ``ImageWriter``.
        bits: of a value.
        num_bytes: of all pixels.
        notes: grows where something cannot be held.
    """

    file_format: Format
    is_deep_zoom: bool
    described: Image
    quality: int | None
    bits: int
    num_bytes: int
    notes: list[str]

    def encoder(self, path: Path, raster: Raster, *, layout: TiffLayout, folder: Path) -> RowEncoder:
        """Choose what writes the rows: libvips, or where it would hold too much of them what needs less.

        Args:
            path: of the file, or of a Deep Zoom picture without suffix.
            raster: what comes.
            layout: of a TIFF file.
            folder: for what is kept on the disk meanwhile.
        """
        options = self._options(raster.like)
        if self.is_deep_zoom and raster.is_wide:
            save, save_tile = partial(self._save, options, path=path), partial(self._save_tile, options)
            return WideDeepZoom(path, save, save_tile, raster, folder)
        if self.file_format is TIFF and layout is TiffLayout.PYRAMID:
            return self._pyramid(path, options, raster, folder)
        if self.file_format is TIFF and raster.is_wide:
            return WideTiff(path, partial(self._save, options, **_COLUMN), raster, folder)
        if self.file_format is PNG and raster.is_wide:
            model = self._with_metadata(raster.like).pngsave_buffer(**options)
            return WidePng(path, model, raster.height, raster.width)
        if self.file_format is TIFF and layout is TiffLayout.TILES:
            options |= {**_TILES, "bigtiff": self._is_big(options)}
        return VipsEncoder(partial(self._save, options, path=path), raster)

    def _pyramid(self, path: Path, options: dict[str, Any], raster: Raster, folder: Path) -> RowEncoder:
        save, save_bare = partial(self._save, options), partial(self._save_bare, options)
        rest = {**_TILES, "pyramid": True}
        if not (raster.is_wide and has_smaller(raster)):
            return VipsEncoder(partial(save, path=path, **rest, bigtiff=self._is_big(options)), raster)
        column = {**_COLUMN, "bigtiff": True}
        saves = PyramidSaves(
            partial(save, **column), partial(save_bare, **column), partial(save_bare, **rest, bigtiff=True)
        )
        return WidePyramid(path, saves, raster, folder)

    def _is_big(self, options: dict[str, Any]) -> bool:
        return options["bigtiff"] or self.num_bytes > _MOST_BYTES_OF_CLASSIC_TILES

    def _options(self, like: pyvips.Image) -> dict[str, Any]:
        if self.is_deep_zoom:
            lossy = f".jpg[Q={self.quality or JPEG.default_quality}]"
            suffix = lossy if self.file_format is JPEG else ".png"
            return {"suffix": suffix, "keep": pyvips.enums.ForeignKeep.ICC}
        return options_to_save(
            self.described,
            like,
            self.file_format,
            quality=self.quality,
            bits=self.bits,
            num_bytes=self.num_bytes,
        )

    def _with_metadata(self, image: pyvips.Image) -> pyvips.Image:
        return with_metadata(image, self.described, self.file_format, self.notes)

    def _save(self, options: dict[str, Any], image: pyvips.Image, path: Path, **changes: Any) -> None:
        operation = "dz" if self.is_deep_zoom else self.file_format.operation
        getattr(self._with_metadata(image), operation + "save")(os.fsencode(path), **{**options, **changes})

    def _save_bare(self, options: dict[str, Any], image: pyvips.Image, path: Path, **changes: Any) -> None:
        """Write without metadata."""
        bare = {**options, "keep": pyvips.enums.ForeignKeep.NONE, **changes}
        getattr(image, self.file_format.operation + "save")(os.fsencode(path), **bare)

    def _save_tile(self, options: dict[str, Any], image: pyvips.Image, path: Path) -> None:
        """Write one tile of a Deep Zoom picture as libvips does."""
        # What cannot be held is noted once, of the whole.
        described = with_metadata(image, self.described, self.file_format, [])
        described.write_to_file(os.fsencode(path) + options["suffix"].encode(), keep=options["keep"])
