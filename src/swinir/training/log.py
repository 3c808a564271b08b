"""What a run writes down: one JSON line per entry, the same numbers as TensorBoard curves, and a readable line."""

import json
import logging
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

logger = logging.getLogger(__name__)

# How the names of validation figures begin.
PSNR_PREFIX = "psnr_y_db/"


class RunLog:
    """The log of a run in ``folder``; entries are added to what an interrupted run left there."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "log.jsonl"
        self._folder = folder

    def __enter__(self) -> Self:
        self._file = self._path.open("a", encoding="utf-8")
        self._curves = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  optional, and slow to import

            self._curves = SummaryWriter(str(self._folder))
        else:
            logger.warning(
                "no TensorBoard curves: install swinir[train] for them; numbers go to %s", self._path
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._curves is not None:
            self._curves.close()

    def write(self, step: int, **figures: float) -> None:
        """Add one entry of named numbers."""
        self._file.write(json.dumps({"step": step, **figures}) + "\n")
        self._file.flush()
        for name, value in figures.items():
            if self._curves is not None:
                self._curves.add_scalar(name, value, step)
        logger.info("step %d: %s", step, ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))

    def best_db(self) -> float:
        """Return the best PSNR on the first validation set so far; minus infinity before the first."""
        best = float("-inf")
        for line in self._path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            first = next((value for name, value in entry.items() if name.startswith(PSNR_PREFIX)), best)
            best = max(best, first)
        return best
