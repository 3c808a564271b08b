"""What is longer than the memory, and is read, restored and written in one step."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from swinir.engine import FileRestoration, Picture, Progress, Restorer
from swinir.errors import ImageTooLargeError
from swinir.jobs.bands import (
    MegapixelProgress,
    is_for_bands,
    largest_whole_px,
    restore_by_bands,
    streaming_limits,
)
from swinir.jobs.film import FrameProgress, restore_film
from swinir.jobs.film_pieces import cut_film
from swinir.jobs.inputs import is_film
from swinir.jobs.options import AnyRestorer, JobOptions
from swinir.jobs.picture_pieces import cut_picture
from swinir.jobs.pieces import Cut
from swinir.jobs.plan import Job

# Puts another progress around that of a job.
Follow = Callable[[Progress | None], Progress | None]


@runtime_checkable
class OneStep(Protocol):
    """A kind of input that goes from file to file at once."""

    def restore(
        self, restorer: AnyRestorer, file: FileRestoration, progress: Progress | None, follow: Follow
    ) -> tuple[str, ...]:
        """Read, restore and write, and return notes a user should read."""
        ...

    def cut(self, restorer: AnyRestorer, job: Job, least_px: int) -> Cut | None:
        """Cut it into pieces for many workers, unless it has fewer pixels.

        Raises:
            SwinIRError: it cannot be read, or its result could not be written.
        """
        ...


@dataclass(frozen=True)
class ByBands:
    """A picture whose bands of rows are restored one after the other."""

    options: JobOptions

    def restore(
        self, restorer: AnyRestorer, file: FileRestoration, progress: Progress | None, follow: Follow
    ) -> tuple[str, ...]:
        """See ``restore_by_bands``."""
        assert isinstance(restorer, Restorer)
        return restore_by_bands(
            restorer,
            file.source,
            file.destination,
            progress=follow(progress),
            on_megapixels=progress.count_megapixels if isinstance(progress, MegapixelProgress) else None,
            quality=file.quality,
            layout=self.options.layout,
            limits=streaming_limits(file.limits),
            salvage=file.salvage,
        )

    def cut(self, restorer: AnyRestorer, job: Job, least_px: int) -> Cut | None:
        """See ``cut_picture``."""
        assert isinstance(restorer, Restorer)
        return cut_picture(restorer, job, self.options, least_px=least_px)


@dataclass(frozen=True)
class FrameByFrame:
    """A film."""

    options: JobOptions

    def restore(
        self, restorer: AnyRestorer, file: FileRestoration, progress: Progress | None, follow: Follow
    ) -> tuple[str, ...]:
        """See ``restore_film``."""
        return restore_film(
            restorer,
            file.source,
            file.destination,
            options=self.options.film,
            limits=file.limits,
            progress=follow(progress),
            on_start=progress.count_frames if isinstance(progress, FrameProgress) else None,
        )

    def cut(self, restorer: AnyRestorer, job: Job, least_px: int) -> Cut | None:
        """See ``cut_film``."""
        return cut_film(restorer, job, self.options, least_px=least_px)


def read_input(file: FileRestoration, restorer: AnyRestorer, options: JobOptions) -> Picture | OneStep:
    """Decode an input, or leave it to what does all in one step.

    Raises:
        ImageError: it cannot be read, or its result could not be written.
    """
    if is_film(file.source):
        return FrameByFrame(options)
    if not isinstance(restorer, Restorer):
        return file.read(restorer)
    if is_for_bands(file, restorer, options.layout, None):
        return ByBands(options)
    most_px = min(file.limits.max_pixels, largest_whole_px(restorer))
    try:
        return replace(file, limits=replace(file.limits, max_pixels=most_px)).read(restorer)
    except ImageTooLargeError as error:
        if is_for_bands(file, restorer, options.layout, error):
            return ByBands(options)
        return file.read(restorer)
