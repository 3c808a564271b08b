"""Any size from models of whole scales: the next larger one, again where one is not enough, then a reduction."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement
from math import ceil, prod
from typing import Any, Unpack, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swinir import imaging
from swinir.engine import single_file
from swinir.engine.forms import unwrap
from swinir.engine.hardware import choose_device
from swinir.engine.progress import Progress
from swinir.engine.restorer import Restorable, Restorer
from swinir.errors import ImageError, UsageError
from swinir.options import FramesChoice, RestorerChoices, RestorerOptions

# Pictures are seldom clean: where there is a model for those that are not, it is the one.
MODEL_OF_SCALE = {2: "real-x2", 3: "lightweight-x3", 4: "real-x4-sharp"}
MOST_PASSES = 3
MOST_SCALE = max(MODEL_OF_SCALE) ** MOST_PASSES
# Of progress over several passes.
_PARTS = 1000


@dataclass(frozen=True, kw_only=True)
class TargetSize:
    """How large a picture is to become: by a factor, or within limits of its sides. The sides keep their ratio.

    Attributes:
        scale: how many times larger, above 1.
        width: columns of pixels at most.
        height: rows of pixels at most.
        max_side: pixels of the longer side.

    Raises:
        UsageError: nothing is asked for, too much, or a size below 1.
    """

    scale: Fraction | float | None = None
    width: int | None = None
    height: int | None = None
    max_side: int | None = None

    def __post_init__(self) -> None:
        asked = [name for name, value in vars(self).items() if value is not None]
        if not asked or (len(asked) > 1 and asked != ["width", "height"]):
            given = " and ".join(asked) or "nothing"
            raise UsageError(
                f"a size is a scale, a width, a height, both of them, or a longest side; got {given}"
            )
        if self.scale is not None and not 1 < self.scale <= MOST_SCALE:
            raise UsageError(f"scale is {float(self.scale):g}: choose one above 1 and up to {MOST_SCALE}")
        sides = [side for side in (self.width, self.height, self.max_side) if side is not None]
        if any(side < 1 for side in sides):
            raise UsageError(f"a side is {min(sides)} pixels: choose at least 1")

    @property
    def label(self) -> str:
        """A short name: x1.5, 3840x2160, w3840, h2160, max2000."""
        if self.scale is not None:
            return f"x{float(self.scale):g}"
        if self.max_side is not None:
            return f"max{self.max_side}"
        if self.height is None:
            return f"w{self.width}"
        return f"h{self.height}" if self.width is None else f"{self.width}x{self.height}"

    def __str__(self) -> str:
        if self.scale is not None:
            return f"×{float(self.scale):g}"
        if self.max_side is not None:
            return f"{self.max_side} pixels of the longer side"
        if self.height is None:
            return f"{self.width} pixels wide"
        return f"{self.height} pixels high" if self.width is None else f"fit {self.width}×{self.height}"

    def factor(self, height: int, width: int) -> Fraction:
        """Say by how much a picture of this size has to be enlarged, or below 1, reduced."""
        if self.scale is not None:
            return Fraction(self.scale).limit_denominator(10_000)
        if self.max_side is not None:
            return Fraction(self.max_side, max(height, width))
        limits = ((self.width, width), (self.height, height))
        return min(Fraction(limit, side) for limit, side in limits if limit is not None)


def choose_passes(factor: Fraction, scales: Sequence[int]) -> tuple[int, ...]:
    """Choose the scales to go through, ascending: with the least product that is enough; none where nothing is.

    Raises:
        UsageError: they do not reach so far.
    """
    if factor <= 1:
        return ()
    larger = sorted(scale for scale in scales if scale > 1)
    chains = [
        chain
        for count in range(1, MOST_PASSES + 1)
        for chain in combinations_with_replacement(larger, count)
        if prod(chain) >= factor
    ]
    if not chains:
        made = ", ".join(f"×{scale}" for scale in scales)
        raise UsageError(
            f"×{float(factor):.4g} is asked for, and {MOST_PASSES} times {made} is less: ask for less"
        )
    return min(chains, key=lambda chain: (prod(chain), len(chain)))


class Enlarger:
    """Enlarges pictures to any size; each model is loaded when the first picture needs it.

    Small scales come first: what follows has more pixels to go through.

    Args:
        size: what is asked for.
        options: how every model computes; see ``Restorer``.
        models: to choose from, by their scales: names or files, or Restorers.
        choices: fields of ``RestorerOptions`` that take precedence.

    Raises:
        UsageError: a choice is unknown or impossible here, or the models do not reach the scale.
    """

    def __init__(
        self,
        size: TargetSize,
        options: RestorerOptions | None = None,
        *,
        models: Mapping[int, str | Restorer] = MODEL_OF_SCALE,
        **choices: Unpack[RestorerChoices],
    ) -> None:
        if size.scale is not None:
            choose_passes(size.factor(1, 1), list(models))
        self.size = size
        self.options = (options or RestorerOptions()).changed(**choices)
        self.models: dict[int, str | Restorer] = dict(models)
        self._loaded: dict[int, Restorer] = {}
        loaded = [each for each in models.values() if isinstance(each, Restorer)]
        self.device: torch.device = loaded[0].device if loaded else choose_device(self.options.device)

    @property
    def name(self) -> str:
        """Names of the models to choose from."""
        return ", ".join(each if isinstance(each, str) else each.name for each in self.models.values())

    @property
    def settings(self) -> str:
        """What a result depends on, as text."""
        models = [each if isinstance(each, str) else each.settings for each in self.models.values()]
        return f"{', '.join(models)}, {self.size}{', ensemble' if self.options.ensemble else ''}"

    def passes(self, height: int, width: int) -> list[Restorer]:
        """Return the models that a picture of this size goes through, in their order.

        Raises:
            ImageError: the models do not enlarge this picture as far as was asked for.
            WeightsError: one cannot be loaded.
        """
        try:
            scales = choose_passes(self.size.factor(height, width), list(self.models))
        except UsageError as error:
            raise ImageError(f"of a picture of {width:,} × {height:,} pixels {error}") from error
        return [self._restorer(scale) for scale in scales]

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width that a picture of this size becomes."""
        factor = self.size.factor(height, width)
        return ceil(height * factor), ceil(width * factor)

    def __call__(self, image: Restorable, progress: Progress | None = None) -> Restorable:
        """Enlarge one picture; one that is larger already is only reduced.

        Args:
            image: as for a ``Restorer``.
            progress: called with how far the work is.

        Raises:
            UsageError, RestoreError: as for a ``Restorer``.
            ImageError: as for a ``Restorer``, or the models do not enlarge this picture as far as was asked for.
        """
        if isinstance(image, Tensor) and image.ndim == 4 and len(image):
            images: list[Any] = [self(each, progress) for each in image]
            return cast("Restorable", torch.stack(images))
        known, give_back = unwrap(image)
        return give_back(self._enlarge(known, progress))

    def _enlarge(
        self, image: imaging.Image | NDArray[Any], progress: Progress | None
    ) -> imaging.Image | NDArray[Any]:
        height, width = _size(image)
        target = self.output_size(height, width)
        passes = self.passes(height, width)
        follow = _share(progress, [restorer.scale for restorer in passes])
        enlarged: Any = image
        for number, restorer in enumerate(passes):
            enlarged = restorer(enlarged, follow(number))
        made = _size(enlarged)
        if made == target:
            return enlarged
        factor = self.size.factor(height, width) / prod(restorer.scale for restorer in passes)
        reduced = _reduce(enlarged, factor)
        if not passes and isinstance(reduced, imaging.Image):
            note = (
                f"The picture is {width:,} × {height:,} pixels, more than was asked for: it was only reduced."
            )
            reduced = reduced.with_notes((note,))
        return reduced

    def restore_file(
        self,
        src: single_file.FileSource,
        dst: str | os.PathLike[str],
        *,
        progress: Progress | None = None,
        quality: int | None = None,
        limits: imaging.Limits = imaging.DEFAULT_LIMITS,
        frames: FramesChoice = FramesChoice.AUTO,
    ) -> tuple[str, ...]:
        """Enlarge an image file into another one: see ``Restorer.restore_file``."""
        return single_file.restore_file(
            src, dst, self, progress=progress, quality=quality, limits=limits, frames=frames
        )

    def _restorer(self, scale: int) -> Restorer:
        model = self.models[scale]
        if isinstance(model, Restorer):
            return model
        if scale not in self._loaded:
            self._loaded[scale] = Restorer.from_pretrained(model, self.options)
        return self._loaded[scale]


