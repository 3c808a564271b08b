"""One job on its way: read, restored, written; what goes wrong is its result."""

import logging
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import TypedDict

import numpy as np
import torch

from swinir import imaging
from swinir.engine import Enlarger, FileRestoration, Picture, Progress, Restorer, memory
from swinir.errors import ImageTooLargeError, ImageWriteError, SwinIRError, UsageError
from swinir.files import remove_leftovers
from swinir.jobs import places
from swinir.jobs.bands import (
    MegapixelProgress,
    is_for_bands,
    largest_whole_px,
    restore_by_bands,
    streaming_limits,
)
from swinir.jobs.film import FrameProgress, describe_settings, restore_film
from swinir.jobs.inputs import is_film
from swinir.jobs.plan import Job, JobResult, Outcome
from swinir.options import FilmOptions, FramesChoice, TiffLayout

_logger = logging.getLogger(__name__)
AnyRestorer = Restorer | Enlarger
ProgressOf = Callable[[Job], Progress | None]


class JobChoices(TypedDict, total=False):
    """Fields of ``JobOptions``, as keywords."""

    overwrite: bool
    progress_of: ProgressOf | None
    quality: int | None
    limits: imaging.Limits
    frames: FramesChoice
    update: bool
    layout: TiffLayout
    film: FilmOptions
    salvage: bool


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """What holds for all jobs.

    Attributes:
        overwrite: replace outputs that exist.
        progress_of: called as a job begins to be restored; what it returns is called with how far that image is.
            With several Restorers both happen in their threads; on a cluster there is none.
        quality: from 1 to 100 for JPEG, WebP and AVIF; None for one that looks like the original.
        limits: against files that would fill the memory.
        frames: which frames of animations, or pages, are restored.
        update: make results again that were made of other inputs or with other settings; else such a job fails.
        layout: of TIFF files.
        film: how films are read and written.
        salvage: of damaged files, restore what can be decoded.
        seen_folders: output folders that are tidy.
    """

    overwrite: bool = False
    progress_of: ProgressOf | None = None
    quality: int | None = None
    limits: imaging.Limits = imaging.DEFAULT_LIMITS
    frames: FramesChoice = FramesChoice.AUTO
    update: bool = False
    layout: TiffLayout = TiffLayout.STRIPS
    film: FilmOptions = field(default_factory=FilmOptions)
    salvage: bool = False
    seen_folders: set[Path] = field(default_factory=set[Path])

    def tidy(self, folder: Path) -> None:
        """Remove what killed runs left in an output folder, once."""
        if folder not in self.seen_folders and not places.is_remote(folder):
            self.seen_folders.add(folder)
            remove_leftovers(folder)


@dataclass(frozen=True)
class _ByBands:
    """A picture that is read, restored and written by bands, in one step."""


@dataclass(frozen=True)
class _Film:
    """A film, whose frames are read, restored and written in one step."""


