"""Precisions agree with one another, and the reference layer with a layer written as loops over pixels."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from layers import random_layer
from recordings import read_recording
from swinir.model import VARIANTS, SwinIR, SwinIRConfig, Upsampler
from swinir.ops import LayerGeometry, LayerParameters, reference
from swinir.weights import load_checkpoint

CONFIG = SwinIRConfig(
    scale=2,
    in_channels=3,
    embed_dim=24,
    depths=(2, 2),
    num_heads=(3, 2),
    upsampler=Upsampler.PIXEL_SHUFFLE_DIRECT,
)


def decibel(a: torch.Tensor, b: torch.Tensor, peak: float = 1.0) -> float:
    return 10 * math.log10(peak**2 / (a.double() - b.double()).square().mean().item())


def random_network(config: SwinIRConfig) -> SwinIR:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return SwinIR(config).eval()


def smooth_picture(height: int, width: int) -> torch.Tensor:
    """Make colours that change as slowly as a photo's, with some detail."""
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand(1, 3, 5, 7, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
    return (smooth + 0.05 * torch.randn(1, 3, height, width, generator=generator)).clamp(0, 1)


def trained_networks() -> list[Path]:
    import swinir.weights

    return sorted((Path(swinir.weights.__file__).parent / "bundled").glob("*.safetensors"))


@pytest.mark.parametrize("path", trained_networks(), ids=lambda path: path.stem)
def test_a_trained_network_in_bf16_is_close_to_fp32(path):
    config, state_dict = load_checkpoint(path)
    network = SwinIR(config).eval()
    network.load_state_dict(state_dict)
    image = smooth_picture(40, 56)
    with torch.no_grad():
        expected = network(image)
        with torch.autocast("cpu", torch.bfloat16):
            restored = network(image)
    assert restored.dtype == torch.float32
    assert decibel(restored, expected) >= 50


@pytest.mark.parametrize("name", ["color_jpeg", "gray_denoise", "lightweight_x2", "lightweight_x3"])
def test_recorded_weights_in_bf16_are_close_to_fp32(golden, name):
    config, state_dict, _ = read_recording(golden / "network" / f"{name}.safetensors")
    network = SwinIR(config).eval()
    network.load_state_dict(state_dict)
    image = smooth_picture(40, 56)[:, : config.in_channels]
    with torch.no_grad():
        expected = network(image)
        with torch.autocast("cpu", torch.bfloat16):
            restored = network(image)
    # These weights are random, and what they make leaves [0, 1].
    assert decibel(restored, expected, peak=(expected.max() - expected.min()).item()) >= 50


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"upsampler": Upsampler.PIXEL_SHUFFLE},
        {"upsampler": Upsampler.NEAREST_CONV, "scale": 4},
        {"upsampler": Upsampler.NONE, "scale": 1},
        {"upsampler": Upsampler.NONE, "scale": 1, "window_size": 7, "image_range": 255.0},
    ],
    ids=["direct", "shuffle", "nearest", "none", "range-255"],
)
def test_bf16_is_close_to_fp32_and_gives_float32(changes):
    network = random_network(replace(CONFIG, **changes))
    image = smooth_picture(17, 26)
    with torch.no_grad():
        expected = network(image)
        with torch.autocast("cpu", torch.bfloat16):
            restored = network(image)
    assert restored.dtype == torch.float32
    assert decibel(restored, expected) >= 50


@pytest.mark.parametrize("upsampler", [Upsampler.PIXEL_SHUFFLE_DIRECT, Upsampler.PIXEL_SHUFFLE])
def test_float64_agrees_with_float32(upsampler):
    network = random_network(replace(CONFIG, upsampler=upsampler))
    image = smooth_picture(13, 21)
    with torch.no_grad():
        single = network(image)
        double = network.double()(image.double())
    assert double.dtype == torch.float64
    assert (single - double).abs().max() < 2e-6


