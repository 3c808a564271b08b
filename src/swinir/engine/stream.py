"""Pictures of any size: tiles are taken from rows as they are read, finished rows are given away at once."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from swinir import imaging
from swinir.engine import memory, tiling
from swinir.engine.budget import TileBatch
from swinir.engine.executor import RestoredTiles, TileExecutor
from swinir.engine.forward import OnLayers
from swinir.engine.pixels import (
    SCALED,
    UNIT_SPAN,
    network_input,
    restored_pixels,
    scale_back,
    scale_from,
    span_of_range,
)
from swinir.engine.transparency import SpreadRows

# Rows above a band that bicubic interpolation of its first row looks at, and one more.
_MARGIN_ROWS = 3
# What all that is held beside tiles takes at most: rows of the picture and of the result, and encoders.
BUFFER_BYTES = 400_000_000


@runtime_checkable
class RowSource(Protocol):
    """A picture whose rows are taken from top to bottom, such as an ``imaging.ImageReader``."""

    header: imaging.Header

    def rows(self, top: int, bottom: int) -> imaging.Band:
        """Return the rows from ``top`` up to, and without, ``bottom``."""
        ...


@dataclass(frozen=True, kw_only=True)
class StreamPlan:
    """How a picture goes through the network. A row of tiles makes a band of the result.

    Attributes:
        source: what is restored.
        load: its tiles, and how many go through the network at once.
        scale: how many times larger the result is.
        in_channels: of the network.
    """

    source: imaging.Header
    load: TileBatch
    scale: int
    in_channels: int

    @property
    def header(self) -> imaging.Header:
        """What the restored picture is."""
        source = self.source
        return replace(source, height=source.height * self.scale, width=source.width * self.scale)

    @property
    def num_bands(self) -> int:
        """Rows of tiles."""
        return len(self.load.plan.rows.origins)

    def band_rows(self, index: int) -> tuple[int, int]:
        """Return the first row of a band in the result, and the one behind its last."""
        # The first tiles may begin before the picture.
        origins = (0, *self.load.plan.rows.origins[1:], self.source.height)
        return origins[index] * self.scale, origins[index + 1] * self.scale

    @property
    def span(self) -> tuple[float, float]:
        """Values of the source that are 0 and 1 for the network."""
        return span_of_range(*self.source.value_range, self.source.dtype)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should read of the source and how it is restored."""
        notes = self.source.template.notes
        return notes if self.span == UNIT_SPAN or SCALED in notes else (*notes, SCALED)

    @property
    def restores_luma_only(self) -> bool:
        """Whether the colours are those of the source, enlarged."""
        return self.in_channels == 1 and self.source.channels == 3


class TileRestorer:
    """Restores tiles in order; a shortage of memory makes the next ones smaller, and nothing is done again.

    Args:
        executor: where the network runs.
        check: raises for results that are not finite.
        restore_smaller: restores one tile [h, w, c] of floats in pieces that fit.
    """

    def __init__(
        self,
        executor: TileExecutor,
        check: Callable[[RestoredTiles], None],
        restore_smaller: Callable[[Float32[np.ndarray, "h w c"]], Float32[np.ndarray, "sh sw c"]],
    ) -> None:
        self._executor = executor
        self._check = check
        self._restore_smaller = restore_smaller
        self._is_short = False

    def restore(
        self, tiles: Iterable[Float32[np.ndarray, "h w c"]], batch: int, on_layers: OnLayers | None
    ) -> Iterator[Float32[np.ndarray, "sh sw c"]]:
        """Yield the restoration of each tile."""
        waiting: deque[tuple[list[Any], Callable[[], RestoredTiles] | None]] = deque()
        remaining = iter(tiles)
        while group := list(islice(remaining, batch)):
            waiting.append((group, self._send(group, on_layers)))
            if len(waiting) == self._executor.max_in_flight:
                yield from self._results(*waiting.popleft())
        while waiting:
            yield from self._results(*waiting.popleft())

    def _send(
        self, group: list[Float32[np.ndarray, "h w c"]], on_layers: OnLayers | None
    ) -> Callable[[], RestoredTiles] | None:
        """Start to restore a group; None where there is no memory for it."""
        if self._is_short:
            return None
        try:
            return self._executor.send(group, on_layers)
        except (RuntimeError, MemoryError) as error:
            memory.shortage_in(error)
            self._is_short = True
            return None

    def _results(
        self, group: list[Float32[np.ndarray, "h w c"]], result: Callable[[], RestoredTiles] | None
    ) -> Iterator[Float32[np.ndarray, "sh sw c"]]:
        if result is not None:
            try:
                restored = result()
            except (RuntimeError, MemoryError) as error:
                memory.shortage_in(error)
                self._is_short = True
            else:
                self._check(restored)
                yield from restored.tiles
                return
        for tile in group:
            yield self._restore_smaller(tile)


RestoreTiles = Callable[
    [Iterable[Float32[np.ndarray, "h w c"]], int], Iterator[Float32[np.ndarray, "sh sw c"]]
]


