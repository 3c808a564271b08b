"""The network in the hands of tracers: one recording serves every size, and gives what the network gives."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from layers import random_layer
from swinir import SwinIR, SwinIRConfig
from swinir.ops import LayerGeometry, LayerParameters, reference, traceable

RECORDED = (2, 19, 27)
# Batch, height, width: one pixel, less than a window, whole windows, one more, far from square.
SIZES = ((1, 1, 1), (1, 1, 7), (2, 7, 8), (1, 8, 8), (1, 9, 8), (3, 2, 40), (1, 63, 65))
HEADS = {
    "pixelshuffledirect": {"scale": 2},
    "pixelshuffle": {"scale": 3},
    "nearest+conv": {"scale": 4, "residual_conv": "3conv"},
    "nearest+conv, unshuffled": {"scale": 1, "unshuffle": 4, "qkv_bias": False},
    "pixelshuffledirect, positions": {"scale": 2, "patch_norm": False, "position_embedding_px": 16},
    "": {"scale": 1, "in_channels": 1, "window_size": 7, "image_range": 255.0},
}


def tiny(upsampler: str) -> SwinIR:
    base = {"in_channels": 3, "embed_dim": 8, "depths": (2,), "num_heads": (2,)}
    base["upsampler"] = upsampler.partition(",")[0]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SwinIR(SwinIRConfig(**(base | HEADS[upsampler]))).eval().requires_grad_(False)


def image(network: SwinIR, size: tuple[int, int, int]) -> Tensor:
    batch, height, width = size
    shape = (batch, network.config.in_channels, height, width)
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def largest_difference(network: SwinIR, recorded: Callable[[Tensor], Tensor]) -> float:
    pairs = [(network(lq), recorded(lq)) for lq in (image(network, size) for size in SIZES)]
    assert all(expected.shape == found.shape for expected, found in pairs)
    return max(float((expected - found).abs().max()) for expected, found in pairs)


@pytest.mark.parametrize("upsampler", HEADS)
def test_a_trace_restores_images_of_every_size(upsampler: str) -> None:
    network = tiny(upsampler)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.trace", DeprecationWarning)
        # What remains of its warnings tells of values that were frozen, and fails the test.
        traced = torch.jit.trace(network, image(network, RECORDED), check_trace=False)
    assert largest_difference(network, traced) < 1e-5


def test_an_export_with_dynamic_sizes_restores_images_of_every_size() -> None:
    network = tiny("nearest+conv")
    sizes = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    program = torch.export.export(network, (image(network, RECORDED),), dynamic_shapes=(sizes,))
    assert largest_difference(network, program.module()) < 1e-5


def test_the_whole_network_compiles_as_one_graph() -> None:
    network = tiny("pixelshuffledirect")
    compiled = torch.compile(network, fullgraph=True, dynamic=False, backend="eager")
    lq = image(network, RECORDED)
    assert torch.allclose(compiled(lq), network(lq), atol=1e-5)


@pytest.mark.parametrize(("size", "shift"), [(7, 0), (7, 3), (8, 0), (8, 4)])
def test_a_traceable_layer_is_the_reference(size: int, shift: int) -> None:
    geometry = LayerGeometry(num_heads=2, window_size=size, shift_size=shift)
    generator = torch.Generator().manual_seed(0)
    drawn = random_layer(generator, channels=8, num_heads=2, window_size=size)
    parameters = LayerParameters(*(tensor.float() for tensor in drawn))
    x = torch.randn((2, 2 * size, 3 * size, 8), generator=generator)
    expected = reference.transformer_layer(x, parameters, geometry)
    assert torch.allclose(traceable.transformer_layer(x, parameters, geometry), expected, atol=1e-4)
