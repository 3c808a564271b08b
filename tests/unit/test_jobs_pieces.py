"""A picture in pieces: the same file as by bands, whoever does which piece."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from giants import one_layer
from swinir import imaging
from swinir.engine import Restorer
from swinir.jobs import Job, Outcome, restore_by_bands
from swinir.jobs.options import JobOptions
from swinir.jobs.picture_pieces import CutPicture, cut_picture
from swinir.jobs.pieces import join_pieces, restore_piece
from swinir.options import TiffLayout

pytestmark = pytest.mark.usefixtures("one_thread")
OPTIONS = JobOptions(layout=TiffLayout.TILES)


def job_in(folder: Path, *, channels: int = 3, dtype: str = "uint8", has_alpha: bool = False) -> Job:
    draws = np.random.default_rng(0)
    most = 255 if dtype == "uint8" else 65_535
    pixels = draws.integers(0, most + 1, (150, 40, channels)).astype(dtype)
    alpha = draws.integers(0, most + 1, (150, 40)).astype(dtype) if has_alpha else None
    source = folder / "given.tif"
    imaging.write(imaging.Image(pixels=pixels, alpha=alpha), source)
    return Job(source=source, destination=folder / "there" / "made.tif", is_listed=True)


def cut(restorer: Restorer, job: Job, least_px: int = 1) -> CutPicture:
    found = cut_picture(restorer, job, OPTIONS, least_px=least_px, bands_of_piece=2)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("channels", "dtype", "has_alpha"), [(3, "uint8", False), (3, "uint16", True), (1, "uint8", True)]
)
def test_pieces_in_any_order_make_the_file_that_bands_make(
    tmp_path: Path, channels: int, dtype: str, *, has_alpha: bool
) -> None:
    job = job_in(tmp_path, channels=channels, dtype=dtype, has_alpha=has_alpha)
    restorer = one_layer(tile=32)
    pieces = cut(restorer, job)
    assert len(pieces.pieces) > 2
    for piece in reversed(pieces.pieces):
        assert restore_piece(restorer, job, piece, OPTIONS).outcome is Outcome.DONE
    assert join_pieces(restorer, job, pieces, OPTIONS).outcome is Outcome.DONE
    restore_by_bands(restorer, job.source, tmp_path / "here.tif", layout=TiffLayout.TILES)
    assert job.destination.read_bytes() == (tmp_path / "here.tif").read_bytes()
    assert [path.name for path in job.destination.parent.iterdir()] == ["made.tif"]


def test_another_run_takes_pieces_that_are_done_and_no_others(tmp_path: Path) -> None:
    job, restorer = job_in(tmp_path), one_layer(tile=32)
    first = cut(restorer, job)
    done, torn = first.pieces[0].path, first.pieces[1].path
    restore_piece(restorer, job, first.pieces[0], OPTIONS)
    made = done.stat().st_mtime_ns
    torn.write_bytes(b"half")
    again = cut(one_layer(tile=32), job)
    assert again.pieces[0].path == done
    for piece in again.pieces:
        restore_piece(restorer, job, piece, OPTIONS)
    assert done.stat().st_mtime_ns == made
    assert torn.stat().st_size > 4
    # Rows of another network are no use.
    other = cut(one_layer(tile=48), job)
    assert other.pieces[0].path != done
    assert not done.exists()


def test_small_pictures_and_single_pieces_are_not_cut(tmp_path: Path) -> None:
    job, restorer = job_in(tmp_path), one_layer(tile=32)
    assert cut_picture(restorer, job, OPTIONS, least_px=150 * 40 + 1) is None
    assert cut_picture(restorer, job, OPTIONS, least_px=1, bands_of_piece=99) is None


def test_what_goes_wrong_with_a_piece_is_its_result(tmp_path: Path) -> None:
    job, restorer = job_in(tmp_path), one_layer(tile=32)
    pieces = cut(restorer, job)
    gone = replace(job, source=tmp_path / "gone.tif")
    failed = restore_piece(restorer, gone, pieces.pieces[0], OPTIONS)
    assert failed.outcome is Outcome.FAILED
    assert "gone.tif" in str(failed.error)
    unjoined = join_pieces(restorer, job, pieces, OPTIONS)
    assert unjoined.outcome is Outcome.FAILED
    assert not job.destination.exists()
