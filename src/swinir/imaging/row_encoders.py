"""What makes a file of rows as they come: libvips in a thread."""

import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Full, Queue
from typing import Any, Protocol

import numpy as np
import pyvips
from numpy.typing import NDArray

from swinir.imaging.band import rows_of_band
from swinir.imaging.png import SIGNATURE, PngHeader, packed_chunk

# Of rows that take less, libvips holds at most some 130 MB.
WIDE_ROW_BYTES = 2**18
# Bands that wait to be encoded.
_MOST_WAITING = 2
# How often a band that waits for room looks whether the encoder has failed.
_LOOK_S = 0.2
_TYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32}


class RowEncoder(Protocol):
    """Writes the rows of one picture from top to bottom."""

    def put(self, rows: NDArray[Any]) -> None:
        """Take the next rows, [rows, width · values].

        Raises:
            pyvips.Error, OSError: they cannot be encoded or written.
        """
        ...

    def finish(self) -> None:
        """Write all that is not written yet, behind the last row.

        Raises:
            pyvips.Error, OSError: it cannot be encoded or written.
        """
        ...

    def stop(self) -> None:
        """Give up whatever is held; the file need not be whole."""
        ...


@dataclass(frozen=True, kw_only=True)
class Raster:
    """What the rows of a picture are.

    Attributes:
        like: any picture with its channels, type and interpretation.
        height: rows.
        width: columns.
    """

    like: pyvips.Image
    height: int
    width: int

    @property
    def values(self) -> int:
        """Of a pixel."""
        return self.like.bands

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a value."""
        return type_of(self.like)

    @property
    def pixel_bytes(self) -> int:
        """Length of a pixel."""
        return self.values * self.dtype.itemsize

    @property
    def is_wide(self) -> bool:
        """Whether libvips would hold too much of it."""
        return self.width * self.pixel_bytes > WIDE_ROW_BYTES

    def of(self, image: pyvips.Image) -> pyvips.Image:
        """Return a picture of the same bytes with the channels, type and interpretation of this one."""
        like = self.like
        return image.copy(format=like.format, bands=like.bands, interpretation=like.interpretation)


def type_of(image: pyvips.Image) -> np.dtype[Any]:
    """Return the type of the values of a picture that is to be written."""
    return np.dtype(_TYPES[str(image.format)])


class VipsEncoder:
    """libvips in a thread, reading rows as they come.

    Of what its binary package reads, an uncompressed PNG is the one form that is read from a stream, row by row. So
    rows become one, of a grey byte for each byte of a pixel, and are put together again behind it.

    Args:
        save: writes a picture to where it belongs.
        raster: what comes.
    """

    def __init__(self, save: Callable[[pyvips.Image], None], raster: Raster) -> None:
        self._save = save
        self._raster = raster
        self._chunks: Queue[bytes | None] = Queue(_MOST_WAITING)
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._stream = _StoredPng(raster.width * raster.pixel_bytes, raster.height)
        self._current = memoryview(self._stream.begin())
        self._is_cut = False
        self._thread = threading.Thread(target=self._encode, name="image encoder", daemon=True)
        self._thread.start()

    def put(self, rows: NDArray[Any]) -> None:
        """Hand over rows [rows, width · values]."""
        step = rows_of_band(rows.shape[1] * rows.dtype.itemsize)
        for top in range(0, len(rows), step):
            self._send(self._stream.continued(rows[top : top + step]))

    def finish(self) -> None:
        """Wait until all is written."""
        self._send(self._stream.end())
        self._send(None)
        self._thread.join()
        self._raise_failure()

    def stop(self) -> None:
        """End a file that will not be whole; nothing where it is."""
        self._is_cut = True
        while self._thread.is_alive():
            with suppress(Full):
                self._chunks.put(None, timeout=_LOOK_S)
            self._thread.join(_LOOK_S)

    def _send(self, chunk: bytes | None) -> None:
        while True:
            self._raise_failure()
            with suppress(Full):
                self._chunks.put(chunk, timeout=_LOOK_S)
                return

    def _raise_failure(self) -> None:
        if self._ended.is_set() and self._error is not None:
            raise self._error

    def _encode(self) -> None:
        try:
            source = pyvips.SourceCustom()
            source.on_read(self._read)
            stream = pyvips.Image.pngload_source(
                source, access="sequential", unlimited=True, fail_on="truncated"
            )
            self._save(self._raster.of(stream.bandfold(factor=self._raster.pixel_bytes)))
        except (pyvips.Error, OSError) as error:
            self._error = error
        finally:
            self._ended.set()

    def _read(self, num_bytes: int) -> bytes:
        """Give libvips the next bytes; none at the end."""
        if not self._current:
            chunk = None if self._is_cut else self._chunks.get()
            if chunk is None or self._is_cut:
                return b""
            self._current = memoryview(chunk)
        piece = self._current[:num_bytes]
        self._current = self._current[num_bytes:]
        return bytes(piece)


class _StoredPng:
    """Bytes of a grey PNG of 8 bits that is not compressed (ISO/IEC 15948:2004)."""

    def __init__(self, row_bytes: int, height: int) -> None:
        self._row_bytes = row_bytes
        self._height = height
        self._stored = zlib.compressobj(0)

    def begin(self) -> bytes:
        """Signature and header."""
        header = PngHeader(self._row_bytes, self._height, bits=8, color_type=0)
        return SIGNATURE + packed_chunk(*header.chunk())

    def continued(self, rows: NDArray[Any]) -> bytes:
        """Rows [rows, values], each behind the byte that says that it is not filtered."""
        marked = np.zeros((len(rows), 1 + self._row_bytes), np.uint8)
        marked[:, 1:] = np.ascontiguousarray(rows).view(np.uint8)
        return packed_chunk(b"IDAT", self._stored.compress(marked.data))

    def end(self) -> bytes:
        """Everything behind the last row."""
        return packed_chunk(b"IDAT", self._stored.flush()) + packed_chunk(b"IEND", b"")
