"""What a run writes down: one JSON line per entry, the same numbers as TensorBoard curves, and a readable line."""

import json
import logging
from collections.abc import Generator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from swinir.errors import TrainingError
from swinir.files import written_beside

logger = logging.getLogger(__name__)

# How the names of validation figures begin: PSNR on Y where a run enlarges, on all channels where it does not.
PSNR_PREFIX = "psnr_db/"


class RunLog:
    """The log of a run in ``folder``, which goes on after ``step``: what an interrupted run did later is dropped."""

    def __init__(self, folder: Path, step: int = 0) -> None:
        self._path = folder / "log.jsonl"
        self._folder = folder
        self._step = step

    def __enter__(self) -> Self:
        kept = [entry for entry in self._entries() if entry["step"] <= self._step]
        with written_beside(self._path, TrainingError) as file:
            file.write("".join(json.dumps(entry) + "\n" for entry in kept).encode())
        self._file = self._path.open("a", encoding="utf-8")
        self._curves = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  optional, and slow to import

            self._curves = SummaryWriter(str(self._folder), purge_step=self._step + 1)
        else:
            logger.warning(
                "no TensorBoard curves: install swinir[train] for them; numbers go to %s", self._path
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What could not be written has been logged.
        with suppress(OSError):
            self._file.close()
        if self._curves is not None:
            with suppress(OSError):
                self._curves.close()

    def write(self, step: int, **figures: float) -> None:
        """Add one entry of named numbers."""
        with self._failing_in_one_sentence():
            self._file.write(json.dumps({"step": step, **figures}) + "\n")
            self._file.flush()
            for name, value in figures.items():
                if self._curves is not None:
                    self._curves.add_scalar(name, value, step)
        logger.info("step %d: %s", step, ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))

    def show(self, step: int, name: str, pixels: NDArray[np.uint8]) -> None:
        """Add a picture, [h, w, C], to TensorBoard."""
        if self._curves is not None:
            with self._failing_in_one_sentence():
                self._curves.add_image(name, pixels, step, dataformats="HWC")

    @contextmanager
    def _failing_in_one_sentence(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise TrainingError(
                f"{self._path} cannot be written ({error.strerror}): make room, then continue with --resume"
            ) from error

    def best_db(self) -> float:
        """Return the best PSNR on the first validation set so far; minus infinity before the first."""
        best = float("-inf")
        for entry in self._entries():
            first = next((value for name, value in entry.items() if name.startswith(PSNR_PREFIX)), best)
            best = max(best, first)
        return best

    def _entries(self) -> list[dict[str, float]]:
        """Read back what was written; a line that a killed run left unfinished is no entry."""
        if not self._path.exists():
            return []
        entries: list[dict[str, float]] = []
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(json.JSONDecodeError):
                entries.append(json.loads(line))
        return entries