def restore_bands(
    plan: StreamPlan,
    source: RowSource,
    restore_tiles: RestoreTiles,
    *,
    bands: range,
    folder: Path | None = None,
) -> Iterator[tuple[int, imaging.Band]]:
    """Restore bands of a picture that follow each other.

    Args:
        plan: how.
        source: its rows; those above the first band are skipped.
        restore_tiles: restores tiles, so many at once, and yields them in order.
        bands: which.
        folder: for what does not fit the memory; None for the system's place for temporary files.

    Yields:
        The number of a band and some of its rows, from top to bottom; valid until the next ones are asked for.
    """
    if not bands:
        return
    cut = plan.load.plan
    if plan.span != UNIT_SPAN:
        source = _ScaledRows(source, plan.span)
    window = _Window(SpreadRows(source) if source.header.has_alpha else source, folder)

    def tiles() -> Iterator[Float32[np.ndarray, "sh sw c"]]:
        for index in range(tiling.first_row_of_tiles(cut, bands.start), bands.stop):
            rows = cut.rows.positions(cut.rows.origins[index])
            window.move(max(0, min(rows) - _MARGIN_ROWS), max(rows) + 1)
            inputs = (
                network_input(window.tile(rows, cut.columns.positions(left)), plan.in_channels)
                for left in cut.columns.origins
            )
            yield from restore_tiles(inputs, plan.load.batch)

    blocks = tiling.blend(cut, tiles(), plan.scale, rows=bands, folder=folder)
    try:
        for index in bands:
            with closing(_Canvas(plan, window, index, folder)) as canvas:
                for block in islice(blocks, len(cut.columns.origins)):
                    canvas.paint(block)
                for band in canvas.bands():
                    yield index, band
    finally:
        blocks.close()
        window.close()


class _ScaledRows:
    """Rows whose colours are scaled from a span of values to 0 to 1."""

    def __init__(self, source: RowSource, span: tuple[float, float]) -> None:
        self.header = source.header
        self._source = source
        self._span = span

    def rows(self, top: int, bottom: int) -> imaging.Band:
        """Return the rows from ``top`` up to, and without, ``bottom``."""
        band = self._source.rows(top, bottom)
        return imaging.Band(scale_from(band.pixels, self._span), band.alpha)


class _Canvas:
    """One band of the result, painted block by block, then taken in pieces."""

    def __init__(self, plan: StreamPlan, window: "_Window", index: int, folder: Path | None) -> None:
        self._plan = plan
        self._window = window
        self._top, self._bottom = plan.band_rows(index)
        header = plan.header
        # Colours are joined with the luma when all of it is there.
        kind = (1, np.dtype(np.float32)) if plan.restores_luma_only else (header.channels, header.dtype)
        self._spool = imaging.Spool(self._bottom - self._top, header.width, *kind, folder=folder)

    def paint(self, block: tiling.Block) -> None:
        restored = block.pixels
        if self._plan.source.is_grey and not self._plan.restores_luma_only:
            restored = restored_pixels(restored, None, self._spool.like[:, :, :1]).repeat(3, axis=2)
        elif not self._plan.restores_luma_only:
            restored = restored_pixels(restored, None, self._spool.like)
        self._spool.write(block.top - self._top, block.left, restored)

    def bands(self) -> Iterator[imaging.Band]:
        """Yield the rows that are painted, with alpha."""
        header = self._plan.header
        step = imaging.rows_of_band(header.row_bytes)
        for top in range(self._top, self._bottom, step):
            bottom = min(top + step, self._bottom)
            pixels = self._spool.read(top - self._top, bottom - self._top)
            if self._plan.restores_luma_only:
                colours = self._enlarged(top, bottom, slice(0, header.channels))
                pixels = restored_pixels(pixels, colours, colours)
            alpha = None
            if header.has_alpha:
                alpha = self._enlarged(top, bottom, header.channels)
                alpha = alpha.clip(0, 1) if alpha.dtype == np.float32 else alpha
            if self._plan.span != UNIT_SPAN:
                pixels = scale_back(pixels, self._plan.span)
            yield imaging.Band(pixels, alpha)

    def close(self) -> None:
        self._spool.close()

    def _enlarged(self, top: int, bottom: int, channels: int | slice) -> NDArray[Any]:
        """Enlarge channels of the source by bicubic."""
        scale, height = self._plan.scale, self._plan.source.height
        if scale == 1:
            return self._window.rows(top, bottom)[:, :, channels]
        first, stop = imaging.rows_needed(top, bottom, scale, height)
        rows = np.ascontiguousarray(self._window.rows(first, stop)[:, :, channels])
        return imaging.resize_rows(rows, top, bottom, scale, source_top=first, source_height=height)


class _Window:
    """Rows of the source that tiles are taken from, colours and alpha together; it moves down."""

    def __init__(self, source: RowSource, folder: Path | None) -> None:
        self._source = source
        self._folder = folder
        self._top = self._bottom = 0
        self._spool: imaging.Spool | None = None

    def move(self, top: int, bottom: int) -> None:
        """Show the rows from ``top`` to ``bottom``, both no higher than before."""
        header = self._source.header
        moved = imaging.Spool(bottom - top, header.width, header.values, header.dtype, folder=self._folder)
        step = imaging.rows_of_band(header.row_bytes)
        for first in range(top, self._bottom, step):
            moved.write(first - top, 0, self.rows(first, min(first + step, self._bottom)))
        for first in range(max(top, self._bottom), bottom, step):
            moved.write(first - top, 0, self._source.rows(first, min(first + step, bottom)).joined())
        self.close()
        self._spool, self._top, self._bottom = moved, top, bottom

    def rows(self, top: int, bottom: int) -> NDArray[Any]:
        """Return rows that are shown."""
        assert self._spool is not None
        return self._spool.read(top - self._top, bottom - self._top)

    def tile(self, rows: list[int], columns: list[int]) -> NDArray[Any]:
        """Return the colours at these rows and columns, in this order."""
        assert self._spool is not None
        top, left = min(rows), min(columns)
        block = self._spool.read(top - self._top, max(rows) + 1 - self._top, left, max(columns) + 1)
        place = np.ix_([row - top for row in rows], [column - left for column in columns])
        return block[:, :, : self._source.header.channels][place]

    def close(self) -> None:
        """Give the rows up."""
        if self._spool is not None:
            self._spool.close()
        self._spool = None
