"""Animated PNG: frames taken out of one file, and put into one. Layout: PNG 3rd edition, section 4.9 and 11.3.6."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import pyvips
from numpy.typing import NDArray

from swinir.imaging.png import SIGNATURE, iterate_chunks, packed_chunk

_CONTROL = struct.Struct(">IIIIIHHBB")
_CLEAR, _RESTORE = 1, 2
_OVER = 1
_DEFAULT_DENOMINATOR = 100
# Chunks before the pixels that are needed to decode them.
_NEEDED = (b"PLTE", b"tRNS")
_HAS_ALPHA = (4, 6)


@dataclass(kw_only=True)
class _Frame:
    """What is said of one frame, and where its data stand in the file."""

    width: int
    height: int
    left: int
    top: int
    duration_ms: int
    dispose: int
    blend: int
    parts: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])


@dataclass(frozen=True, kw_only=True)
class AnimatedPng:
    """An animation whose frames have been found and not yet decoded.

    Attributes:
        frames: in order.
        loops: how often it is shown; 0 for ever.
    """

    header: bytes
    needed: tuple[tuple[bytes, bytes], ...]
    frames: tuple[_Frame, ...]
    loops: int

    @property
    def durations_ms(self) -> tuple[int, ...]:
        """How long each frame is shown."""
        return tuple(frame.duration_ms for frame in self.frames)

    @property
    def has_alpha(self) -> bool:
        """Whether anything may be transparent."""
        width, height, _, color_type = struct.unpack(">IIBB", self.header[:10])
        covers = all(
            frame.dispose != _CLEAR or (frame.width, frame.height) == (width, height) for frame in self.frames
        )
        first = self.frames[0]
        is_whole = (first.width, first.height) == (width, height)
        stated = color_type in _HAS_ALPHA or any(kind == b"tRNS" for kind, _ in self.needed)
        return stated or not (covers and is_whole)

    def decode(self, file: BinaryIO) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Yield colours [H, W, C] and opacity [H, W] of each frame as it is shown.

        Raises:
            pyvips.Error: a frame is damaged.
        """
        width, height = struct.unpack(">II", self.header[:8])
        canvas: NDArray[Any] | None = None
        for frame in self.frames:
            shown = self._decode_frame(file, frame)
            if canvas is None:
                canvas = np.zeros((height, width, shown.shape[2]), shown.dtype)
            place = (
                slice(frame.top, frame.top + frame.height),
                slice(frame.left, frame.left + frame.width),
            )
            before = canvas[place].copy()
            canvas[place] = _over(shown, before) if frame.blend == _OVER else shown
            yield canvas[:, :, :-1].copy(), canvas[:, :, -1].copy()
            if frame.dispose == _CLEAR:
                canvas[place] = 0
            elif frame.dispose == _RESTORE:
                canvas[place] = before

    def _decode_frame(self, file: BinaryIO, frame: _Frame) -> NDArray[Any]:
        """Decode the data of a frame as a PNG file of its own; [h, w, C + 1]."""
        header = struct.pack(">II", frame.width, frame.height) + self.header[8:]
        data = b""
        for place, size in frame.parts:
            file.seek(place)
            data += file.read(size)
        whole = SIGNATURE + packed_chunk(b"IHDR", header)
        whole += b"".join(packed_chunk(kind, body) for kind, body in self.needed)
        whole += packed_chunk(b"IDAT", data) + packed_chunk(b"IEND", b"")
        image = pyvips.Image.pngload_buffer(whole, fail_on="error")
        if image.bands in (1, 3):
            image = image.addalpha()
        return image.numpy()


