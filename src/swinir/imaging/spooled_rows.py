"""Rows of a picture that is turned."""

from pathlib import Path

from swinir.imaging.band import Band, rows_of_band
from swinir.imaging.rows import StoredRows
from swinir.imaging.spool import Spool

# Orientations that begin with the last row, and those whose first row is the last column.
_FROM_BELOW, _FROM_RIGHT = (3, 4), (7, 8)


class SpooledRows:
    """Rows of a picture that has to be turned: all of it was written down, and is read in the new order."""

    def __init__(self, stored: StoredRows, folder: Path | None) -> None:
        self.header = stored.header
        self._orientation = stored.orientation
        self._shape = stored.stored_shape
        height, width = self._shape
        header = self.header
        self._spool = Spool(height, width, header.values, header.dtype, folder=folder)
        step = rows_of_band(width * header.values * header.dtype.itemsize)
        try:
            for top in range(0, height, step):
                self._spool.write(top, 0, stored.take(top, min(top + step, height)).joined())
        except BaseException:
            self._spool.close()
            raise
        finally:
            stored.close()

    def take(self, top: int, bottom: int) -> Band:
        """Return rows."""
        height, width = self._shape
        if self._orientation in _FROM_BELOW:
            window = self._spool.read(height - bottom, height - top)
        elif self._orientation in _FROM_RIGHT:
            window = self._spool.read(0, height, width - bottom, width - top)
        else:
            window = self._spool.read(0, height, top, bottom)
        return self.header.split(window).upright(self._orientation)

    def close(self) -> None:
        """Give back what reading took."""
        self._spool.close()
