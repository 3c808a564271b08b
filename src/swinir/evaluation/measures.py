"""The figures of a report: each metric by name, how it is written, and how it is computed."""

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
    """How one figure is written.

    Attributes:
        title: of its column.
        unit: behind a figure; "" where it has none.
        digits: behind the point, as the literature prints it.
        is_better_lower: whether less is better.
    """

    title: str
    unit: str
    digits: int
    is_better_lower: bool = False

    def write(self, value: float) -> str:
        """Write a figure."""
        return f"{value:.{self.digits}f}"


# "Y" is BT.601 luma as super-resolution tables count it; "RGB" takes all channels, of grey pictures the one.
METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "psnr_y_db": Metric(title="PSNR Y", unit="dB", digits=2),
        "ssim_y": Metric(title="SSIM Y", unit="", digits=4),
        "psnr_rgb_db": Metric(title="PSNR RGB", unit="dB", digits=2),
        "ssim_rgb": Metric(title="SSIM RGB", unit="", digits=4),
        "psnr_b_db": Metric(title="PSNR-B Y", unit="dB", digits=2),
        "psnr_b_rgb_db": Metric(title="PSNR-B RGB", unit="dB", digits=2),
        "niqe": Metric(title="NIQE", unit="", digits=4, is_better_lower=True),
    }
)


def _choose_luma(hq: Pixels) -> metrics.Channel:
    return "y" if hq.shape[2] == 3 else "rgb"


# Those that compare with an original.
COMPARISONS: Mapping[str, Compare] = MappingProxyType(
    {
        "psnr_y_db": lambda restored, hq, border_px: metrics.psnr(restored, hq, border_px, _choose_luma(hq)),
        "ssim_y": lambda restored, hq, border_px: metrics.ssim(restored, hq, border_px, _choose_luma(hq)),
        "psnr_rgb_db": metrics.psnr,
        "ssim_rgb": metrics.ssim,
        "psnr_b_db": lambda restored, hq, border_px: metrics.psnr_b(
            restored, hq, border_px, _choose_luma(hq)
        ),
        "psnr_b_rgb_db": metrics.psnr_b,
    }
)


def measure(restored: Pixels, hq: Pixels, *, border_px: int) -> dict[str, float]:
    """Compare two uint8 pictures [H, W, C] by every metric that compares."""
    return {name: compare(restored, hq, border_px) for name, compare in COMPARISONS.items()}
