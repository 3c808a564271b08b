"""A wide PNG file as small ones of a few of its rows. PNG 3rd edition (W3C, 2025), sections 7, 9 and 11.

A row is stored as its difference to the one above it, byte by byte. So rows are decompressed and put behind the last
row of the block above, and libvips undoes the filters in a picture of bytes. Filters depend on the length of a pixel
alone, which is the same in it. These bytes, not filtered, are then a picture under the header of the file.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyvips
from numpy.typing import NDArray

from swinir.imaging.block_rows import DamagedBlockError
from swinir.imaging.inflating import CHUNK_BYTES, Inflater
from swinir.imaging.png import SIGNATURE, Chunk, PngHeader, iterate_chunks, packed_chunk

# What decides how a pixel is decoded.
_DECISIVE = (b"PLTE", b"tRNS")
# By the length of a pixel in bytes, the bits and the type of a picture whose pixels are as long.
_OF_BYTES = {1: (8, 0), 2: (8, 4), 3: (8, 2), 4: (8, 6), 6: (16, 2), 8: (16, 6)}
# Of a block that is decoded. Beside it there are some ten copies for a moment, most of them shorter.
_BLOCK_BYTES = 2**21


class PngBlocks:
    """Blocks of a file that is not interlaced.

    Args:
        path: of the file.
        row_bytes: of a row that is decoded.

    Raises:
        OSError: it cannot be read.
    """

    def __init__(self, path: Path, row_bytes: int) -> None:
        self._file: BinaryIO = path.open("rb")
        self._kept: list[Chunk] = []
        header = b""
        for kind, size in iterate_chunks(self._file):
            if kind == b"IDAT":
                break
            if kind == b"IHDR":
                header = self._file.read(size)
            elif kind in _DECISIVE:
                self._kept.append((kind, self._file.read(size)))
        self._header = PngHeader.read(header)
        self.rows_per_block = min(max(1, _BLOCK_BYTES // row_bytes), self._header.height)
        pixel_bytes = max(1, self._header.bits_per_px // 8)
        bits, color_type = _OF_BYTES[pixel_bytes]
        self._bytes_header = PngHeader(
            self._header.row_bytes // pixel_bytes, 0, bits=bits, color_type=color_type
        )
        self._compressed = self._read_compressed()
        self._inflater = Inflater(lambda: next(self._compressed, b""))
        self._above: NDArray[np.uint8] = np.zeros((0, self._header.row_bytes), np.uint8)
        self._next = 0

    def open(self, index: int) -> pyvips.Image:
        """Open a block, in memory.

        Raises:
            pyvips.Error: it, or one above it, is damaged or cut short.
        """
        while self._next < index:
            self._unfilter_block()
        rows = self._unfilter_block()
        filtered = np.zeros((len(rows), 1 + rows.shape[1]), np.uint8)
        filtered[:, 1:] = rows
        return _load(self._header._replace(height=len(rows)), self._kept, filtered)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _unfilter_block(self) -> NDArray[np.uint8]:
        """Return the bytes of the rows of the next block, [rows, bytes]."""
        first = self._next * self.rows_per_block
        num_rows = min(self.rows_per_block, self._header.height - first)
        row_bytes = 1 + self._header.row_bytes
        filtered = np.zeros((len(self._above) + num_rows, row_bytes), np.uint8)
        filtered[: len(self._above), 1:] = self._above
        filtered[len(self._above) :] = np.frombuffer(self._inflate(num_rows * row_bytes), np.uint8).reshape(
            num_rows, row_bytes
        )
        decoded = _load(self._bytes_header._replace(height=len(filtered)), [], filtered)
        values = decoded.numpy().reshape(len(filtered), -1)
        # Values of two bytes are in the order of the processor, in the file the higher one is first.
        rows = values.astype(values.dtype.newbyteorder(">"), copy=False).view(np.uint8)[len(self._above) :]
        self._above = rows[-1:].copy()
        self._next += 1
        if first + num_rows == self._header.height:
            # Only to see that they are sound.
            for _ in self._compressed:
                pass
        return rows

    def _inflate(self, num_bytes: int) -> bytes:
        try:
            data = self._inflater.take(num_bytes)
        except zlib.error as error:
            raise DamagedBlockError("the pixels are damaged") from error
        if len(data) < num_bytes:
            raise DamagedBlockError("the pixels are cut short")
        return data

    def _read_compressed(self) -> Iterator[bytes]:
        for kind, size in iterate_chunks(self._file):
            if kind != b"IDAT":
                continue
            checksum = zlib.crc32(kind)
            for start in range(0, size, CHUNK_BYTES):
                piece = self._file.read(min(size - start, CHUNK_BYTES))
                checksum = zlib.crc32(piece, checksum)
                yield piece
            if self._file.read(4) != struct.pack(">I", checksum):
                raise DamagedBlockError("a chunk of pixels is damaged")


def _load(header: PngHeader, chunks: list[Chunk], filtered: NDArray[np.uint8]) -> pyvips.Image:
    """Open a picture of rows, each behind the byte that names its filter."""
    # Not compressed: it is in memory for a moment.
    body = zlib.compress(filtered.data, 0)
    packed = (packed_chunk(*chunk) for chunk in (header.chunk(), *chunks, (b"IDAT", body), (b"IEND", b"")))
    return pyvips.Image.pngload_buffer(
        SIGNATURE + b"".join(packed), access="sequential", fail_on="error", unlimited=True
    )
