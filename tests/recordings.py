"""Recordings of the published network: what it is, its weights, inputs and outputs."""

import json
from pathlib import Path
from typing import NamedTuple

from safetensors import safe_open
from torch import Tensor

from swinir import SwinIRConfig

# Published files also store what this network computes.
COMPUTED = ("attn_mask", "relative_position_index")


class Recording(NamedTuple):
    """A network in our words, and what it made of what."""

    config: SwinIRConfig
    state_dict: dict[str, Tensor]
    pairs: list[tuple[Tensor, Tensor]]


def read_recording(path: Path) -> Recording:
    """Read a recording, whose configuration is in the words of the published code."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dictionary
        original = json.loads(file.metadata()["config"])
    config = SwinIRConfig(
        scale=original["upscale"],
        in_channels=original["in_chans"],
        embed_dim=original["embed_dim"],
        depths=original["depths"],
        num_heads=original["num_heads"],
        window_size=original["window_size"],
        mlp_ratio=original["mlp_ratio"],
        upsampler=original["upsampler"],
        residual_conv=original["resi_connection"],
        image_range=original["img_range"],
    )
    state_dict = {
        name.removeprefix("state."): value
        for name, value in tensors.items()
        if name.startswith("state.") and not name.endswith(COMPUTED)
    }
    inputs = sorted(name for name in tensors if name.startswith("input"))
    return Recording(
        config, state_dict, [(tensors[name], tensors[name.replace("input", "output")]) for name in inputs]
    )


def tame(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keep the image within [0, 1]: recorded weights are random, and most of what they make would be clipped."""
    last = [name for name in state_dict if name.startswith(("upsample.", "conv_last."))]
    return state_dict | {name: 0.05 * state_dict[name] for name in last}
