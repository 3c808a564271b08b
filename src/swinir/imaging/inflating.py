"""Data compressed by deflate, decompressed as far as they are wanted."""

import zlib
from collections.abc import Callable
from typing import Any

# Compressed bytes that are read at once.
CHUNK_BYTES = 2**18


class Inflater:
    """Decompresses a stream from its beginning to its end.

    Args:
        read: returns the next compressed bytes; none at the end.
    """

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._stream: Any = zlib.decompressobj()

    def take(self, num_bytes: int) -> bytes:
        """Return the next bytes; fewer at the end of the stream.

        Raises:
            zlib.error: the stream is damaged.
        """
        parts: list[bytes] = []
        while num_bytes:
            given = self._stream.unconsumed_tail or self._read()
            part = self._stream.decompress(given, num_bytes)
            if not part and not given:
                break
            parts.append(part)
            num_bytes -= len(part)
        return b"".join(parts)
