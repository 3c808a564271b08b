"""What a model is measured on: pictures, and what is done to them first."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swinir.data import (
    Bicubic,
    Degradation,
    GaussianNoise,
    Jpeg,
    Pair,
    StoredPairs,
    degraded_pairs,
    describe_degradation,
    image_files,
    match_set,
    original_files,
)
from swinir.data.layouts import name_pictures
from swinir.data.pairs import read_pixels
from swinir.errors import DataError, ImageError, UsageError
from swinir.model import SwinIRConfig


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One picture to restore, [h, w, C], and its original [scale·h, scale·w, C] where there is one."""

    name: str
    lq: NDArray[np.uint8] | NDArray[np.float32]
    hq: NDArray[np.uint8] | None


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """A folder of originals, and the degradation that a model is asked to undo.

    Attributes:
        name: in the report.
        folder: see ``swinir.data.layouts``.
        degradation: of one level; None where the pictures are restored as they are and have no originals.
    """

    name: str
    folder: Path
    degradation: Degradation | None = field(default_factory=Bicubic)

    def samples(self, config: SwinIRConfig) -> Iterator[Sample]:
        """Yield the pictures as a network takes them.

        Raises:
            DataError: files are missing, do not pair, or cannot be read.
        """
        if self.degradation is not None:
            for pair in self.pairs(config):
                yield Sample(name=pair.name, lq=pair.lq, hq=pair.hq)
            return
        paths = image_files(self.folder)
        for name, path in zip(name_pictures(self.folder, paths), paths, strict=True):
            try:
                lq = read_pixels(path, config.in_channels)
            except ImageError as error:
                raise DataError(f"cannot evaluate on {self.folder}: {error}") from error
            yield Sample(name=name, lq=lq, hq=None)

    def pairs(self, config: SwinIRConfig) -> Iterator[Pair]:
        """Yield the pairs of low and high quality.

        Raises:
            DataError: files are missing, do not pair, or cannot be read.
            UsageError: the set has no originals.
        """
        if self.degradation is None:
            raise UsageError(f"{self.name} is restored as it is and has no pairs: take its samples")
        return degraded_pairs(self.folder, self.degradation, scale=config.scale, channels=config.in_channels)

    def describe(self, config: SwinIRConfig) -> str:
        """Name in words what the network is asked to undo."""
        if self.degradation is None:
            return f"pictures as they are, ×{config.scale}"
        return describe_degradation(self.degradation, config.scale)

    def level(self, config: SwinIRConfig) -> float:
        """Return what tells tables of one task apart: sigma of the noise, quality of the JPEG, else the scale."""
        match self.degradation:
            case GaussianNoise(sigma=(sigma, _)):
                return sigma
            case Jpeg(quality=(quality, _)):
                return quality
            case _:
                return config.scale

    def count_pictures(self) -> int:
        """Count the pictures.

        Raises:
            DataError: the folder is missing or holds none.
        """
        match self.degradation:
            case None:
                return len(image_files(self.folder))
            case StoredPairs():
                return len(match_set(self.folder))
            case _:
                return len(original_files(self.folder))