def find_frames(file: BinaryIO) -> AnimatedPng | None:
    """Find the frames of an animation; None for a still picture, and for one whose frames are not stated soundly."""
    header, loops = b"", 0
    needed: list[tuple[bytes, bytes]] = []
    frames: list[_Frame] = []
    is_animated = False
    for kind, size in iterate_chunks(file):
        place = file.tell()
        if kind == b"IHDR":
            header = file.read(size)
        elif kind == b"acTL" and size == 8:
            is_animated = True
            loops = struct.unpack(">II", file.read(8))[1]
        elif kind in _NEEDED:
            needed.append((kind, file.read(size)))
        elif kind == b"fcTL" and size == _CONTROL.size:
            frames.append(_frame_of(file.read(size)))
        elif kind == b"IDAT" and frames:
            frames[-1].parts.append((place, size))
        elif kind == b"fdAT" and frames:
            # A number stands before the data.
            frames[-1].parts.append((place + 4, size - 4))
    if frames and not frames[-1].parts:
        # What follows is cut off.
        frames.pop()
    if not is_animated or len(header) != 13 or not frames or not all(_fits(each, header) for each in frames):
        return None
    return AnimatedPng(header=header, needed=tuple(needed), frames=tuple(frames), loops=loops)


class AnimatedPngWriter:
    """Puts PNG files of one size and kind together, frame by frame.

    Args:
        file: open for writing.
        num_frames: that will come.
        loops: how often they are shown; 0 for ever.
    """

    def __init__(self, file: BinaryIO, num_frames: int, loops: int) -> None:
        self._file = file
        self._control = struct.pack(">II", num_frames, loops)
        self._sequence = 0
        self._size = b""

    def add(self, png: BinaryIO, duration_ms: int, extra: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Add a frame.

        Args:
            png: the file of the frame.
            duration_ms: how long it is shown.
            extra: chunks that only the first one brings.
        """
        is_first = not self._size
        for kind, size in iterate_chunks(png):
            if kind == b"IDAT":
                continue
            body = png.read(size) if is_first or kind == b"IHDR" else b""
            if kind == b"IHDR" and is_first:
                self._size = body[:8]
                self._file.write(SIGNATURE + packed_chunk(kind, body) + packed_chunk(b"acTL", self._control))
                for each in extra:
                    self._file.write(packed_chunk(*each))
            elif kind != b"IEND" and is_first:
                self._file.write(packed_chunk(kind, body))
        self._write_control(duration_ms)
        for kind, size in iterate_chunks(png):
            if kind == b"IDAT":
                data = png.read(size)
                self._file.write(packed_chunk(b"IDAT", data) if is_first else self._numbered(b"fdAT", data))

    def finish(self) -> None:
        """End the file."""
        self._file.write(packed_chunk(b"IEND", b""))

    def _write_control(self, duration_ms: int) -> None:
        width, height = struct.unpack(">II", self._size)
        rest = struct.pack(">IIIIHHBB", width, height, 0, 0, min(duration_ms, 65_535), 1000, 0, 0)
        self._file.write(self._numbered(b"fcTL", rest))

    def _numbered(self, kind: bytes, body: bytes) -> bytes:
        number = struct.pack(">I", self._sequence)
        self._sequence += 1
        return packed_chunk(kind, number + body)


def _frame_of(body: bytes) -> _Frame:
    _, width, height, left, top, delay, denominator, dispose, blend = _CONTROL.unpack(body)
    duration_ms = round(1000 * delay / (denominator or _DEFAULT_DENOMINATOR))
    return _Frame(
        width=width,
        height=height,
        left=left,
        top=top,
        duration_ms=duration_ms,
        dispose=dispose,
        blend=blend,
    )


def _fits(frame: _Frame, header: bytes) -> bool:
    width, height = struct.unpack(">II", header[:8])
    is_inside = frame.left + frame.width <= width and frame.top + frame.height <= height
    return is_inside and min(frame.width, frame.height) > 0 and bool(frame.parts)


def _over(top: NDArray[Any], below: NDArray[Any]) -> NDArray[Any]:
    """Lay one picture on another, [h, w, C + 1], opacity last and not multiplied in."""
    white = float(np.iinfo(top.dtype).max)
    opacity, under = top[:, :, -1:] / white, below[:, :, -1:] / white
    together = opacity + under * (1 - opacity)
    mixed = top[:, :, :-1] * opacity + below[:, :, :-1] * (under * (1 - opacity))
    colors = np.divide(mixed, together, out=np.zeros_like(mixed), where=together > 0)
    return np.floor(np.concatenate([colors, together * white], axis=2) + 0.5).astype(top.dtype)