def layer_by_loops(x: np.ndarray, parameters: LayerParameters, geometry: LayerGeometry) -> np.ndarray:
    """Compute one layer window by window, head by head, token by token; x [b, h, w, c] in float64."""
    p = LayerParameters(*(value.numpy() for value in parameters))  # pyright: ignore[reportArgumentType]
    size, shift, heads = geometry.window_size, geometry.shift_size, geometry.num_heads
    batch, height, width, channels = x.shape
    d = channels // heads

    def norm(rows, weight, bias):
        centred = rows - rows.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias

    out = x.copy()
    for image in range(batch):
        for top in range(0, height, size):
            for left in range(0, width, size):
                # Where in the unshifted image each token of this window is, and on which side of the tears.
                tokens = [
                    ((top + i + shift) % height, (left + j + shift) % width)
                    for i in range(size)
                    for j in range(size)
                ]
                sides = [
                    (top + i + shift >= height, left + j + shift >= width)
                    for i in range(size)
                    for j in range(size)
                ]
                rows = np.stack([x[image, y, z] for y, z in tokens])
                qkv = norm(rows, p.norm1_weight, p.norm1_bias) @ p.qkv_weight.T + p.qkv_bias
                attended = np.zeros((size**2, channels))
                for head in range(heads):
                    own = slice(head * d, (head + 1) * d)
                    q, k, v = (qkv[:, part * channels :][:, own] for part in range(3))
                    for token in range(size**2):
                        scores = k @ q[token] / math.sqrt(d) + p.position_bias[head, token]
                        scores += [0.0 if side == sides[token] else -100.0 for side in sides]
                        weights = np.exp(scores - scores.max())
                        attended[token, own] = weights @ v / weights.sum()
                projected = attended @ p.proj_weight.T + p.proj_bias
                for (y, z), row in zip(tokens, projected, strict=True):
                    out[image, y, z] += row
    hidden = norm(out, p.norm2_weight, p.norm2_bias) @ p.fc1_weight.T + p.fc1_bias
    hidden *= 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
    return out + hidden @ p.fc2_weight.T + p.fc2_bias


GEOMETRIES = [
    ((1, 8, 8), LayerGeometry(num_heads=2, window_size=8, shift_size=0)),
    ((1, 8, 8), LayerGeometry(num_heads=2, window_size=8, shift_size=4)),
    ((2, 8, 24), LayerGeometry(num_heads=3, window_size=8, shift_size=4)),
    ((1, 21, 14), LayerGeometry(num_heads=1, window_size=7, shift_size=3)),
]


@pytest.mark.parametrize(("shape", "geometry"), GEOMETRIES)
def test_both_paths_of_the_reference_layer_are_the_layer_written_as_loops(shape, geometry):
    generator = torch.Generator().manual_seed(0)
    parameters = random_layer(
        generator, channels=6, num_heads=geometry.num_heads, window_size=geometry.window_size
    )
    x = torch.randn(*shape, 6, generator=generator, dtype=torch.float64)
    expected = torch.from_numpy(layer_by_loops(x.numpy(), parameters, geometry))
    with torch.no_grad():
        inferred = reference.transformer_layer(x, parameters, geometry)
    trained = reference.transformer_layer(x.clone().requires_grad_(), parameters, geometry)
    assert trained.requires_grad
    assert (inferred - expected).abs().max() < 1e-12
    assert (trained - expected).abs().max() < 1e-12


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_training_and_inference_agree_in_every_precision(precision):
    network = random_network(CONFIG)
    image = smooth_picture(16, 24)
    with torch.autocast("cpu", precision, enabled=precision is not torch.float32):
        trained = network(image).detach()
        with torch.no_grad():
            inferred = network(image)
    limit_db = 100 if precision is torch.float32 else 50
    assert decibel(trained, inferred) >= limit_db


def test_gradients_of_the_reference_layer_are_those_of_its_values():
    geometry = LayerGeometry(num_heads=2, window_size=2, shift_size=1)
    generator = torch.Generator().manual_seed(0)
    parameters = random_layer(generator, channels=4, num_heads=2, window_size=2)
    x = torch.randn(1, 4, 2, 4, generator=generator, dtype=torch.float64).requires_grad_()
    inputs = (x, *(value.requires_grad_() for value in parameters))
    assert torch.autograd.gradcheck(
        lambda x, *values: reference.transformer_layer(x, LayerParameters(*values), geometry), inputs
    )


def test_the_lightweight_network_learns_in_bf16_as_in_fp32():
    network = random_network(replace(VARIANTS["lightweight-x2"], depths=(2,), num_heads=(6,)))
    image = smooth_picture(16, 16)
    gradients = []
    for is_low in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_low):
            restored = network(image)
        (restored - 0.5).abs().mean().backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in network.parameters()]))
    cosine = torch.nn.functional.cosine_similarity(*gradients, dim=0)
    assert cosine > 0.99
