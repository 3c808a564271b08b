"""What an evaluation found: figures per picture and their means."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from statistics import fmean
from typing import Any

from swinir.evaluation.protocols import EvaluationProtocol


@dataclass(frozen=True, kw_only=True)
class ImageFigures:
    """Figures of one restored picture: by metric's name (``METRICS``), and the seconds of restoring it."""

    name: str
    figures: Mapping[str, float]
    seconds: float

    def __getitem__(self, metric: str) -> float:
        return self.figures[metric]

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold; a figure that is not finite becomes None."""
        return {"name": self.name, **_keep_finite(self.figures), "seconds": self.seconds}


@dataclass(frozen=True, kw_only=True)
class Report:
    """Figures of one model on one test set.

    Attributes:
        model: its name.
        data: the test set's name.
        task: what the model was asked to undo, in words.
        scale: how many times it enlarges.
        protocol: how it was measured.
        images: at least one picture's figures.
    """

    model: str
    data: str
    task: str
    scale: int
    protocol: EvaluationProtocol
    images: tuple[ImageFigures, ...]

    @property
    def means(self) -> Mapping[str, float]:
        """Mean of each figure over the pictures; infinite PSNRs (identical pictures) stay infinite."""
        return {
            **{name: fmean(image[name] for image in self.images) for name in self.images[0].figures},
            "seconds": fmean(image.seconds for image in self.images),
        }

    @property
    def psnr_db(self) -> float:
        """The PSNR that the literature quotes for this task: on Y for super-resolution, on all channels else."""
        return self.means[self.protocol.psnr]

    @property
    def ssim(self) -> float:
        """The SSIM that the literature quotes for this task."""
        return self.means[self.protocol.ssim]

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold; a figure that is not finite becomes None."""
        return {
            "model": self.model,
            "data": self.data,
            "task": self.task,
            "scale": self.scale,
            "protocol": self.protocol.name,
            "source": self.protocol.source,
            "padding": self.protocol.padding.value,
            "border_px": self.protocol.border_px(self.scale),
            "quoted": list(self.protocol.quoted),
            "num_images": len(self.images),
            "means": _keep_finite(self.means),
            "images": [image.to_dict() for image in self.images],
        }


def _keep_finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if isfinite(value) else None for name, value in values.items()}
