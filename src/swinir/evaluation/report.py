"""What an evaluation found: figures per picture and their means."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from statistics import fmean
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ImageFigures:
    """Figures of one restored picture; PSNR and PSNR-B in dB, SSIM up to 1.

    "y" is BT.601 luma as the super-resolution tables count it; "rgb" is the mean over all channels, which for
    grey pictures is the grey channel itself.
    """

    name: str
    psnr_y_db: float
    ssim_y: float
    psnr_rgb_db: float
    ssim_rgb: float
    psnr_b_db: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Report:
    """Figures of one model on one data set."""

    model: str
    data: str
    task: str
    scale: int
    protocol: str
    images: tuple[ImageFigures, ...]

    @property
    def means(self) -> Mapping[str, float]:
        """Mean of each figure over the pictures; infinite PSNRs (identical pictures) stay infinite."""
        names = [name for name in asdict(self.images[0]) if name != "name"]
        return {name: fmean(getattr(image, name) for image in self.images) for name in names}

    @property
    def psnr_db(self) -> float:
        """The PSNR that the literature quotes for this task: on Y for super-resolution, on all channels else."""
        return self.means["psnr_y_db" if self.scale > 1 else "psnr_rgb_db"]

    @property
    def ssim(self) -> float:
        """The SSIM that the literature quotes for this task."""
        return self.means["ssim_y" if self.scale > 1 else "ssim_rgb"]

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold; a figure that is not finite becomes None."""

        def finite(values: Mapping[str, Any]) -> dict[str, Any]:
            return {
                key: None if isinstance(value, float) and not isfinite(value) else value
                for key, value in values.items()
            }

        return {
            "model": self.model,
            "data": self.data,
            "task": self.task,
            "scale": self.scale,
            "protocol": self.protocol,
            "num_images": len(self.images),
            "means": finite(self.means),
            "images": [finite(asdict(image)) for image in self.images],
        }
