"""Animations and documents of several pages: their frames one by one, in and out."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyvips

from swinir.errors import ImageReadError
from swinir.imaging import heif, png, webp
from swinir.imaging.apng import AnimatedPng, find_frames
from swinir.imaging.decode import decode
from swinir.imaging.formats import GIF, PNG, TIFF, WEBP, Format
from swinir.imaging.image import Image
from swinir.imaging.io import damage_as_errors, read, read_frame, recognize
from swinir.imaging.limits import DEFAULT_LIMITS, Limits
from swinir.imaging.opening import Opened, load_all, open_file
from swinir.imaging.salvage import read_leniently
from swinir.imaging.source import open_source

_DEFAULT_DURATION_MS = 100
_CUT = "the last frame is cut short"


class Timing(NamedTuple):
    """How an animation is shown.

    Attributes:
        durations_ms: of each frame.
        loops: how often it is shown; 0 for ever.
    """

    durations_ms: tuple[int, ...]
    loops: int


@dataclass(frozen=True, kw_only=True)
class Frames:
    """The frames or pages of a file, decoded one by one as they are asked for.

    Attributes:
        count: how many there are; 1 for a still picture.
        timing: of an animation; None for pages and still pictures.
        notes: what reading did that a user should know.
    """

    count: int
    timing: Timing | None
    decode: Callable[[], Iterator[Image]]
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Image]:
        """Yield each frame, whole and upright, laid on those before it where the file keeps differences.

        Raises:
            ImageReadError: a frame is damaged.
            ImageTooLargeError: a page is beyond the limits.
        """
        return self.decode()


def read_frames(
    source: Path | str | bytes | BinaryIO, *, limits: Limits = DEFAULT_LIMITS, salvage: bool = False
) -> Frames:
    """Open a file to read all its frames or pages.

    Args:
        source: a file, its content, or a file object.
        limits: beyond them nothing is decoded.
        salvage: of a damaged file, read the frames before the damage, and of pages and pictures what can be
            decoded; notes say what is missing.

    Raises:
        ImageReadError: it is missing, damaged, or none of the formats that are known.
        ImageTooLargeError: it is beyond the limits.
        MissingPackageError: its format takes a package that is not installed.
    """
    opened_source = open_source(source, limits)
    file_format = recognize(opened_source)
    again = opened_source.path or opened_source.content()
    still = Frames(count=1, timing=None, decode=lambda: iter([read(again, limits=limits, salvage=salvage)]))
    if not isinstance(file_format, Format):
        return still
    try:
        with damage_as_errors(opened_source, file_format):
            whole = opened_source
            if salvage and file_format in (WEBP, PNG):
                end = webp.mended if file_format is WEBP else png.ended
                whole = whole.with_content(end(whole.content()))
            opened = open_file(whole, file_format, limits)
            if opened.num_frames == 1:
                return still
            bare = _frames_of(opened, limits, salvage=salvage)
    except ImageReadError:
        if salvage:
            return still
        raise
    notes = bare.notes
    if file_format is WEBP and whole.num_bytes < opened_source.num_bytes:
        notes = (*notes, f"The file is cut short: the first {bare.count:,} frames are whole and were read.")
    frames = replace(bare, decode=lambda: _guarded(bare.decode, opened), notes=notes)
    return _before_damage(frames) or still if salvage else frames


def _guarded(decode_all: Callable[[], Iterator[Image]], opened: Opened) -> Iterator[Image]:
    with damage_as_errors(opened.source, opened.file_format):
        yield from decode_all()


def _before_damage(frames: Frames) -> Frames | None:
    """Return the frames before the first that is damaged; all are decoded for that."""
    sound = 0
    with suppress(ImageReadError):
        for _ in frames:
            sound += 1
    if sound == frames.count:
        return frames
    if sound == 0:
        return None
    note = f"The file is damaged: of {frames.count:,} frames the first {sound:,} are whole and were read."
    return replace(
        frames,
        count=sound,
        timing=frames.timing and frames.timing._replace(durations_ms=frames.timing.durations_ms[:sound]),
        decode=lambda: islice(frames, sound),
        notes=(*frames.notes, note),
    )


def _frames_of(opened: Opened, limits: Limits, *, salvage: bool) -> Frames:
    file_format = opened.file_format
    if file_format is TIFF:
        page = read_leniently if salvage else read_frame
        return Frames(count=opened.num_frames, timing=None, decode=lambda: _pages(opened, limits, page))
    if file_format in (GIF, WEBP):
        return _stacked(opened, fail_on="error" if salvage else None)
    if file_format is PNG:
        return _animated_png(opened, limits)
    return _animated_avif(opened, limits)


def _pages(
    opened: Opened, limits: Limits, decode_page: Callable[[Opened, int, Limits], Image]
) -> Iterator[Image]:
    for number in range(opened.num_frames):
        page = decode_page(opened, number, limits)
        # What the first page says of the whole is not said again.
        yield page if number == 0 else replace(page, notes=())


def _stacked(opened: Opened, fail_on: str | None) -> Frames:
    """GIF and WebP, whose frames libvips decodes one below the other."""
    if opened.facts.is_last_frame_cut and fail_on is None:
        raise pyvips.Error(_CUT)
    image = load_all(opened, fail_on=fail_on)
    count = opened.num_frames
    delays: Any = image.get("delay") if image.get_typeof("delay") else [_DEFAULT_DURATION_MS] * count
    loops: Any = image.get("loop") if image.get_typeof("loop") else 0
    durations = tuple(int(delay) for delay in delays)[:count]
    return Frames(
        count=count, timing=Timing(durations, int(loops)), decode=lambda: _unstacked(opened, fail_on)
    )


def _unstacked(opened: Opened, fail_on: str | None) -> Iterator[Image]:
    stack = load_all(opened, fail_on=fail_on)
    height = stack.height // opened.num_frames
    first = decode(stack.crop(0, 0, stack.width, 1).copy(), opened.file_format, opened.facts)
    bands = stack.bands
    num_colors = 1 if bands < 3 else 3
    region = pyvips.Region.new(stack)
    for number in range(opened.num_frames):
        if opened.facts.is_last_frame_cut and number == opened.num_frames - 1:
            raise pyvips.Error(_CUT)
        data = region.fetch(0, number * height, stack.width, height)
        values = np.frombuffer(data, np.uint8).reshape(height, stack.width, bands)
        alpha = values[:, :, num_colors].copy() if bands > num_colors else None
        frame = replace(first, pixels=values[:, :, :num_colors].copy(), alpha=alpha)
        yield frame if number == 0 else replace(frame, notes=())


def _animated_png(opened: Opened, limits: Limits) -> Frames:
    with opened.source.open() as file:
        found = find_frames(file)
    if found is None or len(found.frames) == 1:
        note = f"The file says that it has {opened.num_frames:,} frames, and one can be read."
        still = read_frame(opened, 0, limits).with_notes((note,))
        return Frames(count=1, timing=None, decode=lambda: iter([still]))
    notes = ()
    if len(found.frames) != opened.num_frames:
        notes = (f"The file says that it has {opened.num_frames:,} frames and has {len(found.frames):,}.",)
    timing = Timing(found.durations_ms, found.loops)
    return Frames(
        count=len(found.frames),
        timing=timing,
        decode=lambda: _frames_of_png(opened, found, limits),
        notes=notes,
    )


def _frames_of_png(opened: Opened, found: AnimatedPng, limits: Limits) -> Iterator[Image]:
    first = read_frame(opened, 0, limits)
    with opened.source.open() as file:
        for number, (pixels, alpha) in enumerate(found.decode(file)):
            frame = replace(first, pixels=pixels, alpha=alpha if found.has_alpha else None)
            yield frame if number == 0 else replace(frame, notes=())


def _animated_avif(opened: Opened, limits: Limits) -> Frames:
    """AVIF sequences, which Pillow decodes and libvips does not."""
    import PIL.Image  # noqa: PLC0415  takes time that most pictures need not

    first = read_frame(opened, 0, limits)
    with PIL.Image.open(BytesIO(opened.source.content()), formats=["AVIF"]) as film:
        count: int = getattr(film, "n_frames", 1)
    with opened.source.open() as file:
        durations = heif.read_durations_ms(file, opened.source.name, limits)[:count]
    durations += (_DEFAULT_DURATION_MS,) * (count - len(durations))
    if count == 1:
        return Frames(count=1, timing=None, decode=lambda: iter([first]))
    notes = ("The frames of this film were read with 8 bits.",) if first.depth > 8 else ()
    return Frames(
        count=count,
        timing=Timing(durations, 0),
        decode=lambda: _frames_of_avif(opened, first),
        notes=notes,
    )


def _frames_of_avif(opened: Opened, first: Image) -> Iterator[Image]:
    import PIL.Image  # noqa: PLC0415

    with PIL.Image.open(BytesIO(opened.source.content()), formats=["AVIF"]) as film:
        for number in range(getattr(film, "n_frames", 1)):
            film.seek(number)
            try:
                values = np.asarray(film)
            except RuntimeError as error:
                # What Pillow raises over data that the decoder refuses.
                raise ImageReadError(
                    f"{opened.source.name} cannot be read: frame {number + 1:,} of its AVIF data is damaged"
                ) from error
            alpha = values[:, :, 3].copy() if values.shape[2] == 4 else None
            frame = replace(first, pixels=values[:, :, :3].copy(), alpha=alpha, bits=None)
            yield frame if number == 0 else replace(frame, notes=())
