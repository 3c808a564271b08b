"""What an evaluation found: figures per picture and their means."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from statistics import fmean
from typing import Any, Self

from swinir.engine import Restorer
from swinir.evaluation.known_sets import CopyCheck
from swinir.evaluation.protocols import EvaluationProtocol
from swinir.evaluation.published import PublishedMethod, find_published
from swinir.model.flops import count_parameters, multiply_adds
from swinir.provenance import Provenance

# Outputs that the literature counts multiply-adds of.
COUNTED_HEIGHT_PX, COUNTED_WIDTH_PX = 720, 1280


@dataclass(frozen=True, kw_only=True)
class ImageFigures:
    """Figures of one restored picture.

    Attributes:
        name: of the picture.
        width: of the restored picture, in pixels.
        height: likewise.
        figures: by the metric's name (``METRICS``).
        seconds: of restoring it; None where times are left out.
    """

    name: str
    width: int
    height: int
    figures: Mapping[str, float]
    seconds: float | None

    def __getitem__(self, metric: str) -> float:
        return self.figures[metric]

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold; a figure that is not finite becomes None."""
        size = {"width": self.width, "height": self.height}
        seconds = {} if self.seconds is None else {"seconds": self.seconds}
        return {"name": self.name, **size, **_keep_finite(self.figures), **seconds}


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """What was measured, and what computed it.

    Attributes:
        name: of the model.
        scale: how many times it enlarges.
        device: "cpu", or a GPU.
        precision: of matrix products.
        backend: what computes the transformer layers.
        tile: "auto", None or a number of pixels.
        ensemble: whether eight symmetries are averaged.
        parameters: their number.
        multiply_adds: of one output of 720×1280 pixels.
        weights_sha256: of the weights' file; None where there is none.
    """

    name: str
    scale: int
    device: str
    precision: str
    backend: str
    tile: str | int | None
    ensemble: bool
    parameters: int
    multiply_adds: int
    weights_sha256: str | None = None


def describe_model(restorer: Restorer, weights_sha256: str | None = None) -> ModelDescription:
    """Describe a restorer for a report."""
    description = restorer.describe()
    scale = restorer.scale
    return ModelDescription(
        name=description["model"],
        scale=scale,
        device=description["device"],
        precision=description["precision"],
        backend=description["backend"],
        tile=description["tile"],
        ensemble=description["ensemble"],
        parameters=count_parameters(restorer.config),
        multiply_adds=multiply_adds(restorer.config, COUNTED_HEIGHT_PX // scale, COUNTED_WIDTH_PX // scale),
        weights_sha256=weights_sha256,
    )


@dataclass(frozen=True, kw_only=True)
class Report:
    """Figures of one model on one test set.

    Attributes:
        model: what was measured.
        data: the test set's name.
        task: what the model was asked to undo, in words.
        level: sigma of the noise, quality of the JPEG, else the scale.
        protocol: how it was measured.
        images: at least one picture's figures.
        copy: whether the test set is the benchmark whose name it has.
    """

    model: ModelDescription
    data: str
    task: str
    level: float
    protocol: EvaluationProtocol
    images: tuple[ImageFigures, ...]
    copy: CopyCheck

    @property
    def scale(self) -> int:
        """How many times the model enlarges."""
        return self.model.scale

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that every picture was measured by."""
        return tuple(self.images[0].figures)

    @property
    def means(self) -> Mapping[str, float]:
        """Mean of each figure over the pictures, and of their seconds; infinite PSNRs (equal pictures) stay so."""
        means = {name: fmean(image[name] for image in self.images) for name in self.metrics}
        seconds = [image.seconds for image in self.images if image.seconds is not None]
        return {**means, "seconds": fmean(seconds)} if seconds else means

    @property
    def psnr_db(self) -> float:
        """The PSNR that the literature quotes for this task: on Y for super-resolution, on all channels else."""
        return self.means[self.protocol.quoted[0]]

    @property
    def ssim(self) -> float:
        """The SSIM that the literature quotes for this task."""
        return self.means[self.protocol.quoted[1]]

    @property
    def published(self) -> list[PublishedMethod]:
        """What the literature reports for this task and test set."""
        name = self.copy.known or self.data
        return [row for row in find_published(self.protocol.name, self.level) if name in row.figures]

    def without_times(self) -> Self:
        """Leave out the seconds, so that two runs report the same."""
        return replace(self, images=tuple(replace(image, seconds=None) for image in self.images))

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold; a figure that is not finite becomes None."""
        return {
            "model": self.model.name,
            "data": self.data,
            "task": self.task,
            "scale": self.scale,
            "level": self.level,
            "protocol": self.protocol.name,
            "source": self.protocol.source,
            "padding": self.protocol.padding.value,
            "border_px": self.protocol.border_px(self.scale),
            "quoted": list(self.protocol.quoted),
            "copy": {**asdict(self.copy), "notes": list(self.copy.notes)},
            "num_images": len(self.images),
            "means": _keep_finite(self.means),
            "images": [image.to_dict() for image in self.images],
        }


def make_document(reports: Sequence[Report], provenance: Provenance) -> dict[str, Any]:
    """Put reports together with where they come from, as values that JSON can hold."""
    models = {report.model.name: asdict(report.model) for report in reports}
    return {
        "provenance": provenance.to_dict(),
        "models": list(models.values()),
        "reports": [report.to_dict() for report in reports],
    }


def _keep_finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if isfinite(value) else None for name, value in values.items()}
