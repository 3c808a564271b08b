"""PNG files of very long rows: libvips holds some seven hundred of them, this two."""

import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swinir.imaging.band import rows_of_band
from swinir.imaging.png import SIGNATURE, PngHeader, iterate_chunks, packed_chunk

# As libvips is asked to do for all others.
_LEVEL = 3
_UP = 2
_PIXELS, _END = b"IDAT", b"IEND"


class WidePng:
    """Rows filtered by the ones above them and compressed (ISO/IEC 15948:2004, sections 9 and 10).

    Args:
        path: of the file.
        model: a PNG file of one pixel, that states everything but the size.
        height: of the picture.
        width: of the picture.
    """

    def __init__(self, path: Path, model: bytes, height: int, width: int) -> None:
        self._above: NDArray[np.uint8] | None = None
        self._compressor = zlib.compressobj(_LEVEL)
        self._file = path.open("wb")
        self._file.write(SIGNATURE)
        given = BytesIO(model)
        for kind, size in iterate_chunks(given):
            body = given.read(size)
            if kind == b"IHDR":
                _, body = PngHeader.read(body)._replace(width=width, height=height).chunk()
            if kind not in (_PIXELS, _END):
                self._file.write(packed_chunk(kind, body))

    def put(self, rows: NDArray[Any]) -> None:
        """Write rows [rows, width · values]."""
        step = rows_of_band(rows.shape[1] * rows.dtype.itemsize)
        for top in range(0, len(rows), step):
            part = np.ascontiguousarray(rows[top : top + step])
            values = part.astype(part.dtype.newbyteorder(">")).view(np.uint8)
            filtered = np.full((len(values), 1 + values.shape[1]), _UP, np.uint8)
            filtered[0, 1:] = values[0] if self._above is None else values[0] - self._above
            np.subtract(values[1:], values[:-1], out=filtered[1:, 1:])
            self._above = values[-1].copy()
            self._write(self._compressor.compress(filtered.data))

    def finish(self) -> None:
        """End the file."""
        self._write(self._compressor.flush())
        self._file.write(packed_chunk(_END, b""))
        self._file.close()

    def stop(self) -> None:
        """Close the file; what is still to be written of it does not matter."""
        with suppress(OSError):
            self._file.close()

    def _write(self, compressed: bytes) -> None:
        if compressed:
            self._file.write(packed_chunk(_PIXELS, compressed))
