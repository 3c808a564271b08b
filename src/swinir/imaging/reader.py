"""Pictures read from top to bottom, a band of rows at a time: any size in the memory of a few rows."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from swinir.errors import ImageReadError, UsageError
from swinir.imaging.band import Band, rows_of_band
from swinir.imaging.formats import GIF, Format
from swinir.imaging.io import damage_as_errors, read, recognize
from swinir.imaging.limits import Limits
from swinir.imaging.opening import Opened, open_file
from swinir.imaging.rows import StoredRows, WholeRows, whole_limits
from swinir.imaging.salvage import find_damage
from swinir.imaging.source import open_source
from swinir.imaging.spooled_rows import SpooledRows
from swinir.imaging.tiff_samples import needs_unpacking

# Against files that are made to work for ever, for pictures of which only some rows are in memory.
STREAM_LIMITS = Limits(
    # Deflate makes 1,030 bytes of one at most.
    max_pixels=2**36,
    max_side_px=2**27,
    max_file_bytes=2**42,
    max_total_pixels=2**36,
    max_expansion=800,
)


class ImageReader:
    """A picture, upright, whose rows are taken from top to bottom.

    Where the file keeps rows in another order (EXIF orientations 3 to 8), all pixels pass through a file on the
    disk. Floats are read twice, for what is said of their range. What only decodes whole (GIF, interlaced PNG,
    progressive JPEG, WebP, AVIF, formats of other packages) takes the memory that its decoder does, and is held to
    the limits of pictures in memory.

    Args:
        source: a file.
        limits: beyond them nothing is decoded.
        folder: for a file on the disk where one is needed; None for the system's place for temporary files.
        salvage: of a damaged file, read what can be decoded, whole; a note says what is missing.

    Raises:
        ImageReadError: the file is missing, damaged, or none of the formats that are known.
        ImageTooLargeError: it is beyond the limits.
        MissingPackageError: its format takes a package that is not installed.
    """

    def __init__(
        self,
        source: Path | str,
        *,
        limits: Limits = STREAM_LIMITS,
        folder: Path | None = None,
        salvage: bool = False,
    ) -> None:
        self._position = 0
        self._source = open_source(source, limits)
        self._format = recognize(self._source)
        self._rows: WholeRows | StoredRows | SpooledRows
        try:
            with damage_as_errors(self._source, self._format):
                self._rows = self._open_rows(limits, folder, is_checked=salvage)
        except ImageReadError:
            if not salvage:
                raise
            self._rows = WholeRows(read(source, limits=whole_limits(limits), salvage=True))
        self.header = self._rows.header

    def _open_rows(
        self, limits: Limits, folder: Path | None, *, is_checked: bool
    ) -> "WholeRows | StoredRows | SpooledRows":
        """Open a picture, and see first that all of it can be decoded if ``is_checked``."""
        source, file_format = self._source, self._format
        opened = open_file(source, file_format, limits) if isinstance(file_format, Format) else None
        if opened is None or not _is_streamable(opened):
            assert source.path is not None
            return WholeRows(read(source.path, limits=whole_limits(limits)))
        rows = StoredRows(opened, limits, folder)
        if is_checked and find_damage(opened) is not None:
            rows.close()
            raise ImageReadError(f"{source.name} is damaged")
        return SpooledRows(rows, folder) if rows.is_out_of_order else rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back that reading took."""
        self._rows.close()

    def rows(self, top: int, bottom: int) -> Band:
        """Return the rows from ``top`` up to, and without, ``bottom``.

        Raises:
            UsageError: rows are asked for that do not exist, or that lie above some that were returned.
            ImageReadError: the file is damaged there.
        """
        if not self._position <= top < bottom <= self.header.height:
            raise UsageError(
                f"rows {top} to {bottom} are asked for, but those from {self._position} to "
                f"{self.header.height} are left"
            )
        self._position = bottom
        with damage_as_errors(self._source, self._format):
            return self._rows.take(top, bottom)

    def bands(self) -> Iterator[Band]:
        """Yield the rows that are left, in bands of some megabytes."""
        height = self.header.height
        step = rows_of_band(self.header.row_bytes)
        while self._position < height:
            yield self.rows(self._position, min(self._position + step, height))


def _is_streamable(opened: Opened) -> bool:
    """Whether rows can be had one after the other, each band decoded by itself."""
    if opened.file_format is GIF:
        # Whether it is transparent shows when all of it was seen.
        return False
    return not (opened.pages and needs_unpacking(opened.pages[0]))