def _size(image: imaging.Image | NDArray[Any]) -> tuple[int, int]:
    pixels = image.pixels if isinstance(image, imaging.Image) else image
    return pixels.shape[0], pixels.shape[1]


def _reduce(image: imaging.Image | NDArray[Any], factor: Fraction) -> imaging.Image | NDArray[Any]:
    """Reduce by antialiased bicubic; floats keep the range of their values."""

    def reduce(values: NDArray[Any]) -> NDArray[Any]:
        smaller = imaging.resize_bicubic(values, factor)
        return smaller.clip(values.min(), values.max()) if values.dtype == np.float32 else smaller

    if not isinstance(image, imaging.Image):
        return reduce(image)
    alpha = None if image.alpha is None else reduce(image.alpha)
    return image.with_pixels(reduce(image.pixels), alpha)


def _share(progress: Progress | None, scales: Sequence[int]) -> Callable[[int], Progress | None]:
    """Return the progress of each pass as its part of the whole; a pass costs what its input has in pixels."""
    if progress is None:
        return lambda _: None
    costs = [prod(scales[:number]) ** 2 for number in range(len(scales))]

    def of_pass(number: int) -> Progress:
        def follow(done: int, total: int) -> None:
            before = sum(costs[:number]) + costs[number] * done / max(total, 1)
            progress(int(_PARTS * before / sum(costs)), _PARTS)

        return follow

    return of_pass
