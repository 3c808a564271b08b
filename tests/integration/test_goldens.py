"""The models and the training of this version give what was recorded; `make golden` records anew."""

import json
from pathlib import Path

import numpy as np
import pytest

from goldens import LOSSES, MODELS, restore_crop, train_tiny
from swinir import imaging
from swinir.weights.catalog import bundled_models


def test_every_bundled_model_is_recorded() -> None:
    assert {file.stem for file in MODELS.glob("*.png")} == bundled_models().keys(), "run make golden"


@pytest.mark.parametrize("model", bundled_models())
def test_a_bundled_model_restores_a_crop_as_recorded(model: str) -> None:
    recorded = imaging.read(MODELS / f"{model}.png").pixels.astype(int)
    restored = restore_crop(model)
    assert restored.shape == recorded.shape
    # Another order of sums may round a value the other way.
    assert np.abs(restored - recorded).max() <= 1, "run make golden if the weights are new"


def test_the_first_losses_of_a_tiny_run_are_those_recorded(tmp_path: Path) -> None:
    recorded = json.loads(LOSSES.read_text())
    assert train_tiny(tmp_path) == pytest.approx(recorded, rel=1e-4), "run make golden if training is new"
