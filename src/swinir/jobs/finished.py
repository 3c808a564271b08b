"""Finished rows of a result on the disk beside it, so that a run that was ended goes on where it stopped."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from swinir import imaging
from swinir.engine.budget import TileBatch
from swinir.engine.stream import StreamPlan
from swinir.engine.tiling import Axis, Plan
from swinir.errors import ImageWriteError
from swinir.files import written_beside
from swinir.jobs.hidden import LOCK, errors_named, hidden_folder, locked, read_rows, write_rows

_ROWS, _STATE = "rows", "state.json"


class FinishedRows:
    """The rows of a result that are finished, in a hidden folder beside it, which one run at a time may use.

    A band counts once its rows are on the disk. ``folder`` is also for whatever else the run keeps on the disk: what
    a run that was killed left there is removed when the next one begins.

    Args:
        destination: of the result.
        plan: of the restoration. ``plan`` of this object is the one to keep to: that of the run that goes on.
        identity: what the rows depend on. Those of another one are discarded.

    Raises:
        ImageWriteError: another run is writing this result, or the disk refuses.
    """

    def __init__(self, destination: Path, plan: StreamPlan, identity: Mapping[str, Any]) -> None:
        self.plan = plan
        self.num_bands = 0
        self._identity = dict(identity)
        self._name = imaging.shown_path(destination)
        self.folder = hidden_folder(destination, "bands")
        self._exits = ExitStack()
        try:
            with errors_named(self._name):
                self._exits.enter_context(locked(self.folder, self._name))
                self._recall()
                self._rows: BinaryIO = self._exits.enter_context((self.folder / _ROWS).open("r+b"))
                self._rows.truncate(self._num_bytes())
                self._rows.seek(0, os.SEEK_END)
        except BaseException:
            self._exits.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.num_bands == 0:
            self.remove()
        self._exits.close()

    def bands(self) -> Iterator[imaging.Band]:
        """Yield the rows that are finished, from the top."""
        self._rows.seek(0)
        # To the end, where the next ones are added.
        yield from read_rows(self._rows, self.plan.header, self._num_bytes())

    def append(self, band: imaging.Band) -> None:
        """Add the next rows.

        Raises:
            ImageWriteError: the disk is full.
        """
        with errors_named(self._name):
            write_rows(self._rows, band)

    def commit(self, num_bands: int) -> None:
        """Count the bands that are there, from now on also after the machine has lost its power.

        Raises:
            ImageWriteError: the disk is full.
        """
        with errors_named(self._name):
            self._rows.flush()
            os.fsync(self._rows.fileno())
        state = {"identity": self._identity, "load": asdict(self.plan.load), "num_bands": num_bands}
        with written_beside(self.folder / _STATE, ImageWriteError) as file:
            file.write(json.dumps(state).encode())
        self.num_bands = num_bands

    def remove(self) -> None:
        """Give the disk back: the result is there, or nothing of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _recall(self) -> None:
        """Find what an earlier run has finished, and remove what else it left."""
        for path in self.folder.iterdir():
            if path.name not in (_ROWS, _STATE, LOCK):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        rows = self.folder / _ROWS
        # A file that is damaged is one of another run.
        with suppress(OSError, ValueError, KeyError, TypeError):
            state = json.loads((self.folder / _STATE).read_bytes())
            if state["identity"] == json.loads(json.dumps(self._identity)):
                recalled, num_bands = replace(self.plan, load=_load(state["load"])), int(state["num_bands"])
                num_bytes = recalled.band_rows(num_bands - 1)[1] * recalled.header.row_bytes
                if 0 < num_bands <= recalled.num_bands and rows.stat().st_size >= num_bytes:
                    self.plan, self.num_bands = recalled, num_bands
                    return
        (self.folder / _STATE).unlink(missing_ok=True)
        rows.write_bytes(b"")

    def _num_bytes(self) -> int:
        if self.num_bands == 0:
            return 0
        return self.plan.band_rows(self.num_bands - 1)[1] * self.plan.header.row_bytes


def _load(stored: Mapping[str, Any]) -> TileBatch:
    """Make again what ``asdict`` and JSON made of it."""
    axes: dict[str, Axis] = {}
    for name, axis in stored["plan"].items():
        sides: dict[str, Any] = {**axis, "origins": tuple(axis["origins"])}
        axes[name] = Axis(**sides)
    return TileBatch(plan=Plan(**axes), batch=stored["batch"])
