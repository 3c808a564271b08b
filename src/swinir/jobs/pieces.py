"""A giant picture in pieces that different machines restore: bands that follow each other, then joined in order.

The rows of a piece are a file in a hidden folder beside the result, which all machines see. It appears when it is
whole, and its name says what it depends on, so that another run takes it as it is.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from swinir import imaging
from swinir.engine import FileRestoration, Restorer
from swinir.engine.stream import StreamPlan
from swinir.errors import ImageWriteError, SwinIRError, UsageError
from swinir.files import written_beside
from swinir.jobs.bands import identity_of, marked_plan, streaming_limits
from swinir.jobs.hidden import hidden_folder, read_rows, write_rows
from swinir.jobs.options import JobOptions
from swinir.jobs.plan import Job, JobResult, Outcome

# A piece also restores the row of tiles above it, which its first rows are blended with: a quarter more.
BANDS_OF_PIECE = 4


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Bands of a picture that one worker restores.

    Attributes:
        plan: of the whole picture.
        bands: which.
        path: of the file for their rows.
    """

    plan: StreamPlan
    bands: range
    path: Path


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A picture in pieces.

    Attributes:
        pieces: from the top.
    """

    pieces: tuple[Piece, ...]


def cut_into_pieces(
    restorer: Restorer, job: Job, options: JobOptions, *, least_px: int, bands_of_piece: int = BANDS_OF_PIECE
) -> Cut | None:
    """Cut a picture that is restored by bands; None where it has fewer pixels, or is one piece.

    Raises:
        ImageError: it cannot be read, or nothing can be written beside the result.
    """
    size = imaging.peek_size(job.source, streaming_limits(options.limits))
    if size is None or size.height * size.width < least_px:
        return None
    file = FileRestoration(source=job.source, destination=job.destination, quality=options.quality)
    limits = streaming_limits(options.limits)
    job.destination.parent.mkdir(parents=True, exist_ok=True)
    with imaging.ImageReader(
        job.source, limits=limits, folder=job.destination.parent, salvage=options.salvage
    ) as reader:
        plan = marked_plan(restorer.plan_bands(reader.header), file.mark(restorer))
    starts = range(0, plan.num_bands, bands_of_piece)
    if len(starts) < 2:
        return None
    depends = {"identity": identity_of(restorer, job.source), "load": asdict(plan.load)}
    digest = hashlib.blake2b(json.dumps(depends).encode(), digest_size=8).hexdigest()
    folder = hidden_folder(job.destination, "pieces")
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if not path.name.startswith((digest, ".")):
            path.unlink(missing_ok=True)
    pieces = (
        Piece(
            plan=plan,
            bands=range(start, min(start + bands_of_piece, plan.num_bands)),
            path=folder / f"{digest}-{start}.rows",
        )
        for start in starts
    )
    return Cut(pieces=tuple(pieces))


def restore_piece(restorer: Restorer, job: Job, piece: Piece, options: JobOptions) -> JobResult:
    """Restore the bands of a piece, unless an earlier run or a worker that was lost has done it."""
    plan, bands, path = piece.plan, piece.bands, piece.path

    def restore() -> tuple[str, ...]:
        if path.exists() and path.stat().st_size == _num_bytes(piece):
            return ()
        limits = streaming_limits(options.limits)
        with (
            imaging.ImageReader(
                job.source, limits=limits, folder=path.parent, salvage=options.salvage
            ) as reader,
            written_beside(path, ImageWriteError) as file,
        ):
            for _, band in restorer.restore_bands(reader, plan, bands=bands, folder=path.parent):
                write_rows(file, band)
        return ()

    return _result(job, restore)


def join_pieces(job: Job, cut: Cut, options: JobOptions) -> JobResult:
    """Write the result from its pieces, and remove them."""
    plan = cut.pieces[0].plan

    def join() -> tuple[str, ...]:
        folder = hidden_folder(job.destination, "pieces")
        with imaging.ImageWriter(
            job.destination, plan.header, quality=options.quality, layout=options.layout, folder=folder
        ) as writer:
            for piece in cut.pieces:
                with piece.path.open("rb") as file:
                    for band in read_rows(file, plan.header, _num_bytes(piece)):
                        writer.append(band)
            notes = writer.finish()
        shutil.rmtree(folder, ignore_errors=True)
        return plan.source.template.notes + notes

    return _result(job, join)


def _result(job: Job, action: Callable[[], tuple[str, ...]]) -> JobResult:
    start = time.monotonic()
    error: SwinIRError | None = None
    notes: tuple[str, ...] = ()
    try:
        notes = action()
    except UsageError:
        raise
    except SwinIRError as problem:
        error = problem
    except OSError as problem:
        name = imaging.shown_path(job.destination)
        error = ImageWriteError(f"{name} cannot be written ({problem.strerror or problem})")
    return JobResult(
        job=job,
        outcome=Outcome.DONE if error is None else Outcome.FAILED,
        notes=notes,
        error=error,
        duration_s=time.monotonic() - start,
    )


def _num_bytes(piece: Piece) -> int:
    top, bottom = piece.plan.band_rows(piece.bands[0])[0], piece.plan.band_rows(piece.bands[-1])[1]
    return (bottom - top) * piece.plan.header.row_bytes
