"""Finished segments of a film on the disk beside it, so that a run that was ended goes on where it stopped."""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from swinir import film, imaging
from swinir.errors import ImageWriteError
from swinir.files import written_beside
from swinir.jobs.hidden import LOCK, errors_named, hidden_folder, locked

_STATE, _TIMES, _SUFFIX = "state.json", "times.json", ".packets"


def segment_path(destination: Path, number: int) -> Path:
    """Name the file of a segment of a result."""
    return hidden_folder(destination, "film") / f"{number:06d}{_SUFFIX}"


def shared_times(destination: Path) -> list[int]:
    """Return when the frames of a film are shown, whose segments many processes make; see ``share``.

    Raises:
        ImageWriteError: nobody has shared them.
    """
    with errors_named(imaging.shown_path(destination)):
        return json.loads((hidden_folder(destination, "film") / _TIMES).read_bytes())


class FinishedSegments:
    """The segments of a result that are finished, in a hidden folder beside it, which one run at a time may use.

    Args:
        destination: of the result.
        identity: what the frames depend on. Those of another one are discarded.

    Raises:
        ImageWriteError: another run is writing this result, or the disk refuses.
    """

    def __init__(self, destination: Path, identity: Mapping[str, Any]) -> None:
        self.destination = destination
        name = imaging.shown_path(destination)
        self.folder = hidden_folder(destination, "film")
        self.paths: list[Path] = []
        self._is_shared = False
        self._exits = ExitStack()
        try:
            with errors_named(name):
                self._exits.enter_context(locked(self.folder, name))
                self._recall(json.loads(json.dumps(dict(identity))))
            # When the frames that are there are shown, in that order.
            self.times = sorted(pts for pts, _ in film.read_times(self.paths))
        except BaseException:
            self._exits.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.paths and not self._is_shared:
            self.remove()
        self._exits.close()

    @property
    def num_frames(self) -> int:
        """Frames that are finished."""
        return len(self.times)

    def share(self, times: Sequence[int]) -> None:
        """Leave the folder to other processes, which make segments of frames that are shown at these times.

        Raises:
            ImageWriteError: the disk is full.
        """
        with written_beside(self.folder / _TIMES, ImageWriteError) as file:
            file.write(json.dumps(list(times)).encode())
        self._is_shared = True

    def append(self, packets: Sequence[film.FilmPacket]) -> None:
        """Keep the next segment, from now on also after the machine has lost its power.

        Raises:
            ImageWriteError: the disk is full.
        """
        path = segment_path(self.destination, len(self.paths))
        film.write_packets(path, packets)
        self.paths.append(path)
        self.times.extend(sorted(packet.pts for packet in packets))

    def remove(self) -> None:
        """Give the disk back: the result is there, or nothing of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _recall(self, identity: Mapping[str, Any]) -> None:
        """Find what an earlier run has finished, and remove what else it left."""
        state = self.folder / _STATE
        known: Any = None
        with suppress(OSError, ValueError):
            known = json.loads(state.read_bytes())
        if known == identity:
            while (path := segment_path(self.destination, len(self.paths))).exists():
                self.paths.append(path)
        for path in self.folder.iterdir():
            # Behind a gap there are those that others have made.
            is_segment = known == identity and path.suffix == _SUFFIX
            if not is_segment and path.name not in (_STATE, LOCK):
                path.unlink()
        if known != identity:
            with written_beside(state, ImageWriteError) as file:
                file.write(json.dumps(identity).encode())
