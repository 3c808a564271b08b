"""A wide TIFF file as small ones, each of one of its strips, however that is compressed."""

from pathlib import Path

import pyvips

from swinir.imaging.tiff_directories import OverlaidTiff
from swinir.imaging.tiff_pages import Layout, Page, Tag, read_numbers
from swinir.imaging.tiff_samples import needs_unpacking

_TOGETHER = 1


class StripBlocks:
    """The strips of a page.

    Args:
        path: of the file.
        layout: of its numbers.
        page: that is read; one that ``is_in_strips``.

    Raises:
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path, layout: Layout, page: Page) -> None:
        self._layout, self._page = layout, page
        self.rows_per_block = page.rows_per_strip
        self._file = path.open("rb")
        self._offsets, self._sizes = (
            [int(each) for each in read_numbers(self._file, layout, page, tag)]
            for tag in (Tag.STRIP_OFFSETS, Tag.STRIP_BYTES)
        )
        self._shown: OverlaidTiff | None = None

    def open(self, index: int) -> pyvips.Image:
        """Open a strip.

        Raises:
            pyvips.Error: it is damaged or missing.
        """
        if index >= min(len(self._offsets), len(self._sizes)):
            raise pyvips.Error(f"strip {index} is missing")
        num_rows = min(self.rows_per_block, self._page.height_px - index * self.rows_per_block)
        stated = {
            Tag.HEIGHT: num_rows,
            Tag.ROWS_PER_STRIP: num_rows,
            Tag.STRIP_OFFSETS: self._offsets[index],
            Tag.STRIP_BYTES: self._sizes[index],
        }
        self._close_shown()
        self._shown = OverlaidTiff(
            self._file, self._layout, self._page, stated=stated, dropped={Tag.SUBFILES}
        )
        return self._shown.image

    def close(self) -> None:
        """Close the file."""
        self._close_shown()
        self._file.close()

    def _close_shown(self) -> None:
        if self._shown is not None:
            self._shown.close()
            self._shown = None


def is_in_strips(page: Page) -> bool:
    """Tell whether the strips of a page can be decoded one by one."""
    return (
        Tag.TILE_WIDTH not in page.fields
        and page.value(Tag.PLANAR, _TOGETHER) == _TOGETHER
        and not needs_unpacking(page)
    )