class FileTask:
    """One job on its way. Each step keeps what goes wrong, and those behind it do nothing then."""

    def __init__(self, job: Job, options: JobOptions, restorer: AnyRestorer) -> None:
        self.job = job
        self.picture: Picture | _ByBands | _Film | None = None
        self._options = options
        self._restorer = restorer
        self._file = FileRestoration(
            source=job.source,
            destination=job.destination,
            quality=options.quality,
            limits=options.limits,
            frames=options.frames,
            salvage=options.salvage,
        )
        self._staged: Path | None = None
        self._outcome: Outcome | None = None
        self._notes: tuple[str, ...] = ()
        self._error: SwinIRError | None = None
        self._duration_s = 0.0

    def read(self) -> "FileTask":
        """Decode the input, unless the output is there already."""
        with self._step():
            if self.job.problem is not None:
                raise self.job.problem
            self._options.tidy(self.job.destination.parent)
            if not self._options.overwrite and places.exists(self.job.destination) and self._is_done():
                self._outcome = Outcome.SKIPPED
            else:
                self._stage()
                self.picture = self._read()
        return self

    @property
    def is_by_bands(self) -> bool:
        """Whether the picture is restored by bands, in one step."""
        return isinstance(self.picture, _ByBands)

    def has_room(self) -> bool:
        """Tell whether the restored image fits the memory: in its own type, and rows in float32, perhaps all."""
        image = self.picture
        if not isinstance(image, imaging.Image):
            return True
        height, width = self._restorer.output_size(image.height, image.width)
        bytes_per_px = image.channels * (image.pixels.itemsize + np.dtype(np.float32).itemsize)
        return fits_memory(height * width * bytes_per_px)

    def restore(
        self,
        restorer: AnyRestorer,
        follow: Callable[[Progress | None], Progress | None] = lambda given: given,
    ) -> None:
        """Replace the image by its restoration; ``follow`` may put another progress around that of the job."""
        if self.picture is None:
            return
        with self._step():
            picture, self.picture, self._restorer = self.picture, None, restorer
            progress = self._options.progress_of(self.job) if self._options.progress_of is not None else None
            if isinstance(picture, _Film):
                self._notes = restore_film(
                    restorer,
                    self._file.source,
                    self._file.destination,
                    options=self._options.film,
                    progress=follow(progress),
                    on_start=progress.count_frames if isinstance(progress, FrameProgress) else None,
                )
                self._deliver()
                return
            if not isinstance(picture, _ByBands):
                self.picture = self._file.restore(picture, restorer, follow(progress))
                return
            assert isinstance(restorer, Restorer)
            file = self._file
            self._notes = restore_by_bands(
                restorer,
                file.source,
                file.destination,
                progress=follow(progress),
                on_megapixels=progress.count_megapixels if isinstance(progress, MegapixelProgress) else None,
                quality=file.quality,
                layout=self._options.layout,
                limits=streaming_limits(file.limits),
                salvage=file.salvage,
            )
            self._deliver()

    def write(self) -> JobResult:
        """Encode the image, and return how the job ended."""
        if isinstance(self.picture, imaging.Image | imaging.Frames):
            with self._step():
                self._notes = self._file.write(self.picture, self._restorer)
                self._deliver()
            self.picture = None
        self._unstage()
        assert self._outcome is not None
        return JobResult(
            job=self.job,
            outcome=self._outcome,
            notes=self._notes,
            error=self._error,
            duration_s=self._duration_s,
        )

    def _stage(self) -> None:
        """Give remote files a place on this machine; its folders are removed when the job ends."""
        source, destination = self.job.source, self.job.destination
        if not (places.is_remote(source) or places.is_remote(destination)):
            return
        self._staged = Path(mkdtemp(prefix="swinir-"))
        given, made = self._staged / "given", self._staged / "made"
        given.mkdir()
        if places.is_remote(source):
            places.fetch(source, given / source.name)
            self._file = replace(self._file, source=given / source.name)
        if places.is_remote(destination):
            self._file = replace(self._file, destination=made / destination.name)

    def _deliver(self) -> None:
        """Send what was made to its place, the file itself behind the tiles that it tells of."""
        made, destination = self._file.destination, self.job.destination
        if made != destination:
            others = [path for path in sorted(made.parent.rglob("*")) if path.is_file() and path != made]
            for path in [*others, made]:
                places.publish(path, destination.parent / path.relative_to(made.parent))
        self._outcome = Outcome.DONE

    def _unstage(self) -> None:
        if self._staged is not None:
            shutil.rmtree(self._staged, ignore_errors=True)
            self._staged = None

    def _read(self) -> Picture | _ByBands | _Film:
        """Decode the input, or leave it to what does all in one step."""
        if is_film(self._file.source):
            return _Film()
        file, restorer, layout = self._file, self._restorer, self._options.layout
        if not isinstance(restorer, Restorer):
            return file.read(restorer)
        if is_for_bands(file, restorer, layout, None):
            return _ByBands()
        most_px = min(file.limits.max_pixels, largest_whole_px(restorer))
        try:
            return replace(file, limits=replace(file.limits, max_pixels=most_px)).read(restorer)
        except ImageTooLargeError as error:
            return _ByBands() if is_for_bands(file, restorer, layout, error) else file.read(restorer)

    def _is_done(self) -> bool:
        """Tell whether the output that exists is what would be made.

        Raises:
            ImageWriteError: it is not, and may not be replaced.
        """
        job = self.job
        name = imaging.shown_path(job.destination)
        if not job.is_listed:
            raise ImageWriteError(f"{name} exists; choose another output, or allow overwriting")
        mark = places.mark_of(job.destination)
        # What says nothing of itself is taken for what it is called.
        if mark is None:
            return True
        settings = self._file.settings(self._restorer)
        if is_film(self._file.source):
            settings = describe_settings(self._restorer, self._options.film)
        if mark.settings != settings:
            problem = f"was made by other settings ({mark.settings}, not {settings})"
        elif places.may_be_newer(job.source, job.destination) and places.hash_of(job.source) != mark.source:
            problem = f"was made of another version of {imaging.shown_path(job.source)}"
        else:
            return True
        if not self._options.update:
            raise ImageWriteError(f"{name} {problem}: allow it to be made again (update)")
        return False

    @contextmanager
    def _step(self) -> Generator[None]:
        start = time.monotonic()
        try:
            yield
        except UsageError:
            # Of what holds for all jobs: it would fail each.
            self._unstage()
            raise
        except (SwinIRError, OSError) as error:
            if isinstance(error, OSError):
                error = ImageWriteError(
                    f"{imaging.shown_path(self.job.destination)} cannot be written ({error.strerror or error})"
                )
            # Of files that were given a place here, the job's names are told.
            for here, name in (
                (self._file.source, self.job.source),
                (self._file.destination, self.job.destination),
            ):
                if here != name:
                    error.args = tuple(
                        str(each).replace(str(here), imaging.shown_path(name)) for each in error.args
                    )
            _logger.debug("%s failed", imaging.shown_path(self.job.source), exc_info=True)
            self._outcome, self._error, self.picture = Outcome.FAILED, error, None
            self._unstage()
        except BaseException:
            self._unstage()
            raise
        finally:
            self._duration_s += time.monotonic() - start


def fits_memory(num_bytes: int) -> bool:
    """Tell whether so much more can be held in the memory of the machine."""
    free_bytes = memory.available_bytes(torch.device("cpu"))
    return num_bytes <= memory.FREE_MEMORY_FRACTION * free_bytes
