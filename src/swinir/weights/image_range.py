"""What white is inside a network, where its file does not say: 1 or 255, found by restoring a small picture.

Published files hold no configuration, and weights leave no trace of the range they were trained with. A network that
was trained with 255 and is given values up to 1 adds corrections that are 255 times too large: what comes out has
nothing to do with the picture. The other way round its corrections vanish, and the picture stays as it is. So a
network that keeps the picture with 1 was trained with 1.
"""

import logging
import os
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from swinir import imaging
from swinir.errors import UsageError
from swinir.model import SwinIRConfig
from swinir.model.build import build
from swinir.weights import catalog
from swinir.weights.checkpoint import Checkpoint, read_checkpoint
from swinir.weights.records import ModelFile

RANGES = (1.0, 255.0)
# Correlation of the picture with what a network makes of it, reduced to its size. Measured (2026-11-27, the bundled
# models at 24 × 24): 0.986 to 1.000 with their own range or with the larger one, -0.5 to 0.83 where corrections are
# 255 times too large in networks that keep the size or restore the real world.
LEAST_LIKENESS = 0.9

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
    if found is None:
        _log.warning(
            "%s does not say its image range, and neither 1 nor 255 gives a picture: %g is taken; say it with"
            " --image-range",
            file.path,
            checkpoint.config.image_range,
        )
        return checkpoint
    if found != checkpoint.config.image_range:
        _log.warning(
            "%s does not say its image range: %g is taken, which restores a picture as %g does not; --image-range"
            " says otherwise",
            file.path,
            found,
            checkpoint.config.image_range,
        )
    return replace(checkpoint, config=replace(checkpoint.config, image_range=found))


def find_image_range(config: SwinIRConfig, state_dict: dict[str, Tensor]) -> float | None:
    """Restore a small picture with each image range, and return the first that keeps it; None where none does."""
    picture = _picture(config.in_channels)
    for image_range in RANGES:
        network = build(replace(config, image_range=image_range), state_dict)
        with torch.no_grad():
            restored = network(picture)
        if likeness(picture, restored) >= LEAST_LIKENESS:
            return image_range
    return None


def likeness(picture: Float[Tensor, "1 c h w"], restored: Float[Tensor, "1 c sh sw"]) -> float:
    """Correlate a picture with a restored one, clipped to [0, 1] and averaged to its size; 0 where that is flat."""
    height, width = picture.shape[-2:]
    reduced = torch.nn.functional.adaptive_avg_pool2d(restored.clamp(0, 1), (height, width))
    if not reduced.isfinite().all() or reduced.std() == 0:
        return 0.0
    return float(torch.corrcoef(torch.stack([picture.flatten(), reduced.flatten()]))[0, 1])


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
