"""Restores and trains with every annotation checked, shapes of tensors among them; run as a script.

jaxtyping's hook rewrites modules while they are imported, so the process must not have imported them before.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep673Exception
from jaxtyping import TypeCheckError, install_import_hook

# The rooms where tensors and arrays are.
ROOMS = (
    "swinir.model",
    "swinir.ops",
    "swinir.metrics",
    "swinir.engine",
    "swinir.data",
    "swinir.training",
    "swinir.bench.original",
    "swinir.weights.image_range",
)
# Whole numbers are floats too (PEP 484).
CONF = BeartypeConf(is_pep484_tower=True)


def check(annotated: Callable[..., Any]) -> Callable[..., Any]:
    """Check what a function takes and returns, unless that is ``Self``, which means nothing without a class."""
    try:
        return beartype(conf=CONF)(annotated)
    except BeartypeDecorHintPep673Exception:
        return annotated


def notice() -> None:
    """Fail unless a wrong shape is an error: otherwise nothing of all this is checked."""
    import torch

    from swinir.ops import LayerGeometry
    from swinir.ops.reference import window_attention

    geometry = LayerGeometry(num_heads=1, window_size=2, shift_size=0)
    try:
        window_attention(torch.zeros(1, 4, 4, 6), torch.zeros(1, 4, 5), geometry)
    except TypeCheckError:
        return
    raise SystemExit("the shape of a position bias was not checked")


def networks() -> Iterator[Any]:
    """Build a tiny network of each reconstruction and of each variant."""
    import torch

    from swinir.model import ResidualConv, SwinIR, SwinIRConfig, Upsampler
    from swinir.model.heads import HEADS

    base = {"in_channels": 3, "embed_dim": 8, "depths": (2,), "num_heads": (2,), "window_size": 4, "scale": 1}
    changes = (
        *({"upsampler": upsampler, "scale": HEADS[upsampler].scales[:2][-1]} for upsampler in Upsampler),
        {"upsampler": Upsampler.NONE, "in_channels": 1, "residual_conv": ResidualConv.THREE},
        {"upsampler": Upsampler.NEAREST_CONV, "unshuffle": 4, "qkv_bias": False},
        {"upsampler": Upsampler.PIXEL_SHUFFLE_DIRECT, "patch_norm": False, "position_embedding_px": 4},
    )
    torch.manual_seed(0)
    for values in changes:
        yield SwinIR(SwinIRConfig(**base | values))


def differentiate() -> None:
    """Run each network forward and backward, with one backend after the other."""
    import torch

    from swinir.bench.original import ORIGINAL_MANNER
    from swinir.ops import REFERENCE, select_training_backend

    for index, network in enumerate(networks()):
        native = select_training_backend(torch.device("cpu"), torch.float32, network.layer_shapes())
        backend = (native, REFERENCE, ORIGINAL_MANNER)[index % 3]
        network.use_backend(backend)
        with torch.autocast("cpu", torch.bfloat16, enabled=backend is REFERENCE):
            network(torch.rand(2, network.config.in_channels, 9, 7)).mean().backward()


def restore() -> None:
    """Restore pictures and batches with each network, whole and in tiles."""
    import numpy as np
    import torch

    from swinir import Restorer
    from swinir.options import BackendChoice, Precision
    from swinir.weights.image_range import find_image_range

    choices = (
        {"backend": BackendChoice.REFERENCE, "ensemble": True},
        {"tile": 16},
        {"precision": Precision.BF16},
    )
    for index, network in enumerate(networks()):
        config, state_dict = network.config, network.state_dict()
        restorer = Restorer(config, state_dict, device="cpu", **choices[index % len(choices)])
        restorer(np.zeros((20, 9, 4), np.uint8), progress=lambda done, total: None)
        restorer.restore_batch(torch.rand(2, config.in_channels, 5, 3))
    find_image_range(config, state_dict)


def train(folder: Path) -> None:
    """Train a few steps, with stochastic depth and validation."""
    import pytest

    from runs import CPU, TINY_VARIANTS, VARIANTS_OF_RECIPES, furnish, recipe_in
    from swinir.training import fit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VARIANTS_OF_RECIPES, TINY_VARIANTS)
        changes = ("optimizer.steps=2", "run.evaluate_every=2", "run.save_every=2", "model.drop_path=0.5")
        fit(recipe_in(furnish(folder), *changes), device=CPU)


if __name__ == "__main__":
    install_import_hook(ROOMS, "shapes.check")
    notice()
    differentiate()
    restore()
    train(Path(sys.argv[1]))
