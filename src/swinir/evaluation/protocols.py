"""How the literature measures: one record for each task, with where it is described.

Common to all: outputs are clamped to [0, 1], rounded to 8 bits, and measured in float64.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from swinir.data import Bicubic, Degradation, GaussianNoise, Jpeg, RealWorld, StoredPairs
from swinir.model import SwinIRConfig
from swinir.model.heads import Purpose

_PAPER = "Liang et al., SwinIR, ICCV Workshops 2021"
_CODE = "its published test program"


class Padding(StrEnum):
    """How a picture reaches the network.

    PUBLISHED pads to the next multiple of the window, a whole window more where a side already is one, by mirroring
    with the edge included, and never tiles: figures compare with published ones to the digit. ENGINE restores as
    the commands do: reflected context at borders, and tiles where memory wants them.
    """

    PUBLISHED = "published"
    ENGINE = "engine"


@dataclass(frozen=True, kw_only=True)
class EvaluationProtocol:
    """How one task is measured.

    Attributes:
        name: what a user types.
        title: in words.
        source: where it is described, and whose figures it compares with.
        details: how the low quality is made and what is measured.
        quoted: the metrics that the literature gives for the task, in its order: keys of ``METRICS``.
        needs_original: whether restored pictures are compared with originals.
        cuts_border: whether as many pixels as the scale are left out on every side.
        padding: how pictures reach the network.
    """

    name: str
    title: str
    source: str
    details: str
    quoted: tuple[str, ...]
    needs_original: bool = True
    cuts_border: bool = False
    padding: Padding = Padding.PUBLISHED

    def border_px(self, scale: int) -> int:
        """Return how many pixels on every side do not count."""
        return scale if self.cuts_border else 0


_LUMA = ("psnr_y_db", "ssim_y")
_ALL_CHANNELS = ("psnr_rgb_db", "ssim_rgb")
_BICUBIC = (
    "Low resolution by MATLAB's antialiased bicubic, rounded to 8 bits; Y of BT.601, not rounded; as many pixels "
    "as the scale are cut from every side."
)
_NOISE = "White Gaussian noise of NumPy's legacy generator, seed 0 for every picture, neither clipped nor rounded; "

PROTOCOLS: Mapping[str, EvaluationProtocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            EvaluationProtocol(
                name="classical-sr",
                title="classical super-resolution",
                source=f"{_PAPER}, table 2, and {_CODE}",
                details=_BICUBIC,
                quoted=_LUMA,
                cuts_border=True,
            ),
            EvaluationProtocol(
                name="lightweight-sr",
                title="lightweight super-resolution",
                source=f"{_PAPER}, table 3, and {_CODE}",
                details=_BICUBIC,
                quoted=_LUMA,
                cuts_border=True,
            ),
            EvaluationProtocol(
                name="real-world",
                title="real-world super-resolution",
                source=f"{_PAPER}, figure 5; NIQE of Mittal, Soundararajan and Bovik, 2013",
                details="Pictures as they are, without originals: they are judged side by side, and by NIQE.",
                quoted=("niqe",),
                needs_original=False,
            ),
            EvaluationProtocol(
                name="degraded-sr",
                title="super-resolution of degraded pictures",
                source="this project; there are no published figures",
                details=(
                    "Low quality by BSRGAN's chain of blur, noise and JPEG, the generator of each picture seeded "
                    "with its place in the set; Y as above; as many pixels as the scale are cut from every side."
                ),
                quoted=_LUMA,
                cuts_border=True,
            ),
            EvaluationProtocol(
                name="own-pairs",
                title="a user's own pairs",
                source="this project; there are no published figures",
                details="Low and high quality as stored, in folders lq and hq; measured on RGB, or on grey.",
                quoted=_ALL_CHANNELS,
            ),
            EvaluationProtocol(
                name="gray-denoising",
                title="grey denoising",
                source=f"{_PAPER}, table 5, and {_CODE}",
                details=_NOISE + "colour pictures are turned into full-range luma first.",
                quoted=_ALL_CHANNELS,
            ),
            EvaluationProtocol(
                name="color-denoising",
                title="colour denoising",
                source=f"{_PAPER}, table 6, and {_CODE}",
                details=_NOISE + "drawn in the order blue, green, red; measured on RGB.",
                quoted=_ALL_CHANNELS,
            ),
            EvaluationProtocol(
                name="gray-jpeg",
                title="grey JPEG artefact reduction",
                source=f"{_PAPER}, table 4, and {_CODE}",
                details="JPEG as OpenCV writes it; colour pictures are turned into rounded BT.601 luma first.",
                quoted=(*_ALL_CHANNELS, "psnr_b_rgb_db"),
            ),
            EvaluationProtocol(
                name="color-jpeg",
                title="colour JPEG artefact reduction",
                source=f"{_PAPER}, the repository's README, and {_CODE}",
                details="JPEG as OpenCV writes it, colour at half resolution; measured on RGB.",
                quoted=(*_ALL_CHANNELS, "psnr_b_rgb_db"),
            ),
        )
    }
)


def choose_protocol(config: SwinIRConfig, degradation: Degradation | None) -> EvaluationProtocol:
    """Return the protocol that the literature measures such a network by; without degradation the real world's."""
    is_gray = config.in_channels == 1
    match degradation:
        case None:
            return PROTOCOLS["real-world"]
        case Bicubic():
            is_light = config.head.purpose is Purpose.LIGHTWEIGHT
            return PROTOCOLS["lightweight-sr" if is_light else "classical-sr"]
        case RealWorld():
            return PROTOCOLS["degraded-sr"]
        case GaussianNoise():
            return PROTOCOLS["gray-denoising" if is_gray else "color-denoising"]
        case Jpeg():
            return PROTOCOLS["gray-jpeg" if is_gray else "color-jpeg"]
        case StoredPairs():
            return PROTOCOLS["own-pairs"]
