"""What a model is measured on: pictures, and what is done to them first."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from swinir.data import Bicubic, Degradation, Pair, degraded_pairs, describe_degradation, original_files
from swinir.model import SwinIRConfig


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """A folder of originals, and the degradation that a model is asked to undo.

    Attributes:
        name: in the report.
        folder: see ``swinir.data.layouts``.
        degradation: of one level.
    """

    name: str
    folder: Path
    degradation: Degradation = field(default_factory=Bicubic)

    def pairs(self, config: SwinIRConfig) -> Iterator[Pair]:
        """Yield the pairs as a network takes them.

        Raises:
            DataError: files are missing, do not pair, or cannot be read.
        """
        return degraded_pairs(self.folder, self.degradation, scale=config.scale, channels=config.in_channels)

    def describe(self, config: SwinIRConfig) -> str:
        """Name in words what the network is asked to undo."""
        return describe_degradation(self.degradation, config.scale)

    def count_pictures(self) -> int:
        """Count the originals.

        Raises:
            DataError: the folder is missing or holds none.
        """
        return len(original_files(self.folder))
