"""Training runs of tiny networks, for tests in this process and, as a script, in processes of torchrun."""

import json
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from swinir import imaging
from swinir.errors import SwinIRError
from swinir.model import SwinIRConfig, Upsampler
from swinir.training import Recipe, fit, read_recipe
from swinir.training.distributed import join_world

TINY = SwinIRConfig(
    scale=2,
    in_channels=3,
    embed_dim=12,
    depths=(2,),
    num_heads=(2,),
    window_size=4,
    upsampler=Upsampler.PIXEL_SHUFFLE_DIRECT,
)
# The same body for noise and JPEG.
TINY_CLEAN = replace(TINY, scale=1, upsampler=Upsampler.NONE)
TINY_VARIANTS = {"tiny": TINY, "tiny-clean": TINY_CLEAN}
VARIANTS_OF_RECIPES = "swinir.training.recipe.VARIANTS"

CPU = torch.device("cpu")

RECIPE = """
[model]
variant = "tiny"
[data]
train = "{folder}/train"
validation = {{ Val = "{folder}/val" }}
crop_px = 8
batch_size = 4
[optimizer]
steps = 10
learning_rate = 2e-3
warmup_steps = 2
gradient_clip = 0.5
ema_decay = 0.9
[run]
folder = "{folder}/run"
seed = 3
precision = "fp32"
log_every = 2
evaluate_every = 5
save_every = 5
"""


def save_picture(path: Path, height: int, width: int, seed: int) -> None:
    """Write a picture of slow waves."""
    rows, columns = np.mgrid[:height, :width]
    waves = np.random.default_rng(seed).uniform(0.1, 0.9, (6, 3))
    layers = [sum(np.sin(a * rows + b * columns + 6 * c + k) for a, b, c in waves) for k in range(3)]
    pixels = (127 + 30 * np.stack(layers, axis=2)).clip(0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = imaging.Image(pixels=pixels, alpha=None, profile=None, metadata=imaging.Metadata(), notes=())
    imaging.write(image, path)


def furnish(folder: Path) -> Path:
    """Fill a folder with pictures and a recipe for a network that trains in seconds."""
    for seed in range(3):
        save_picture(folder / "train" / f"{seed}.png", 40, 48, seed)
    for seed in (8, 9):
        save_picture(folder / "val" / f"{seed}.png", 32, 26, seed)
    (folder / "recipe.toml").write_text(RECIPE.format(folder=folder.as_posix()), encoding="utf-8")
    return folder


def recipe_in(place: Path, *overrides: str) -> Recipe:
    """Read the recipe of a furnished folder."""
    return read_recipe(place / "recipe.toml", overrides)


def run_in(place: Path, *overrides: str, resume: bool = False) -> Path:
    """Train by it."""
    return fit(recipe_in(place, *overrides), resume=resume, device=CPU)


def entries(run: Path) -> list[dict[str, float]]:
    """Read the log of a run."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def losses(run: Path) -> list[float]:
    """Read the losses of a run."""
    return [entry["loss"] for entry in entries(run) if "loss" in entry]


def state_of(run: Path) -> dict[str, torch.Tensor]:
    """Read every tensor and number of a run's state by its path."""
    return leaves(torch.load(run / "state.pt", weights_only=True))


def leaves(value, name: str = "") -> dict[str, torch.Tensor]:
    """List every tensor and number of nested containers by its path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, torch.Tensor | int | float):
        return {name: torch.as_tensor(value)}
    return {key: leaf for at, item in items for key, leaf in leaves(item, f"{name}/{at}").items()}


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """Name the tensors that are not the same to the bit."""
    assert one.keys() == other.keys()
    return [key for key in one if not torch.equal(one[key], other[key])]


def run_all(place: Path, names: list[str]) -> None:
    """Do runs one after the other in processes that torchrun started, each by the changes to the recipe in its file.

    What a run fails with is written beside its changes. The processes meet once for all runs: PyTorch's meeting
    place remembers addresses of an earlier meeting.
    """
    with join_world(CPU) as met, pytest.MonkeyPatch.context() as patch:
        patch.setattr(VARIANTS_OF_RECIPES, TINY_VARIANTS)
        patch.setattr("swinir.training.trainer.join_world", lambda _: nullcontext(met))
        for name in names:
            try:
                run_in(place, *(place / f"{name}.changes").read_text().splitlines())
            except SwinIRError as error:
                (place / f"{name}.error.{met[0].rank}").write_text(str(error))


if __name__ == "__main__":
    torch.set_num_threads(1)
    run_all(Path(sys.argv[1]), sys.argv[2:])
