"""The arithmetic of a network, counted from its configuration."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from swinir import SwinIR
from swinir.bench.original import ORIGINAL_MANNER
from swinir.model import VARIANTS, flops

SMALL, MEDIUM = VARIANTS["lightweight-x4"], VARIANTS["classical-x4"]


def test_a_layer_of_the_lightweight_network_is_36480_multiply_adds_per_pixel() -> None:
    assert flops.layer_multiply_adds(SMALL) == 36_480


def test_a_layer_of_the_classical_network_is_282240_multiply_adds_per_pixel() -> None:
    assert flops.layer_multiply_adds(MEDIUM) == 282_240


def test_convolutions_of_the_lightweight_network_are_189540_per_pixel() -> None:
    assert flops.convolution_multiply_adds(SMALL) == 189_540


@pytest.mark.parametrize(("config", "millions"), [(SMALL, 1.07), (MEDIUM, 13.1)])
def test_the_whole_is_what_was_counted_per_pixel(config: SwinIR, millions: float) -> None:
    per_pixel = flops.multiply_adds(config, 64, 64) / 64**2
    assert per_pixel / 1e6 == pytest.approx(millions, rel=5e-3)


@pytest.mark.parametrize(("config", "side", "gflop"), [(SMALL, 256, 140), (MEDIUM, 128, 428)])
def test_the_whole_is_what_was_counted_for_a_picture(config: SwinIR, side: int, gflop: float) -> None:
    counted = flops.FLOPS_PER_MULTIPLY_ADD * flops.multiply_adds(config, side, side)
    assert counted / 1e9 == pytest.approx(gflop, rel=5e-3)


def test_a_picture_is_padded_to_whole_windows() -> None:
    assert flops.multiply_adds(SMALL, 1, 9) == flops.multiply_adds(SMALL, 8, 16)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_count_is_what_pytorch_counts_in_a_pass(name: str) -> None:
    network = SwinIR(VARIANTS[name]).eval()
    network.use_backend(ORIGINAL_MANNER)
    image = torch.zeros(1, VARIANTS[name].in_channels, 5, 9)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    expected = flops.FLOPS_PER_MULTIPLY_ADD * flops.multiply_adds(VARIANTS[name], 5, 9)
    assert counter.get_total_flops() == expected


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("lightweight-x2", 910_152),
        ("lightweight-x4", 929_628),
        ("classical-x2", 11_752_487),
        ("real-l-x4", 28_013_059),
    ],
)
def test_parameters_are_those_of_the_published_networks(name: str, count: int) -> None:
    assert flops.count_parameters(VARIANTS[name]) == count
