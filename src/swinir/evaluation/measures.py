"""The figures of a report: each metric by name, with how it is written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from swinir import metrics

Pixels = NDArray[np.uint8]  # [H, W, C]
# Takes the restored picture, the original, and how many pixels at the border do not count.
Compare = Callable[[Pixels, Pixels, int], float]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One figure of a restored picture against its original.

    Attributes:
        title: of its column.
        unit: behind a figure; "" where it has none.
        digits: behind the point, as the literature prints it.
        compute: compares two uint8 pictures of one shape.
    """

    title: str
    unit: str
    digits: int
    compute: Compare

    def write(self, value: float) -> str:
        """Write a figure."""
        return f"{value:.{self.digits}f}"


def _luma(hq: Pixels) -> metrics.Channel:
    """Choose the luma of colour pictures; of grey ones their own values, which are measured as all channels are."""
    return "y" if hq.shape[2] == 3 else "rgb"


# "Y" is BT.601 luma as super-resolution tables count it; "RGB" takes all channels, of grey pictures the one.
METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "psnr_y_db": Metric(
            title="PSNR Y",
            unit="dB",
            digits=2,
            compute=lambda restored, hq, border_px: metrics.psnr(restored, hq, border_px, _luma(hq)),
        ),
        "ssim_y": Metric(
            title="SSIM Y",
            unit="",
            digits=4,
            compute=lambda restored, hq, border_px: metrics.ssim(restored, hq, border_px, _luma(hq)),
        ),
        "psnr_rgb_db": Metric(title="PSNR RGB", unit="dB", digits=2, compute=metrics.psnr),
        "ssim_rgb": Metric(title="SSIM RGB", unit="", digits=4, compute=metrics.ssim),
        "psnr_b_db": Metric(
            title="PSNR-B Y",
            unit="dB",
            digits=2,
            compute=lambda restored, hq, border_px: metrics.psnr_b(restored, hq, border_px, _luma(hq)),
        ),
        "psnr_b_rgb_db": Metric(title="PSNR-B RGB", unit="dB", digits=2, compute=metrics.psnr_b),
    }
)


def measure(restored: Pixels, hq: Pixels, *, border_px: int) -> dict[str, float]:
    """Compare two uint8 pictures [H, W, C] by every metric."""
    return {name: metric.compute(restored, hq, border_px) for name, metric in METRICS.items()}
