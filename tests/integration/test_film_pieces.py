"""A film in pieces: the same film as of one process, whoever does which piece and however often."""

from pathlib import Path
from typing import Any

import pytest

from films import packets, write_film
from giants import one_layer
from swinir import film
from swinir.engine import Enlarger, Restorer, TargetSize
from swinir.jobs import Job, Outcome
from swinir.jobs.film import restore_film
from swinir.jobs.film_pieces import CutFilm, cut_film
from swinir.jobs.options import JobOptions
from swinir.jobs.pieces import join_pieces, restore_piece
from swinir.options import FilmOptions, VideoCodec

pytest.importorskip("av", reason="needs PyAV")
pytestmark = pytest.mark.usefixtures("one_thread")
OPTIONS = JobOptions(film=FilmOptions(codec=VideoCodec.LIBX264))
# With AVX-512, x264 makes other bytes now and then of the same frames, if chroma is not whole rows of 64.
REPRODUCIBLE = JobOptions(film=FilmOptions(codec=VideoCodec.FFV1))
# Of variable rate.
TIMES = tuple(40 * number + number % 3 for number in range(30))


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, "SEGMENT_FRAMES", 4)


def job_in(folder: Path, **options: Any) -> Job:
    source = write_film(folder / "a.mp4", times=TIMES, options={"g": "7", "bf": "2"}, sound="aac", **options)
    return Job(source=source, destination=folder / "there" / "a.mkv", is_listed=False)


def cut(restorer: Restorer | Enlarger, job: Job, options: JobOptions = OPTIONS) -> CutFilm:
    found = cut_film(restorer, job, options, least_px=1, segments_of_piece=2)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["model", "size"])
def test_pieces_in_any_order_make_the_film_of_one_process(tmp_path: Path, kind: str) -> None:
    job, restorer, options = job_in(tmp_path), one_layer(), OPTIONS
    if kind == "size":
        restorer, options = Enlarger(TargetSize(width=96), models={2: restorer}), REPRODUCIBLE
    found = cut(restorer, job, options)
    assert [piece.segments for piece in found.pieces] == [
        range(0, 2),
        range(2, 4),
        range(4, 6),
        range(6, 8),
    ]
    for piece in reversed(found.pieces):
        assert restore_piece(restorer, job, piece, options).outcome is Outcome.DONE
    computed: list[int] = []
    patched = pytest.MonkeyPatch()
    patched.setattr(film.FilmEncoder, "add", lambda *_: computed.append(1))
    assert join_pieces(restorer, job, found, options).outcome is Outcome.DONE
    patched.undo()
    assert computed == []
    restore_film(restorer, job.source, tmp_path / "here.mkv", options=options.film)
    assert job.destination.read_bytes() == (tmp_path / "here.mkv").read_bytes()
    assert [path.name for path in job.destination.parent.iterdir()] == ["a.mkv"]


def test_what_is_missing_is_done_by_the_one_who_joins_and_what_is_there_is_taken(tmp_path: Path) -> None:
    job, restorer = job_in(tmp_path), one_layer()
    first = cut(restorer, job)
    restore_piece(restorer, job, first.pieces[2], OPTIONS)
    kept = {path: path.stat().st_mtime_ns for path in job.destination.parent.glob(".*/*.packets")}
    assert len(kept) == 2
    # Another run begins, and finds what lies behind the gap.
    again = cut(restorer, job)
    for piece in (again.pieces[2], again.pieces[0]):
        assert restore_piece(restorer, job, piece, OPTIONS).outcome is Outcome.DONE
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert join_pieces(restorer, job, again, OPTIONS).outcome is Outcome.DONE
    restore_film(restorer, job.source, tmp_path / "here.mkv", options=OPTIONS.film)
    assert job.destination.read_bytes() == (tmp_path / "here.mkv").read_bytes()


def test_segments_of_other_choices_are_not_taken(tmp_path: Path) -> None:
    job, restorer = job_in(tmp_path), one_layer()
    restore_piece(restorer, job, cut(restorer, job).pieces[1], OPTIONS)
    other = JobOptions(film=FilmOptions(codec=VideoCodec.LIBX264, crf=40))
    assert cut_film(restorer, job, other, least_px=1, segments_of_piece=2) is not None
    assert not list(job.destination.parent.glob(".*/*.packets"))


def test_a_piece_whose_frames_are_not_those_expected_is_left_to_the_one_who_joins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged packets are left out, so that frames are fewer than the file tells."""
    job, restorer = job_in(tmp_path), one_layer()
    with monkeypatch.context() as patch:
        times = film.FilmReader.times
        patch.setattr(film.FilmReader, "times", lambda self: sorted({*times(self), 421}))
        found = cut(restorer, job)
    for piece in found.pieces:
        assert restore_piece(restorer, job, piece, OPTIONS).outcome is Outcome.DONE
    assert join_pieces(restorer, job, found, OPTIONS).outcome is Outcome.DONE
    restore_film(restorer, job.source, tmp_path / "here.mkv", options=OPTIONS.film)
    assert packets(job.destination, "video") == packets(tmp_path / "here.mkv", "video")


def test_short_films_and_those_without_times_are_not_cut(tmp_path: Path) -> None:
    job, restorer = job_in(tmp_path), one_layer()
    num_px = len(TIMES) * 64 * 48
    assert cut_film(restorer, job, OPTIONS, least_px=num_px + 1, segments_of_piece=2) is None
    assert cut_film(restorer, job, OPTIONS, least_px=num_px, segments_of_piece=99) is None
    interlaced = JobOptions(film=FilmOptions(deinterlace=True))
    assert cut_film(restorer, job, interlaced, least_px=1, segments_of_piece=2) is None
    untimed = write_film(tmp_path / "a.avi", times=TIMES, codec="mpeg4", options={"bf": "2"})
    with film.FilmReader(untimed) as reader:
        assert reader.times() == []
    assert not list(tmp_path.glob("**/.*"))


def test_times_are_those_of_the_frames(tmp_path: Path) -> None:
    with film.FilmReader(job_in(tmp_path).source) as reader:
        assert reader.times() == [frame.pts for frame in reader.frames()]
