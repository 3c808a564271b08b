"""The network computes what the published one computes, on its recorded weights, inputs and outputs."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from swinir import SwinIR, SwinIRConfig
from swinir.model import VARIANTS

TOLERANCE = 2e-5
# Published files also store what this network computes.
COMPUTED = ("attn_mask", "relative_position_index")
SMALL = ("color_jpeg", "gray_denoise", "gray_jpeg_3conv", "lightweight_x2", "lightweight_x3")
LARGE = (
    "classical_x2",
    "classical_x3",
    "classical_x8",
    "color_denoise",
    "color_jpeg",
    "gray_denoise",
    "gray_jpeg",
    "lightweight_x2",
    "lightweight_x4",
    "real_l_x4",
    "real_m_x2",
    "real_m_x4",
)


def recorded(path: Path) -> tuple[SwinIR, list[tuple[torch.Tensor, torch.Tensor]]]:
    """Read a recording as the network it was made with and its pairs of input and output."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dictionary
        metadata = file.metadata()
    original = json.loads(metadata["config"])
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
    network = SwinIR(config).eval()
    network.load_state_dict(
        {
            key.removeprefix("state."): value
            for key, value in tensors.items()
            if key.startswith("state.") and not key.endswith(COMPUTED)
        }
    )
    inputs = sorted(key for key in tensors if key.startswith("input"))
    return network, [(tensors[key], tensors[key.replace("input", "output")]) for key in inputs]


def assert_same_outputs(path: Path) -> None:
    network, pairs = recorded(path)
    assert pairs
    for image, expected in pairs:
        with torch.inference_mode():
            restored = network(image)
        assert restored.shape == expected.shape
        assert (restored - expected).abs().max().item() <= TOLERANCE


@pytest.mark.parametrize("name", SMALL)
def test_small_network_equals_the_published_one(golden: Path, name: str) -> None:
    assert_same_outputs(golden / "network" / f"{name}.safetensors")


@pytest.mark.parametrize("name", LARGE)
def test_network_equals_the_published_one(shared: Path, name: str) -> None:
    assert_same_outputs(shared / "golden" / "network" / f"{name}.safetensors")


def test_every_recording_is_compared(shared: Path) -> None:
    files = {path.stem for path in (shared / "golden" / "network").glob("*.safetensors")}
    assert files == set(LARGE)


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_variant_has_the_published_number_of_parameters(golden: Path, name: str) -> None:
    expected = json.loads((golden / "parameter_counts.json").read_text())
    with torch.device("meta"):
        network = SwinIR(VARIANTS[name])
    assert sum(parameter.numel() for parameter in network.parameters()) == expected[name]
