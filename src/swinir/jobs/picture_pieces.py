"""A giant picture in pieces: bands that follow each other, whose rows are a file for each piece."""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from swinir import imaging
from swinir.engine import FileRestoration, Restorer
from swinir.engine.destinations import make_place
from swinir.engine.stream import StreamPlan
from swinir.errors import ImageWriteError
from swinir.files import written_beside
from swinir.jobs.bands import identity_of, marked_plan, streaming_limits
from swinir.jobs.hidden import hidden_folder, read_rows, write_rows
from swinir.jobs.options import AnyRestorer, JobOptions
from swinir.jobs.plan import Job

# A piece also restores the row of tiles above it, which its first rows are blended with: a quarter more.
BANDS_OF_PIECE = 4


@dataclass(frozen=True, kw_only=True)
class PicturePiece:
    """Bands of a picture that one worker restores.

    Attributes:
        plan: of the whole picture.
        bands: which.
        path: of the file for their rows.
    """

    plan: StreamPlan
    bands: range
    path: Path

    @property
    def num_bytes(self) -> int:
        """Bytes of its rows."""
        top, bottom = self.plan.band_rows(self.bands[0])[0], self.plan.band_rows(self.bands[-1])[1]
        return (bottom - top) * self.plan.header.row_bytes

    def restore(self, restorer: AnyRestorer, job: Job, options: JobOptions) -> None:
        """See ``Piece``."""
        assert isinstance(restorer, Restorer)
        folder = self.path.parent
        if self.path.exists() and self.path.stat().st_size == self.num_bytes:
            return
        limits = streaming_limits(options.limits)
        with (
            imaging.ImageReader(job.source, limits=limits, folder=folder, salvage=options.salvage) as reader,
            written_beside(self.path, ImageWriteError) as file,
        ):
            for _, band in restorer.restore_bands(reader, self.plan, bands=self.bands, folder=folder):
                write_rows(file, band)


@dataclass(frozen=True, kw_only=True)
class CutPicture:
    """A picture in pieces.

    Attributes:
        pieces: from the top.
    """

    pieces: tuple[PicturePiece, ...]

    def join(self, restorer: AnyRestorer, job: Job, options: JobOptions) -> tuple[str, ...]:
        """See ``Cut``."""
        del restorer
        plan = self.pieces[0].plan
        folder = hidden_folder(job.destination, "pieces")
        with imaging.ImageWriter(
            job.destination, plan.header, quality=options.quality, layout=options.layout, folder=folder
        ) as writer:
            for piece in self.pieces:
                with piece.path.open("rb") as file:
                    for band in read_rows(file, plan.header, piece.num_bytes):
                        writer.append(band)
            notes = writer.finish()
        shutil.rmtree(folder, ignore_errors=True)
        return plan.notes + notes


def cut_picture(
    restorer: Restorer, job: Job, options: JobOptions, *, least_px: int, bands_of_piece: int = BANDS_OF_PIECE
) -> CutPicture | None:
    """Cut a picture that is restored by bands; None where it has fewer pixels, or is one piece.

    Raises:
        ImageError: it cannot be read, or nothing can be written beside the result.
    """
    limits = streaming_limits(options.limits)
    size = imaging.peek_size(job.source, limits)
    if size is None or size.height * size.width < least_px:
        return None
    file = FileRestoration(source=job.source, destination=job.destination, quality=options.quality)
    make_place(job.source, job.destination)
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
        PicturePiece(
            plan=plan,
            bands=range(start, min(start + bands_of_piece, plan.num_bands)),
            path=folder / f"{digest}-{start}.rows",
        )
        for start in starts
    )
    return CutPicture(pieces=tuple(pieces))
