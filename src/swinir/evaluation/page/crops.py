"""Details of restored pictures that are worth a look: where most is gained, and where most error is left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swinir import imaging
from swinir.evaluation.evaluate import Observation, to_uint8
from swinir.evaluation.measures import COMPARISONS
from swinir.evaluation.protocols import EvaluationProtocol

Pixels = NDArray[np.uint8]  # [H, W, C]
FloatArray = NDArray[np.float64]

CROP_PX = 192
MOST_CROPS = 4
# Of pictures without originals, which none is better than another of.
MOST_UNRATED = 12
# Candidates begin at multiples of this.
_STEP_PX = 16
# Errors of this many of 255 levels, and more, are the brightest of an error map.
ERROR_WHITE = 48
# Colours of an error map, dark where there is none: a ramp that grows evenly in lightness.
_RAMP = np.array([[8, 8, 24], [64, 20, 110], [165, 44, 96], [240, 112, 32], [252, 200, 60], [252, 254, 190]])


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A detail of one picture, in layers that lie on each other.

    Attributes:
        picture: its name.
        top: where it begins in the restored picture, in pixels.
        left: likewise.
        caption: why it is shown.
        layers: pixels [h, w, C] by what they are: bicubic or given, restored, original, error.
    """

    picture: str
    top: int
    left: int
    caption: str
    layers: Mapping[str, Pixels]


@dataclass(frozen=True, kw_only=True)
class Crops:
    """What is shown of one report.

    Attributes:
        baseline: what gains are counted from, in words.
        gains_db: by picture, the first figure of the protocol over that of the low quality, enlarged by bicubic.
        best: details where most is gained, the best first.
        worst: details where most error is left, the worst first.
        others: details of pictures without originals.
    """

    baseline: str
    gains_db: Mapping[str, float]
    best: Sequence[Crop]
    worst: Sequence[Crop]
    others: Sequence[Crop]


class CropCollector:
    """Looks at every picture of an evaluation and keeps a few details: pass it as ``observe``.

    Args:
        protocol: whose first figure gains are counted in.
        scale: how many times the model enlarges.
        model: what the restored layer is called.
    """

    def __init__(self, protocol: EvaluationProtocol, scale: int, model: str) -> None:
        self._protocol = protocol
        self._scale = scale
        self._model = model
        self._baseline = "bicubic" if scale > 1 else "given"
        self._gains_db: dict[str, float] = {}
        self._best: list[tuple[float, Crop]] = []
        self._worst: list[tuple[float, Crop]] = []
        self._others: list[Crop] = []

    def __call__(self, observation: Observation) -> None:
        """Keep what is worth it of one picture."""
        sample, restored = observation.sample, observation.restored
        given = enlarge(sample.lq, self._scale)
        layers = {self._baseline: given, self._model: restored}
        if sample.hq is None:
            if len(self._others) < MOST_UNRATED:
                height, width = restored.shape[:2]
                middle = (max(height - CROP_PX, 0) // 2, max(width - CROP_PX, 0) // 2)
                self._others.append(_cut(sample.name, layers, middle, "middle"))
            return
        self._rate(sample.name, layers, sample.hq)

    @property
    def crops(self) -> Crops:
        """What has been kept so far."""
        return Crops(
            baseline=self._baseline,
            gains_db=self._gains_db,
            best=[crop for _, crop in self._best],
            worst=[crop for _, crop in self._worst],
            others=self._others,
        )

    def _rate(self, name: str, layers: Mapping[str, Pixels], hq: Pixels) -> None:
        """Find the two details of a picture, and keep them if they are among the first of all."""
        given, restored = layers.values()
        compare = COMPARISONS[self._protocol.quoted[0]]
        border_px = self._protocol.border_px(self._scale)
        gain_db = compare(restored, hq, border_px) - compare(given, hq, border_px)
        self._gains_db[name] = gain_db
        before, after = (_square_luma_error(pixels, hq) for pixels in (given, restored))
        error = np.sqrt(after)
        shown = {**layers, "original": hq, "error": color_error(error)}
        place, gain = _find_largest(before - after)
        caption = f"error {_root(before, place):.1f} → {_root(after, place):.1f} of 255"
        _keep(self._best, gain, _cut(name, shown, place, caption))
        place, left = _find_largest(after)
        caption = f"error {left**0.5:.1f} of 255 is left"
        _keep(self._worst, left, _cut(name, shown, place, caption))


def enlarge(lq: NDArray[np.uint8] | NDArray[np.float32], scale: int) -> Pixels:
    """Return the low quality as it would be without a model: enlarged by MATLAB's bicubic, as uint8."""
    return to_uint8(imaging.resize_bicubic(lq, scale) if scale > 1 else lq)


def color_error(error: FloatArray) -> Pixels:
    """Paint an error, of 255, in colours: [h, w] -> [h, w, 3]."""
    at = np.clip(error / ERROR_WHITE, 0, 1) * (len(_RAMP) - 1)
    stops = np.arange(len(_RAMP))
    channels = [np.interp(at, stops, _RAMP[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=2).round().astype(np.uint8)


def _square_luma_error(pixels: Pixels, hq: Pixels) -> FloatArray:
    a, b = (
        imaging.rgb_to_y(picture) if picture.shape[2] == 3 else picture[:, :, 0].astype(np.float64)
        for picture in (pixels, hq)
    )
    return (a - b) ** 2


def _find_largest(plane: FloatArray) -> tuple[tuple[int, int], float]:
    """Find where a square of the crop's size has the largest mean: its top and left, and that mean."""
    height, width = (min(side, CROP_PX) for side in plane.shape)
    sums = np.pad(plane.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    tops = _list_starts(plane.shape[0], height)
    lefts = _list_starts(plane.shape[1], width)
    rows = sums[tops + height] - sums[tops]
    means = (rows[:, lefts + width] - rows[:, lefts]) / (height * width)
    row, column = np.unravel_index(int(np.argmax(means)), means.shape)
    return (int(tops[row]), int(lefts[column])), float(means[row, column])


def _list_starts(length: int, side: int) -> NDArray[np.intp]:
    """List where squares may begin, the last one at the very end."""
    return np.unique(np.append(np.arange(0, length - side + 1, _STEP_PX), length - side))


def _root(plane: FloatArray, place: tuple[int, int]) -> float:
    top, left = place
    return float(plane[top : top + CROP_PX, left : left + CROP_PX].mean()) ** 0.5


def _cut(name: str, layers: Mapping[str, Pixels], place: tuple[int, int], caption: str) -> Crop:
    top, left = place
    cut = {
        label: np.ascontiguousarray(pixels[top : top + CROP_PX, left : left + CROP_PX])
        for label, pixels in layers.items()
    }
    return Crop(picture=name, top=top, left=left, caption=caption, layers=cut)


def _keep(kept: list[tuple[float, Crop]], rank: float, crop: Crop) -> None:
    kept.append((rank, crop))
    # By name where ranks are equal, so that two runs show the same.
    kept.sort(key=lambda entry: (-entry[0], entry[1].picture))
    del kept[MOST_CROPS:]
