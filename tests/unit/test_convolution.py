"""The convolution keeps fp16 in its range and computes what PyTorch's does."""

import pytest
import torch
from torch.nn import functional

from swinir.ops import convolve


def drawn(scale: float = 1.0):
    generator = torch.Generator().manual_seed(0)
    x = scale * torch.randn(2, 7, 9, 5, generator=generator)
    return x, torch.randn(6, 5, 3, 3, generator=generator), torch.randn(6, generator=generator)


def convolved(x, weight, bias, slope):
    expected = functional.conv2d(x.double().permute(0, 3, 1, 2), weight.double(), bias.double(), padding=1)
    return functional.leaky_relu(expected, slope).permute(0, 2, 3, 1)


def relative_error(value, expected):
    return ((value.double() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("slope", [1.0, 0.2])
@pytest.mark.parametrize(
    ("dtype", "result", "tolerance"),
    [
        (None, torch.float32, 1e-6),
        (torch.bfloat16, torch.bfloat16, 1e-2),
        (torch.float16, torch.float32, 1e-3),
    ],
)
def test_a_convolution_runs_in_autocasts_type(dtype, result, tolerance, slope):
    x, weight, bias = drawn()
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        computed = convolve(x, weight, bias, slope)
    assert computed.dtype is result
    assert relative_error(computed, convolved(x, weight, bias, slope)) < tolerance


@pytest.mark.parametrize("scale", [1e-3, 1.0, 2e4, 1e6, 1e12])
def test_fp16_takes_numbers_far_beyond_its_range(scale):
    x, weight, bias = drawn(scale)
    with torch.autocast("cpu", torch.float16):
        computed = convolve(x, weight, bias, 1.0)
    assert relative_error(computed, convolved(x, weight, bias, 1.0)) < 1e-3


def test_fp16_of_nothing_is_the_bias():
    _, weight, bias = drawn()
    with torch.autocast("cpu", torch.float16):
        computed = convolve(torch.zeros(1, 3, 3, 5), weight, bias, 1.0)
    assert torch.equal(computed, bias.expand(1, 3, 3, 6))
