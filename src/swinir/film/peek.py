"""How large a film is, by its header alone."""

from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from swinir.errors import MissingPackageError
from swinir.film.pyav import import_av, open_film

DEFAULT_RATE = Fraction(25)


class PeekedFilm(NamedTuple):
    """Size of a frame as it is stored, and about how many there are; 0 where nothing says so."""

    height: int
    width: int
    frames: int


def peek_film(path: Path) -> PeekedFilm | None:
    """Read the size of a film; None where its header does not say, cannot be read, or PyAV is not installed."""
    try:
        av = import_av()
    except MissingPackageError:
        return None
    try:
        with open_film(path) as container:
            stream = choose_stream(av, container)
            if stream is None:
                return None
            context = stream.codec_context
            return PeekedFilm(context.height, context.width, count_frames(av, container, stream))
    except av.error.FFmpegError:
        return None


def choose_stream(av: Any, container: Any) -> Any:
    """Return the first stream of pictures that is not a cover, or None."""
    covers = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & covers and stream.codec_context is not None:
            return stream
    return None


def count_frames(av: Any, container: Any, stream: Any) -> int:
    """Return about how many frames there are, from the film's duration where it does not say."""
    rate = rate_of(stream)
    if stream.frames:
        return int(stream.frames)
    if stream.duration:
        return round(stream.duration * stream.time_base * rate)
    return round(Fraction(container.duration or 0, av.time_base) * rate)


def rate_of(stream: Any) -> Fraction:
    """Return frames per second on average."""
    return stream.average_rate or stream.guessed_rate or DEFAULT_RATE
