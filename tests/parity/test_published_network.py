"""The network computes what the published one computes, on its recorded weights, inputs and outputs."""

import json
from pathlib import Path

import pytest
import torch

from recordings import read_recording
from swinir import SwinIR
from swinir.model import VARIANTS

TOLERANCE = 2e-5
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


def assert_same_outputs(path: Path) -> None:
    config, state_dict, pairs = read_recording(path)
    network = SwinIR(config).eval()
    network.load_state_dict(state_dict)
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


# Networks of ours, which nobody published.
OURS = {"lightweight-denoise", "lightweight-jpeg"}


@pytest.mark.parametrize("name", sorted(VARIANTS.keys() - OURS))
def test_variant_has_the_published_number_of_parameters(golden: Path, name: str) -> None:
    expected = json.loads((golden / "parameter_counts.json").read_text())
    with torch.device("meta"):
        network = SwinIR(VARIANTS[name])
    assert sum(parameter.numel() for parameter in network.parameters()) == expected[name]
