"""One film from file to file, in bounded memory; a run that was ended goes on where it stopped."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt16

from swinir import film as films
from swinir import imaging
from swinir.engine import Enlarger, Progress, Restorer, hash_file
from swinir.engine.destinations import check_space, make_place
from swinir.engine.mark import Mark, add_mark
from swinir.errors import ImageReadError, ImageWriteError
from swinir.jobs.segments import FinishedSegments
from swinir.options import FilmOptions, VideoCodec
from swinir.provenance import __version__

# Of the values of its frames, what a film takes at least: without loss or nearly so, and else.
_LEAST_SHARE = {VideoCodec.FFV1: 0.1, VideoCodec.PRORES: 0.05}
_LEAST_SHARE_OF_OTHERS = 0.001
# A film whose last frame is so much before the end that it states is said to be cut short.
_MISSING_S, _MISSING_SHARE = 1.0, 0.1
_log = logging.getLogger(__name__)


@runtime_checkable
class FrameProgress(Protocol):
    """A ``Progress`` that shows how many frames of a film are done, and how many each second."""

    def count_frames(self) -> None:
        """Show frames from now on."""
        ...


class RestoredFrame(NamedTuple):
    """A frame as an encoder takes it: when it is shown, for how long, and its colours, white at 65535."""

    pts: int
    duration: int
    pixels: UInt16[np.ndarray, "h w 3"]


def restore_film(
    restorer: Restorer | Enlarger,
    source: Path,
    destination: Path,
    *,
    options: FilmOptions = FilmOptions(),  # noqa: B008  frozen
    limits: imaging.Limits = imaging.DEFAULT_LIMITS,
    progress: Progress | None = None,
    on_start: Callable[[], None] | None = None,
) -> tuple[str, ...]:
    """Restore the frames of a film into another file; what else is in it is copied.

    Frames keep their times, bits, colours and turning. Segments of ``SEGMENT_FRAMES`` that are encoded stay on the
    disk beside the result, in a hidden folder, until the result is whole. Where an earlier run with the same input,
    model and options was ended, however that happened, this one goes on.

    Args:
        restorer: whose network restores each frame.
        source: a film.
        destination: its suffix names the container; an existing one is replaced when all is done.
        options: how frames are encoded.
        limits: on the size of a frame; how many there are is free.
        progress: called with how many frames are done, and how many there are.
        on_start: called before the first.

    Returns:
        Notes a user should read: what reading chose and what the container could not hold.

    Raises:
        MissingPackageError: PyAV is not installed.
        ImageError: a file cannot be read or written, ``destination`` is ``source``, or another run is writing it.
        RestoreError: not enough memory even for small tiles, or fp16 overflowed.
    """
    if destination.suffix.lower() not in films.FILM_SUFFIXES:
        name, known = imaging.shown_path(destination), ", ".join(films.FILM_SUFFIXES)
        raise ImageWriteError(
            f"{name} names no film that can be written, but the input is one: use one of {known}"
        )
    make_place(source, destination)
    with films.FilmReader(source, deinterlace=options.deinterlace) as film:
        facts = film.facts
        limits.check_size(imaging.shown_path(source), facts.width, facts.height)
        form = films.choose_format(
            facts, restorer.output_size(facts.height, facts.width), destination, options
        )
        content = hash_of_film(source)
        with FinishedSegments(destination, describe_frames(restorer, content, options, form)) as finished:
            films.check_container(film, destination, form, finished.folder)
            check_space(destination, least_bytes(form, facts.num_frames - finished.num_frames))
            if finished.num_frames:
                _log.info(
                    "%s: goes on behind %d frames", imaging.shown_path(destination), finished.num_frames
                )
            if on_start is not None:
                on_start()
            _restore_rest(restorer, film, form, finished, progress)
            xmp = add_mark(None, Mark(describe_settings(restorer, options), content))
            notes = facts.notes + form.notes + films.join(film, destination, form, finished.paths, xmp=xmp)
            notes += _note_missing(film, finished.times)
            finished.remove()
    if film.num_damaged:
        notes += (f"{film.num_damaged:,} damaged packets of the film were left out.",)
    return notes


def _restore_rest(
    restorer: Restorer | Enlarger,
    film: films.FilmReader,
    form: films.FilmFormat,
    finished: FinishedSegments,
    progress: Progress | None,
) -> None:
    """Restore and encode the frames that are not finished, a segment after the other."""
    num_done, total = finished.num_frames, film.facts.num_frames
    if progress is not None:
        progress(num_done, max(total, num_done))
    restored = restore_frames(restorer, film.frames(done=tuple(finished.times)))
    while (first := next(restored, None)) is not None:
        encoder = films.FilmEncoder(form, finished.destination)
        for frame in chain([first], islice(restored, films.SEGMENT_FRAMES - 1)):
            encoder.add(*frame)
            num_done += 1
            if progress is not None:
                progress(num_done, max(total, num_done))
        finished.append(encoder.finish())


def restore_frames(
    restorer: Restorer | Enlarger, frames: Iterator[films.FilmFrame]
) -> Iterator[RestoredFrame]:
    """Restore frames in their order, some of them together where that is faster."""
    if isinstance(restorer, Enlarger):
        for frame in frames:
            yield RestoredFrame(frame.pts, frame.duration, restorer(frame.pixels))
        return
    times: deque[tuple[int, int]] = deque()

    def pixels() -> Iterator[UInt16[np.ndarray, "h w 3"]]:
        for frame in frames:
            times.append((frame.pts, frame.duration))
            yield frame.pixels

    for restored in restorer.restore_many(pixels()):
        yield RestoredFrame(*times.popleft(), restored)


def _note_missing(film: films.FilmReader, times: Sequence[int]) -> tuple[str, ...]:
    """Say that a film ends before the time that it states."""
    last_s = float(times[-1] * film.facts.time_base) if times else 0.0
    if film.end_s - last_s <= max(_MISSING_S, _MISSING_SHARE * film.end_s):
        return ()
    return (
        f"The film states {film.end_s:,.0f} s and its last frame is at {last_s:,.0f} s: it may be cut short.",
    )


def least_bytes(form: films.FilmFormat, num_frames: int) -> int:
    """Return what so many frames take at least, in segments and again in the result."""
    values = form.height * form.width * (1 + 2 / (form.chroma[0] * form.chroma[1]))
    share = _LEAST_SHARE.get(form.codec, _LEAST_SHARE_OF_OTHERS)
    return int(2 * share * max(num_frames, 0) * values * form.bits / 8)


def describe_settings(restorer: Restorer | Enlarger, options: FilmOptions) -> str:
    """Return what a result depends on, as text."""
    parts = [restorer.settings]
    if options.codec is not VideoCodec.AUTO:
        parts.append(options.codec.value)
    if options.crf is not None:
        parts.append(f"crf {options.crf:g}")
    if options.preset is not None:
        parts.append(f"preset {options.preset}")
    if options.deinterlace:
        parts.append("deinterlaced")
    return ", ".join(parts)


def hash_of_film(source: Path) -> str:
    """Return the hash of a film's bytes.

    Raises:
        ImageReadError: it cannot be read.
    """
    try:
        return hash_file(source)
    except OSError as error:
        raise ImageReadError(
            f"{imaging.shown_path(source)} cannot be read ({error.strerror or error})"
        ) from error


def describe_frames(
    restorer: Restorer | Enlarger, content: str, options: FilmOptions, form: films.FilmFormat
) -> dict[str, Any]:
    """Return what the frames of a result depend on; ``content`` is the hash of the film."""
    computing = {key: str(value) for key, value in asdict(restorer.options).items()}
    return {
        "version": __version__,
        "source": content,
        "restorer": restorer.settings,
        "computing": computing,
        "deinterlace": options.deinterlace,
        "form": {key: str(value) for key, value in asdict(form).items()},
    }
