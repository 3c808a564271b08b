"""What white is inside a network, where its file does not say: 1 or 255, found by restoring a small picture.

Published files hold no configuration, and weights leave no trace of the range they were trained with. A network that
was trained with 255 and is given values up to 1 adds corrections that are 255 times too large: what comes out has
little to do with the picture. The other way round its corrections vanish, and the picture stays nearly as it is. So
a network that keeps the picture with 1 was trained with 1, and one that keeps it with 255 alone with that.
"""

import logging
import os
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from swinir import imaging
from swinir.errors import UsageError
from swinir.model import SwinIRConfig
from swinir.model.build import build
from swinir.weights import catalog
from swinir.weights.checkpoint import Checkpoint, read_checkpoint
from swinir.weights.records import ModelFile

SMALL, LARGE = 1.0, 255.0
# Correlation of the picture with what a network makes of it, reduced to its size, below which nothing is kept.
LEAST_LIKENESS = 0.9
# Two signs that corrections are 255 times too large; measured on the eight bundled models, each written with either
# range (2026-11-28). The correlation was 0.986 to 1.000 with their own range and 0.149 to 0.965 with 1 for 255.
EXACT_LIKENESS = 0.975
# The difference from the picture with 1 was 0.4 to 3.3 times that with 255 in networks trained with 1, and 8.4 to 80
# times in those trained with 255.
TIMES_FURTHER_OFF = 5.0

_PICTURE = "trial-picture.png"
_log = logging.getLogger(__name__)


def open_checkpoint(
    name_or_path: str | os.PathLike[str], *, image_range: float | None = None
) -> tuple[ModelFile, Checkpoint]:
    """Find and read a model, its image range settled.

    Args:
        name_or_path: as for ``catalog.resolve``.
        image_range: what white is inside the network; None for what the file says or, where it does not, is found.

    Raises:
        WeightsError: there is no such model, or its file cannot be used.
        UsageError: the image range is not above 0.
    """
    file = catalog.resolve(name_or_path)
    return file, settle_image_range(read_checkpoint(file), file, image_range)


def settle_image_range(
    checkpoint: Checkpoint, file: ModelFile, image_range: float | None = None
) -> Checkpoint:
    """Return the checkpoint with the image range that is asked for, stated or found; what was found is logged.

    Raises:
        UsageError: the image range that is asked for is not above 0.
    """
    if image_range is not None:
        try:
            return replace(checkpoint, config=replace(checkpoint.config, image_range=float(image_range)))
        except ValueError as error:
            raise UsageError(f"image_range is {image_range}: choose 1 or 255") from error
    if checkpoint.states_image_range or catalog.find_release(file.sha256) is not None:
        return checkpoint
    found = find_image_range(checkpoint.config, checkpoint.state_dict)
    taken = found.image_range if found.is_kept else checkpoint.config.image_range
    reason = None
    if not found.is_kept:
        reason = f"neither 1 nor 255 gives a picture: {taken:g} is taken; say it with --image-range"
    elif not found.is_clear:
        reason = f"1 and 255 give pictures that look alike: {taken:g} is taken; say it with --image-range"
    elif taken != checkpoint.config.image_range:
        reason = (
            f"{taken:g} is taken, which restores a picture as {checkpoint.config.image_range:g} does not; "
            "--image-range says otherwise"
        )
    if reason is not None:
        _log.warning("%s does not say its image range: %s", file.path, reason)
    return replace(checkpoint, config=replace(checkpoint.config, image_range=taken))


@dataclass(frozen=True, kw_only=True)
class FoundRange:
    """What a network's trials tell of its image range.

    Attributes:
        image_range: the likelier one, 1 or 255.
        is_kept: the picture is kept with it.
        is_clear: the signs agree.
    """

    image_range: float
    is_kept: bool
    is_clear: bool


def find_image_range(config: SwinIRConfig, state_dict: dict[str, Tensor]) -> FoundRange:
    """Restore a small picture with either image range, and tell which one the network was trained with."""
    picture = _picture(config.in_channels)
    restored: dict[float, Tensor] = {}
    for image_range in (SMALL, LARGE):
        network = build(replace(config, image_range=image_range), state_dict)
        with torch.no_grad():
            restored[image_range] = network(picture)
    alike = {image_range: likeness(picture, image) for image_range, image in restored.items()}
    off = {image_range: difference(picture, image) for image_range, image in restored.items()}
    is_unlike = alike[SMALL] < EXACT_LIKENESS
    is_further_off = not off[SMALL] < TIMES_FURTHER_OFF * off[LARGE]
    image_range = LARGE if is_unlike and is_further_off else SMALL
    return FoundRange(
        image_range=image_range,
        is_kept=alike[image_range] >= LEAST_LIKENESS,
        is_clear=is_unlike == is_further_off,
    )


def likeness(picture: Float[Tensor, "1 c h w"], restored: Float[Tensor, "1 c sh sw"]) -> float:
    """Correlate a picture with a restored one, clipped to [0, 1] and averaged to its size; 0 where that is flat."""
    reduced = _reduce(picture, restored.clamp(0, 1))
    if not reduced.isfinite().all() or reduced.std() == 0:
        return 0.0
    return float(torch.corrcoef(torch.stack([picture.flatten(), reduced.flatten()]))[0, 1])


def difference(picture: Float[Tensor, "1 c h w"], restored: Float[Tensor, "1 c sh sw"]) -> float:
    """Return the root mean square difference of a picture from a restored one averaged to its size."""
    return float((_reduce(picture, restored) - picture).square().mean().sqrt())


def _reduce(
    picture: Float[Tensor, "1 c h w"], restored: Float[Tensor, "1 c sh sw"]
) -> Float[Tensor, "1 c h w"]:
    height, width = picture.shape[-2:]
    return functional.adaptive_avg_pool2d(restored, (height, width))


def _picture(in_channels: int) -> Float[Tensor, "1 c h w"]:
    """Load the picture, RGB or whatever else the network takes, in [0, 1]."""
    path = Path(str(resources.files("swinir.weights"))) / _PICTURE
    pixels = imaging.read(path).pixels.astype(np.float32) / 255
    picture = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    if in_channels == picture.shape[1]:
        return picture
    return (
        picture.mean(dim=1, keepdim=True)
        if in_channels == 1
        else torch.cat([picture, torch.ones_like(picture[:, :1])], dim=1)
    )
