"""What this version makes of a small picture and of a tiny run: a script that records it, and what tests compare."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from runs import TINY_VARIANTS, VARIANTS_OF_RECIPES, furnish, losses, run_in
from swinir import Restorer, imaging
from swinir.weights.catalog import bundled_models

REPOSITORY = Path(__file__).resolve().parent.parent
MODELS = REPOSITORY / "tests" / "golden" / "models"
LOSSES = REPOSITORY / "tests" / "golden" / "losses.json"
# An eye and the fur around it.
TOP, LEFT, SIDE_PX = 96, 120, 48
NUM_LOSSES = 10


def restore_crop(model: str) -> NDArray[np.uint8]:
    """Restore a crop of the example with a bundled model, in float32 on the CPU."""
    pixels = imaging.read(REPOSITORY / "examples" / "chelsea.png").pixels
    crop = np.ascontiguousarray(pixels[TOP : TOP + SIDE_PX, LEFT : LEFT + SIDE_PX])
    return Restorer.from_pretrained(model, device="cpu", precision="fp32")(crop)


def train_tiny(folder: Path) -> list[float]:
    """Train a tiny network for some steps, and return the loss of each."""
    changes = (
        f"optimizer.steps={NUM_LOSSES}",
        "run.log_every=1",
        "run.evaluate_every=100",
        "run.save_every=100",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VARIANTS_OF_RECIPES, TINY_VARIANTS)
        return losses(run_in(furnish(folder), *changes).parent)


def as_image(pixels: NDArray[Any]) -> imaging.Image:
    return imaging.Image(pixels=pixels, alpha=None, profile=None, metadata=imaging.Metadata(), notes=())


if __name__ == "__main__":
    torch.set_num_threads(1)
    MODELS.mkdir(exist_ok=True)
    for file in MODELS.glob("*.png"):
        file.unlink()
    for model in bundled_models():
        imaging.write(as_image(restore_crop(model)), MODELS / f"{model}.png")
    with TemporaryDirectory() as folder:
        LOSSES.write_text(json.dumps(train_tiny(Path(folder)), indent=1) + "\n", encoding="utf-8")
