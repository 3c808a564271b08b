"""One job on its way: read, restored, written; what goes wrong is its result."""

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch

from swinir import imaging
from swinir.engine import FileRestoration, Picture, memory
from swinir.errors import ImageWriteError, SwinIRError, UsageError
from swinir.jobs.film import describe_settings
from swinir.jobs.inputs import is_film
from swinir.jobs.made import is_made
from swinir.jobs.one_step import Follow, OneStep, read_input
from swinir.jobs.options import AnyRestorer, JobOptions
from swinir.jobs.pieces import Cut
from swinir.jobs.plan import Job, JobResult, Outcome
from swinir.jobs.staging import Staging

_logger = logging.getLogger(__name__)


class FileTask:
    """One job on its way. Each step keeps what goes wrong, and those behind it do nothing then."""

    def __init__(self, job: Job, options: JobOptions, restorer: AnyRestorer) -> None:
        self.job = job
        self.picture: Picture | OneStep | None = None
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
        self._staging = Staging(job)
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
            if not self._options.overwrite and is_made(self.job, self._settings, update=self._options.update):
                self._outcome = Outcome.SKIPPED
            else:
                self._file = self._staging.fetch(self._file)
                self.picture = read_input(self._file, self._restorer, self._options)
        return self

    def cut(self, least_px: int) -> Cut | None:
        """Cut what is longer than the memory into pieces for many workers, unless it has fewer pixels.

        Raises:
            SwinIRError: it cannot be read, or its result could not be written.
        """
        if not isinstance(self.picture, OneStep):
            return None
        return self.picture.cut(self._restorer, self.job, least_px)

    def has_room(self) -> bool:
        """Tell whether the restored image fits the memory: in its own type, and rows in float32, perhaps all."""
        image = self.picture
        if not isinstance(image, imaging.Image):
            return True
        height, width = self._restorer.output_size(image.height, image.width)
        bytes_per_px = image.channels * (image.pixels.itemsize + np.dtype(np.float32).itemsize)
        return fits_memory(height * width * bytes_per_px)

    def restore(self, restorer: AnyRestorer, follow: Follow = lambda given: given) -> None:
        """Replace the image by its restoration; ``follow`` may put another progress around that of the job."""
        if self.picture is None:
            return
        with self._step():
            picture, self.picture, self._restorer = self.picture, None, restorer
            progress = self._options.progress_of(self.job) if self._options.progress_of is not None else None
            if isinstance(picture, OneStep):
                self._notes = picture.restore(restorer, self._file, progress, follow)
                self._deliver()
            else:
                self.picture = self._file.restore(picture, restorer, follow(progress))

    def write(self) -> JobResult:
        """Encode the image, and return how the job ended."""
        if isinstance(self.picture, imaging.Image | imaging.Frames):
            with self._step():
                self._notes = self._file.write(self.picture, self._restorer)
                self._deliver()
            self.picture = None
        self._staging.remove()
        assert self._outcome is not None
        return JobResult(
            job=self.job,
            outcome=self._outcome,
            notes=self._notes,
            error=self._error,
            duration_s=self._duration_s,
        )

    def give_up(self) -> None:
        """Give back what was read, where it will not be restored."""
        self.picture = None
        self._staging.leave()

    def _deliver(self) -> None:
        self._staging.deliver(self._file.destination)
        self._outcome = Outcome.DONE

    def _settings(self) -> str:
        """Return what the result depends on beside its input, as text."""
        if is_film(self.job.source):
            return describe_settings(self._restorer, self._options.film)
        return self._file.settings(self._restorer)

    @contextmanager
    def _step(self) -> Generator[None]:
        start = time.monotonic()
        try:
            yield
        except UsageError:
            # Of what holds for all jobs: it would fail each.
            self._staging.remove()
            raise
        except (SwinIRError, OSError) as error:
            if isinstance(error, OSError):
                error = ImageWriteError(
                    f"{imaging.shown_path(self.job.destination)} cannot be written ({error.strerror or error})"
                )
            self._staging.name_in(error, self._file)
            _logger.debug("%s failed", imaging.shown_path(self.job.source), exc_info=True)
            self._outcome, self._error, self.picture = Outcome.FAILED, error, None
            self._staging.leave()
        except BaseException:
            self._staging.leave()
            raise
        finally:
            self._duration_s += time.monotonic() - start


def fits_memory(num_bytes: int) -> bool:
    """Tell whether so much more can be held in the memory of the machine."""
    free_bytes = memory.available_bytes(torch.device("cpu"))
    return num_bytes <= memory.FREE_MEMORY_FRACTION * free_bytes
