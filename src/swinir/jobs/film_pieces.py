"""A film in pieces: segments that follow each other, which an ordinary run then finds finished and joins."""

from dataclasses import dataclass
from itertools import islice

from swinir import film as films
from swinir import imaging
from swinir.engine.destinations import check_space, make_place
from swinir.jobs.film import describe_frames, hash_of_film, least_bytes, restore_film, restore_frames
from swinir.jobs.options import AnyRestorer, JobOptions
from swinir.jobs.plan import Job
from swinir.jobs.segments import FinishedSegments, segment_path, shared_times

# A piece decodes again what its first frame depends on, from a key frame on: some 250 frames at most, usually.
SEGMENTS_OF_PIECE = 8


@dataclass(frozen=True, kw_only=True)
class FilmPiece:
    """Segments of a film that one worker restores.

    Attributes:
        segments: which.
    """

    segments: range

    def restore(self, restorer: AnyRestorer, job: Job, options: JobOptions) -> None:
        """See ``Piece``. Segments whose frames are not those that were expected are left to the one who joins."""
        missing = [number for number in self.segments if not segment_path(job.destination, number).exists()]
        if not missing:
            return
        times = shared_times(job.destination)
        start, stop = missing[0] * films.SEGMENT_FRAMES, self.segments.stop * films.SEGMENT_FRAMES
        with films.FilmReader(job.source) as film:
            size = restorer.output_size(film.facts.height, film.facts.width)
            form = films.choose_format(film.facts, size, job.destination, options.film)
            restored = restore_frames(restorer, islice(film.frames(done=times[:start]), stop - start))
            for number in range(missing[0], self.segments.stop):
                encoder = films.FilmEncoder(form, job.destination)
                first = number * films.SEGMENT_FRAMES
                expected = times[first : first + films.SEGMENT_FRAMES]
                found: list[int] = []
                for frame in islice(restored, len(expected)):
                    found.append(frame.pts)
                    encoder.add(*frame)
                if found != expected:
                    return
                films.write_packets(segment_path(job.destination, number), encoder.finish())


@dataclass(frozen=True, kw_only=True)
class CutFilm:
    """A film in pieces.

    Attributes:
        pieces: from the beginning.
    """

    pieces: tuple[FilmPiece, ...]

    def join(self, restorer: AnyRestorer, job: Job, options: JobOptions) -> tuple[str, ...]:
        """See ``Cut``."""
        return restore_film(
            restorer, job.source, job.destination, options=options.film, limits=options.limits
        )


def cut_film(
    restorer: AnyRestorer,
    job: Job,
    options: JobOptions,
    *,
    least_px: int,
    segments_of_piece: int = SEGMENTS_OF_PIECE,
) -> CutFilm | None:
    """Cut a film; None where it has fewer pixels in all frames, is one piece, or does not tell all its times.

    Raises:
        MissingPackageError: PyAV is not installed.
        ImageError: it cannot be read, or its result could not be written.
    """
    if options.film.deinterlace:
        return None
    make_place(job.source, job.destination)
    with films.FilmReader(job.source) as film:
        facts = film.facts
        options.limits.check_size(imaging.shown_path(job.source), facts.width, facts.height)
        times = film.times()
        num_segments = -(-len(times) // films.SEGMENT_FRAMES)
        starts = range(0, num_segments, segments_of_piece)
        if len(times) * facts.height * facts.width < least_px or len(starts) < 2:
            return None
        size = restorer.output_size(facts.height, facts.width)
        form = films.choose_format(facts, size, job.destination, options.film)
        identity = describe_frames(restorer, hash_of_film(job.source), options.film, form)
        with FinishedSegments(job.destination, identity) as finished:
            films.check_container(film, job.destination, form, finished.folder)
            check_space(job.destination, least_bytes(form, len(times) - finished.num_frames))
            finished.share(times)
    return CutFilm(
        pieces=tuple(
            FilmPiece(segments=range(start, min(start + segments_of_piece, num_segments))) for start in starts
        )
    )
