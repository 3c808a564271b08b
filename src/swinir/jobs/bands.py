"""One picture of any size from file to file, in bounded memory; a run that was ended goes on where it stopped."""

import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from swinir import imaging
from swinir.engine import FileRestoration, Progress, Restorer, hash_file
from swinir.engine.budget import CPU_MEMORY_BYTES
from swinir.engine.destinations import make_place
from swinir.engine.files import marked
from swinir.engine.hardware import is_cpu
from swinir.engine.mark import Mark
from swinir.engine.stream import StreamPlan
from swinir.errors import ImageReadError, ImageTooLargeError
from swinir.imaging.formats import TIFF
from swinir.jobs.finished import FinishedRows
from swinir.options import FramesChoice
from swinir.provenance import __version__

_log = logging.getLogger(__name__)
# Of the memory that a process may take, what the pixels of a whole result may: 31 megapixels of RGB in 8 bits. Where
# a GPU computes, the disk would take more of the time, and machines have more memory.
_SHARE_OF_WHOLE_RESULTS = 1 / 16
_BYTES_OF_WHOLE_RESULTS_BESIDE_GPU = 2**29
# Limits of pictures in memory that those by bands need not keep.
_LIMITS_OF_WHOLE = ("max_pixels", "max_side_px", "max_file_bytes", "max_expansion", "max_total_pixels")


@runtime_checkable
class MegapixelProgress(Protocol):
    """A ``Progress`` that shows how many megapixels of a large picture are done."""

    def count_megapixels(self, total: float) -> None:
        """Show from now on how many of so many megapixels are done."""
        ...


def is_for_bands(
    file: FileRestoration, restorer: Restorer, layout: imaging.TiffLayout, error: ImageTooLargeError | None
) -> bool:
    """Tell whether a file is restored by bands.

    Args:
        file: to restore.
        restorer: that restores it.
        layout: of a TIFF file.
        error: what refused to read it whole; None where nothing was tried.
    """
    suffix = file.destination.suffix.lower()
    if suffix == imaging.DEEP_ZOOM_SUFFIX:
        return True
    if error is None:
        return layout is not imaging.TiffLayout.STRIPS and suffix in TIFF.suffixes
    if error.limit not in _LIMITS_OF_WHOLE or file.frames is FramesChoice.ALL:
        return False
    size = imaging.peek_size(file.source, streaming_limits(file.limits))
    # Frames and pages are restored one by one.
    return file.frames is FramesChoice.FIRST or size is None or size.frames == 1


def streaming_limits(limits: imaging.Limits) -> imaging.Limits:
    """Return the limits for bands: those that were asked for, and for the others what takes no memory."""
    usual, wide = vars(imaging.DEFAULT_LIMITS), vars(imaging.STREAM_LIMITS)
    return imaging.Limits(
        **{name: wide[name] if value == usual[name] else value for name, value in vars(limits).items()}
    )


def largest_whole_px(restorer: Restorer) -> int:
    """Return how many pixels of an input are restored whole; beyond them by bands, which gives the same result."""
    most_bytes = _BYTES_OF_WHOLE_RESULTS_BESIDE_GPU
    if is_cpu(restorer.device):
        most_bytes = (restorer.budget.memory_bytes or CPU_MEMORY_BYTES) * _SHARE_OF_WHOLE_RESULTS
    return max(1, int(most_bytes / 3 / restorer.scale**2))


def restore_by_bands(
    restorer: Restorer,
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    on_megapixels: Callable[[float], None] | None = None,
    quality: int | None = None,
    layout: imaging.TiffLayout = imaging.TiffLayout.STRIPS,
    limits: imaging.Limits = imaging.STREAM_LIMITS,
    salvage: bool = False,
) -> tuple[str, ...]:
    """Restore a picture of any size into another file; rows that are finished are on the disk beside it.

    Where an earlier run with the same input, model and options was ended, however that happened, this one goes on,
    and the file is the same to the byte, if the memory sufficed for the tiles in both. Other ways of writing
    (``quality``, ``layout``, the suffix's format) may change in between.

    Args:
        restorer: whose network restores.
        source: a file.
        destination: its suffix names the format, ``.dzi`` Deep Zoom; an existing one is replaced when all is done.
        progress: called with how far the work is.
        on_megapixels: called with the size of the input before the work begins.
        quality: from 1 to 100 for JPEG, WebP, AVIF and Deep Zoom; None for one that looks like the original.
        layout: of a TIFF file.
        limits: beyond them nothing is decoded.
        salvage: of a damaged file, restore what can be decoded.

    Returns:
        Notes a user should read: what reading chose and what the format could not hold.

    Raises:
        ImageError: a file cannot be read or written, ``destination`` is ``source``, or another run is writing it.
        RestoreError: not enough memory even for small tiles, or fp16 overflowed.
    """
    source, destination = Path(source), Path(destination)
    name = imaging.shown_path(destination)
    make_place(source, destination)
    with ExitStack() as stack:
        reader = stack.enter_context(
            imaging.ImageReader(source, limits=limits, folder=destination.parent, salvage=salvage)
        )
        # Behind the header: a file that is no picture need not be read whole.
        mark = FileRestoration(source=source, destination=destination, quality=quality).mark(restorer)
        plan = marked_plan(restorer.plan_bands(reader.header), mark)
        finished = stack.enter_context(FinishedRows(destination, plan, identity_of(restorer, source)))
        plan, folder = finished.plan, finished.folder
        writer = stack.enter_context(
            imaging.ImageWriter(destination, plan.header, quality=quality, layout=layout, folder=folder)
        )
        if finished.num_bands:
            _log.info("%s: goes on behind %d of %d bands", name, finished.num_bands, plan.num_bands)
            for band in finished.bands():
                writer.append(band)
        if on_megapixels is not None:
            on_megapixels(reader.header.height * reader.header.width / 1e6)
        if finished.num_bands < plan.num_bands:
            _restore_rest(restorer, reader, finished, writer, progress)
        notes = writer.finish()
        finished.remove()
        return plan.notes + notes


def marked_plan(plan: StreamPlan, mark: Mark | None) -> StreamPlan:
    """Let the result say what it was made of."""
    return replace(plan, source=replace(plan.source, template=marked(plan.source.template, mark)))


def _restore_rest(
    restorer: Restorer,
    reader: imaging.ImageReader,
    finished: FinishedRows,
    writer: imaging.ImageWriter,
    progress: Progress | None,
) -> None:
    """Restore the bands that are not finished."""
    plan = finished.plan
    rest = range(finished.num_bands, plan.num_bands)
    bands = restorer.restore_bands(reader, plan, bands=rest, progress=progress, folder=finished.folder)
    for index, band in bands:
        if index > finished.num_bands:
            finished.commit(index)
        finished.append(band)
        writer.append(band)
    finished.commit(plan.num_bands)


def identity_of(restorer: Restorer, source: Path) -> dict[str, Any]:
    """Return what the rows of a result depend on."""
    try:
        content = hash_file(source)
    except OSError as error:
        raise ImageReadError(
            f"{imaging.shown_path(source)} cannot be read ({error.strerror or error})"
        ) from error
    described: dict[str, Any] = dict(restorer.describe())
    config = {key: str(value) for key, value in asdict(restorer.config).items()}
    return {
        "version": __version__,
        "source": content,
        "config": config,
        "parameters": restorer.parameters_hash,
        **{key: described[key] for key in ("device", "precision", "backend", "tile", "ensemble")},
    }
