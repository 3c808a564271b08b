"""Pixels kept on the disk instead of in memory, for what is not read in the order it was written."""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Columns that stand together in the file: a window as wide is one run of bytes for all rows.
_PANEL_PX = 256
# Less than this is kept in memory.
_MOST_BYTES_IN_MEMORY = 2**25


class Spool:
    """An array [height, width, values] whose windows are written once and read in any order.

    What is large is in a file without a name, which is gone when the process is, however it ends. The file is read
    and written, never mapped, so that none of it counts as memory of this process.

    Args:
        height: rows.
        width: columns.
        values: of each pixel.
        dtype: of each value.
        folder: where the file is; None for the system's place for temporary files.

    Raises:
        OSError: the folder takes no file, or the disk is full.
    """

    def __init__(
        self, height: int, width: int, values: int, dtype: np.dtype[Any], *, folder: Path | None = None
    ) -> None:
        self.shape = (height, width, values)
        self.dtype = dtype
        self._pixel_bytes = values * dtype.itemsize
        if height * width * self._pixel_bytes <= _MOST_BYTES_IN_MEMORY:
            self._array: NDArray[Any] | None = np.zeros(self.shape, dtype)
            self._file = None
        else:
            self._array = None
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115

    @property
    def like(self) -> NDArray[Any]:
        """An array without rows that has the columns, values and type of this one."""
        return np.empty((0, *self.shape[1:]), self.dtype)

    def close(self) -> None:
        """Give memory or disk back."""
        self._array = None
        if self._file is not None:
            self._file.close()

    def write(self, top: int, left: int, window: NDArray[Any]) -> None:
        """Put a window [rows, columns, values] in its place.

        Raises:
            OSError: the disk is full.
        """
        rows, columns = window.shape[:2]
        if self._array is not None:
            self._array[top : top + rows, left : left + columns] = window
            return
        for panel, start, stop in self._panels(left, left + columns):
            part = np.ascontiguousarray(window[:, start - left : stop - left], self.dtype)
            if stop - start == self._panel_width(panel):
                self._put(part, self._offset(top, panel, 0))
            else:
                for row in range(rows):
                    self._put(part[row], self._offset(top + row, panel, start - panel * _PANEL_PX))

    def read(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> NDArray[Any]:
        """Return a window [bottom - top, right - left, values]; what was never written is 0."""
        right = self.shape[1] if right is None else right
        if self._array is not None:
            return self._array[top:bottom, left:right]
        window = np.empty((bottom - top, right - left, self.shape[2]), self.dtype)
        for panel, start, stop in self._panels(left, right):
            width = self._panel_width(panel)
            part = np.zeros((bottom - top, width, self.shape[2]), self.dtype)
            self._get(part, self._offset(top, panel, 0))
            first = panel * _PANEL_PX
            window[:, start - left : stop - left] = part[:, start - first : stop - first]
        return window

    def _panels(self, left: int, right: int) -> list[tuple[int, int, int]]:
        """Return (panel, first column, column behind the last) for each panel that the columns touch."""
        panels = range(left // _PANEL_PX, (right - 1) // _PANEL_PX + 1)
        return [
            (panel, max(left, panel * _PANEL_PX), min(right, (panel + 1) * _PANEL_PX)) for panel in panels
        ]

    def _panel_width(self, panel: int) -> int:
        return min(_PANEL_PX, self.shape[1] - panel * _PANEL_PX)

    def _offset(self, row: int, panel: int, column: int) -> int:
        before = panel * _PANEL_PX * self.shape[0]
        return (before + row * self._panel_width(panel) + column) * self._pixel_bytes

    def _put(self, part: NDArray[Any], offset: int) -> None:
        assert self._file is not None
        left = part.data.cast("B")
        while left:
            count = os.pwrite(self._file.fileno(), left, offset)
            left, offset = left[count:], offset + count

    def _get(self, part: NDArray[Any], offset: int) -> None:
        assert self._file is not None
        left = part.data.cast("B")
        # Beyond the end of the file nothing was written.
        while left and (count := os.preadv(self._file.fileno(), [left], offset)):
            left, offset = left[count:], offset + count
