"""Encoded frames of a part of a film in a file of its own, so that the parts of a run that was ended are kept.

A segment begins with a key frame and refers to no other one. Its packets stand in the order in which they are
decoded; when they are decoded is computed when all segments are joined.
"""

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from swinir.errors import ImageWriteError
from swinir.files import written_beside

SEGMENT_FRAMES = 64
# When a frame is shown, for how long, whether it is a key frame, and how many bytes follow.
_HEADER = struct.Struct("<qq?q")


class FilmPacket(NamedTuple):
    """An encoded frame.

    Attributes:
        pts: when it is shown, in the film's time base.
        duration: for how long, or 0 if that is unknown.
        is_key: it can be decoded without others.
        data: what the decoder takes.
    """

    pts: int
    duration: int
    is_key: bool
    data: bytes


def write_packets(path: Path, packets: Iterable[FilmPacket]) -> None:
    """Write a segment, whole or not at all.

    Raises:
        ImageWriteError: the disk refuses.
    """
    with written_beside(path, ImageWriteError) as file:
        for packet in packets:
            file.write(_HEADER.pack(packet.pts, packet.duration, packet.is_key, len(packet.data)))
            file.write(packet.data)


def read_packets(paths: Iterable[Path]) -> Iterator[FilmPacket]:
    """Yield the packets of segments, one in memory at a time."""
    for path in paths:
        with path.open("rb") as file:
            while header := file.read(_HEADER.size):
                pts, duration, is_key, size = _HEADER.unpack(header)
                yield FilmPacket(pts, duration, is_key, file.read(size))


def read_times(paths: Iterable[Path]) -> Iterator[tuple[int, int]]:
    """Yield when frames are shown and for how long, in the order in which they are decoded."""
    for path in paths:
        with path.open("rb") as file:
            while header := file.read(_HEADER.size):
                pts, duration, _, size = _HEADER.unpack(header)
                file.seek(size, os.SEEK_CUR)
                yield pts, duration
