"""Frames of a film, one by one, and what is known of it before."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import dropwhile, islice, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from jaxtyping import UInt16
from numpy.typing import NDArray

from swinir.errors import ImageReadError
from swinir.film.colours import Colours, choose_matrix, to_rgb
from swinir.film.light import NO_LIGHT, Light, read_light
from swinir.film.peek import choose_stream, count_frames, rate_of
from swinir.film.pyav import errors_of, import_av, open_film
from swinir.imaging import shown_path

_RGB_BITS = (8, 9, 10, 12, 14, 16)
# How many frames before the last one a key frame is looked for: files find some by when they are decoded, which is
# before they are shown.
_STEPS_BACK = (1, 8, 64, 512)


class FilmFrame(NamedTuple):
    """A picture of a film.

    Attributes:
        pts: when it is shown, in the film's time base.
        duration: for how long, if the film says so, else 0.
        pixels: RGB, white at 65535.
    """

    pts: int
    duration: int
    pixels: UInt16[np.ndarray, "h w 3"]


@dataclass(frozen=True, kw_only=True)
class FilmFacts:
    """What is known of a film before its frames are read.

    Attributes:
        width: of a frame as it is stored, in pixels.
        height: of a frame as it is stored.
        bits: of its values.
        chroma: luma samples for one of chroma, down and across; (1, 1) for RGB.
        is_rgb: it has no luma and chroma.
        colours: what its values mean; the matrix is what it states, or what players take.
        time_base: seconds of one step of time.
        rate: frames per second on average.
        num_frames: how many there are, about; 0 where nothing says so.
        pixel_aspect: width of a pixel by its height.
        display_matrix: how frames are turned to be shown, nine numbers as FFmpeg has them; None for upright.
        light: of an HDR film.
        notes: what a user should know.
    """

    width: int
    height: int
    bits: int
    chroma: tuple[int, int]
    is_rgb: bool
    colours: Colours
    time_base: Fraction
    rate: Fraction
    num_frames: int
    pixel_aspect: Fraction | None
    display_matrix: tuple[int, ...] | None
    light: Light = NO_LIGHT
    notes: tuple[str, ...] = ()


class FilmReader:
    """Reads the first film in a file; one frame is in memory at a time.

    Args:
        path: of the file.
        deinterlace: make whole frames of interlaced ones, by bwdif.

    Raises:
        MissingPackageError: PyAV is not installed.
        ImageReadError: the file is no film, is damaged, or is of a kind that cannot be kept.
    """

    def __init__(self, path: Path, *, deinterlace: bool = False) -> None:
        self.path = path
        self.facts: FilmFacts
        self.num_damaged = 0
        self._name = shown_path(path)
        self._deinterlace = deinterlace
        self._exits = ExitStack()
        self._av = import_av()
        try:
            with errors_of(path, ImageReadError):
                self.container: Any = self._exits.enter_context(open_film(path))
                self.stream: Any = self._choose_stream()
                first = next(self._decode(), None)
                if first is None:
                    raise ImageReadError(f"film {self._name} has no frame that can be decoded")
                self.facts = self._describe(first)
        except BaseException:
            self._exits.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    @property
    def end_s(self) -> float:
        """When the file says that it ends, in seconds; 0 where it does not."""
        length = self.container.duration or 0
        return float(((self.container.start_time or 0) + length) / self._av.time_base if length else 0)

    def times(self) -> list[int]:
        """Return when each frame is shown, ascending, without decoding any; empty where some do not say it.

        Raises:
            ImageReadError: the file cannot be read.
        """
        with errors_of(self.path, ImageReadError), open_film(self.path) as container:
            packets = container.demux(container.streams[self.stream.index])
            times = sorted(
                -1 if packet.pts is None else packet.pts
                for packet in packets
                if packet.size and not packet.is_discard
            )
        is_told = all(first < then for first, then in pairwise(times)) and times[:1] >= [0]
        return times if is_told else []

    def frames(self, done: Sequence[int] = ()) -> Iterator[FilmFrame]:
        """Yield frames in the order in which they are shown; ``pts`` always rises.

        Args:
            done: ``pts`` of the first frames, all of them ascending, which are not yielded. Only what those behind
                them depend on is decoded, where the file has key frames and times to find it by.

        Raises:
            ImageReadError: they are interlaced, or change their size.
        """
        with errors_of(self.path, ImageReadError):
            last_pts: int | None = done[-1] if done else None
            for frame in self._frames_behind(done):
                last_pts = self._pts(frame, last_pts)
                yield FilmFrame(last_pts, frame.duration or 0, self._to_rgb(frame))

    def _frames_behind(self, done: Sequence[int]) -> Iterator[Any]:
        """Return decoded frames without those that are done."""
        for back in _STEPS_BACK:
            if back < len(done):
                frames = self._whole_frames(done[-back])
                if self._reach_end(frames, done):
                    return frames
        return islice(self._whole_frames(), len(done), None)

    def _reach_end(self, frames: Iterator[Any], done: Sequence[int]) -> bool:
        """Take frames until the last that is done; tell whether they are all those in between, and sound."""
        place: int | None = None
        with suppress(self._av.error.FFmpegError):
            for frame in frames:
                if frame.pts is None or self.num_damaged:
                    return False
                place = bisect_left(done, frame.pts) if place is None else place + 1
                if place == len(done) or done[place] != frame.pts:
                    return False
                if place == len(done) - 1:
                    return True
        return False

    def _choose_stream(self) -> Any:
        stream = choose_stream(self._av, self.container)
        if stream is None:
            raise ImageReadError(f"{self._name} has no film that can be decoded: only sound or covers")
        return stream

    def _decode(self, start: int | None = None) -> Iterator[Any]:
        """Yield decoded frames from a key frame before ``start`` on; what is damaged is left out and counted."""
        self.num_damaged = 0
        with open_film(self.path) as container:
            stream = container.streams[self.stream.index]
            stream.thread_type = "AUTO"
            packets = container.demux(stream)
            if start is not None:
                container.seek(start, stream=stream)
                # Some files are sought by time alone.
                packets = dropwhile(lambda packet: not packet.is_keyframe, packets)
            for packet in packets:
                try:
                    yield from packet.decode()
                except self._av.error.InvalidDataError:
                    self.num_damaged += 1

    def _whole_frames(self, start: int | None = None) -> Iterator[Any]:
        """Yield decoded frames, deinterlaced if that was asked for."""
        for frame in self._deinterlaced(start) if self._deinterlace else self._decode(start):
            if frame.interlaced_frame and not self._deinterlace:
                raise ImageReadError(
                    f"film {self._name} is interlaced: add --deinterlace to make whole frames"
                )
            if (frame.width, frame.height) != (self.facts.width, self.facts.height):
                raise ImageReadError(
                    f"film {self._name} changes its size from {self.facts.width} × {self.facts.height} to "
                    f"{frame.width} × {frame.height} on the way: split it there first"
                )
            yield frame

    def _deinterlaced(self, start: int | None) -> Iterator[Any]:
        graph = self._av.filter.Graph()
        source = graph.add_buffer(template=self.stream, time_base=self.stream.time_base)
        graph.link_nodes(
            source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink")
        )
        graph.configure()

        def pull() -> Iterator[Any]:
            with suppress(self._av.error.BlockingIOError, self._av.error.EOFError):
                while True:
                    frame = graph.vpull()
                    if frame.pts is not None:
                        frame.pts = round(frame.pts * frame.time_base / self.facts.time_base)
                    yield frame

        for frame in self._decode(start):
            graph.vpush(frame)
            yield from pull()
        graph.vpush(None)
        yield from pull()

    def _pts(self, frame: Any, last: int | None) -> int:
        """Return when a frame is shown; later than the one before it, whatever the file says."""
        if frame.pts is not None and (last is None or frame.pts > last):
            return int(frame.pts)
        return 0 if last is None else last + 1

    def _to_rgb(self, frame: Any) -> UInt16[np.ndarray, "h w 3"]:
        facts = self.facts
        if facts.is_rgb:
            if facts.bits == 8:
                return frame.to_ndarray(format="rgb24").astype(np.uint16) * 257
            planes = planes_of(_repack(frame, f"gbrp{facts.bits}le"))
            scale = np.float32(65535 / (2**facts.bits - 1))
            # In the order of their names: green, blue, red.
            channels = [(planes[index] * scale + np.float32(0.5)).astype(np.uint16) for index in (2, 0, 1)]
            return np.stack(channels, axis=2)
        name = planar_name(facts.bits, facts.chroma)
        if len(frame.format.components) < 3:
            name = "gray" if facts.bits == 8 else f"gray{facts.bits}le"
        if frame.format.name not in (name, name.replace("yuv", "yuvj")):
            frame = _repack(frame, name)
        return to_rgb(planes_of(frame), facts.bits, facts.colours)

    def _describe(self, frame: Any) -> FilmFacts:
        stream, form = self.stream, frame.format
        bits = max(part.bits for part in form.components)
        is_rgb = form.is_rgb or form.has_palette
        is_grey = len(form.components) < 3 and not is_rgb
        chroma = (1, 1) if is_rgb else (2, 2) if is_grey else _chroma_steps(form)
        matrix = choose_matrix(frame.colorspace, frame.color_primaries, frame.width, frame.height)
        colours = Colours(
            primaries=frame.color_primaries,
            transfer=frame.color_trc,
            matrix=matrix,
            is_full=form.name.startswith("yuvj") or (frame.color_range == 2 and not is_rgb),
        )
        if bits not in _RGB_BITS or form.name.startswith("xyz") or not colours.has_known_matrix:
            raise ImageReadError(
                f"film {self._name} has colours that are not read here ({form.name}, matrix {matrix}): convert it "
                "to BT.709 or BT.2020 first"
            )
        matrix_data = _side_data(frame, "DISPLAYMATRIX")
        light, notes = read_light(lambda kind: _side_data(frame, kind), self._name, colours)
        if any(part.is_alpha for part in form.components):
            notes += ("The transparency of the film is left out.",)
        return FilmFacts(
            width=frame.width,
            height=frame.height,
            bits=bits,
            chroma=chroma,
            is_rgb=is_rgb,
            colours=colours,
            time_base=stream.time_base,
            rate=rate_of(stream),
            num_frames=count_frames(self._av, self.container, stream),
            pixel_aspect=stream.sample_aspect_ratio or None,
            display_matrix=None if matrix_data is None else tuple(np.frombuffer(matrix_data, "<i4").tolist()),
            light=light,
            notes=notes,
        )


def planar_name(bits: int, chroma: tuple[int, int]) -> str:
    """Return FFmpeg's name of luma and chroma in planes of their own."""
    names = {(1, 1): "444", (1, 2): "422", (2, 2): "420", (2, 1): "440", (1, 4): "411", (4, 4): "410"}
    return f"yuv{names[chroma]}p{'' if bits == 8 else f'{bits}le'}"


def planes_of(frame: Any) -> list[NDArray[Any]]:
    """Return views [H, W] of the planes of a frame of PyAV."""
    dtype = np.dtype(np.uint8 if frame.format.components[0].bits == 8 else "<u2")
    return [
        np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)[
            : plane.height, : plane.width
        ]
        for plane in frame.planes
    ]


def _repack(frame: Any, name: str) -> Any:
    """Lay the same values out in another way."""
    return frame.reformat(format=name)


def _chroma_steps(form: Any) -> tuple[int, int]:
    # 16 is a multiple of all.
    return 16 // form.chroma_height(16), 16 // form.chroma_width(16)


def _side_data(frame: Any, kind: str) -> bytes | None:
    found = frame.side_data.get(kind)
    return None if found is None else bytes(found)
