"""What a run is judged by while it goes on: PSNR by the code of ``swinir evaluate``, and samples to look at."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from swinir.data import Pair, denoising_pairs, jpeg_pairs, real_world_pairs, super_resolution_pairs
from swinir.data.crop_degradations import RealWorld
from swinir.engine import Restorer
from swinir.evaluation import evaluate
from swinir.training.log import PSNR_PREFIX
from swinir.training.recipe import DegradationKind, Recipe
from swinir.training.state import TrainState

# Samples are the middle of the first pictures of the first validation set.
NUM_SAMPLES = 4
SAMPLE_PX = 192


def validate(recipe: Recipe, state: TrainState) -> tuple[dict[str, float], list[NDArray[np.uint8]]]:
    """Measure the averaged weights on every validation set.

    Returns:
        PSNR in dB by set (on Y, or of grey or RGB pictures as the paper gives them for the task), and samples of
        the first set: low quality, restored and high quality side by side, [h, 3·w, C].
    """
    device = next(state.model.parameters()).device
    restorer = Restorer(state.model.config, state.ema, device=str(device), precision="fp32", tile=None)
    figures: dict[str, float] = {}
    for name, folder in recipe.data.validation.items():
        report = evaluate(
            restorer, validation_pairs(recipe, folder), data=name, task=recipe.degradation.kind.value
        )
        figures[f"{PSNR_PREFIX}{name}"] = report.psnr_db
    first = next(iter(recipe.data.validation.values()))
    pairs = islice(validation_pairs(recipe, first), NUM_SAMPLES)
    return figures, [sample(restorer, pair) for pair in pairs]


def validation_pairs(recipe: Recipe, folder: Path) -> Iterable[Pair]:
    """Pair pictures with themselves under the run's own degradation, the same in every evaluation."""
    config, degradation = recipe.model.config, recipe.degradation
    match degradation.kind:
        case DegradationKind.BICUBIC:
            return super_resolution_pairs(folder, config.scale, config.in_channels)
        case DegradationKind.NOISE:
            return denoising_pairs(folder, degradation.level, config.in_channels)
        case DegradationKind.JPEG:
            return jpeg_pairs(folder, round(degradation.level), config.in_channels)
        case DegradationKind.BSRGAN | DegradationKind.REAL_WORLD:
            chosen = degradation.degradation
            assert isinstance(chosen, RealWorld)
            return real_world_pairs(folder, config.scale, chosen.options)


def sample(restorer: Restorer, pair: Pair) -> NDArray[np.uint8]:
    """Restore the middle of a pair; low quality is enlarged by repeating its pixels."""
    scale = restorer.config.scale
    side = min(SAMPLE_PX // scale, *pair.lq.shape[:2])
    top, left = ((length - side) // 2 for length in pair.lq.shape[:2])
    lq = np.ascontiguousarray(pair.lq[top : top + side, left : left + side])
    place = np.s_[scale * top : scale * (top + side), scale * left : scale * (left + side)]
    enlarged = lq.repeat(scale, axis=0).repeat(scale, axis=1)
    shown = [_as_uint8(enlarged), _as_uint8(restorer(lq)), pair.hq[place]]
    return rearrange(shown, "n h w c -> h (n w) c")


def _as_uint8(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return (pixels.astype(np.float64).clip(0, 1) * 255).round().astype(np.uint8)
