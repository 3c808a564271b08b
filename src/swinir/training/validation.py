"""What a run is judged by while it goes on: PSNR by the code of ``swinir evaluate``, and samples to look at."""

from itertools import islice
from pathlib import Path

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from swinir.data import Bicubic, GaussianNoise, Jpeg, Pair, RealWorld, StoredPairs
from swinir.engine import Restorer
from swinir.evaluation import EvaluationSet, evaluate
from swinir.evaluation.evaluate import to_uint8
from swinir.training.log import PSNR_PREFIX
from swinir.training.recipe import Recipe
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
    test_sets = [make_validation_set(recipe, *named) for named in recipe.data.validation.items()]
    for test_set in test_sets:
        figures[f"{PSNR_PREFIX}{test_set.name}"] = evaluate(restorer, test_set).psnr_db
    pairs = islice(test_sets[0].pairs(restorer.config), NUM_SAMPLES)
    return figures, [sample(restorer, pair) for pair in pairs]


def make_validation_set(recipe: Recipe, name: str, folder: Path) -> EvaluationSet:
    """Return a test set under the run's own degradation, at one level, the same in every evaluation."""
    degradation, level = recipe.degradation.degradation, recipe.degradation.level
    match degradation:
        case GaussianNoise():
            degradation = GaussianNoise(sigma=(level, level))
        case Jpeg():
            degradation = Jpeg(quality=(round(level), round(level)))
        case Bicubic() | RealWorld() | StoredPairs():
            pass
    return EvaluationSet(name=name, folder=folder, degradation=degradation)


def sample(restorer: Restorer, pair: Pair) -> NDArray[np.uint8]:
    """Restore the middle of a pair; low quality is enlarged by repeating its pixels."""
    scale = restorer.config.scale
    side = min(SAMPLE_PX // scale, *pair.lq.shape[:2])
    top, left = ((length - side) // 2 for length in pair.lq.shape[:2])
    lq = np.ascontiguousarray(pair.lq[top : top + side, left : left + side])
    place = np.s_[scale * top : scale * (top + side), scale * left : scale * (left + side)]
    enlarged = lq.repeat(scale, axis=0).repeat(scale, axis=1)
    shown = [to_uint8(enlarged), to_uint8(restorer(lq)), pair.hq[place]]
    return rearrange(shown, "n h w c -> h (n w) c")
