"""The native CPU convolutions compute what PyTorch does in float64, in every instruction set of this machine."""

from functools import cache
from typing import NamedTuple

import pytest
import torch
from einops import rearrange
from torch.nn import functional

from native import fenced, threads, tolerance
from swinir.ops import ConvolutionParameters

# Kernel size, channels in and out.
CONVOLUTIONS = [(k, c, out) for k in (1, 3) for c, out in ((3, 60), (60, 48), (180, 180), (7, 5), (64, 3))]
# Batch, height, width: strips are 64 pixels wide, bands 16 high.
IMAGES = [(1, 1, 1), (1, 1, 70), (1, 70, 1), (2, 9, 65), (1, 130, 3)]


class ConvolutionCase(NamedTuple):
    parameters: ConvolutionParameters
    x: torch.Tensor
    residual: torch.Tensor
    expected: torch.Tensor  # without the residual


@cache
def make_convolution(
    sizes: tuple[int, int, int], image: tuple[int, int, int], slope: float = 1.0
) -> ConvolutionCase:
    kernel_size, channels, out_channels = sizes
    generator = torch.Generator().manual_seed(0)
    fan_in = channels * kernel_size**2
    weight = fan_in**-0.5 * torch.randn(out_channels, channels, kernel_size, kernel_size, generator=generator)
    bias = torch.randn(out_channels, generator=generator)
    x = torch.randn(*image, channels, generator=generator)
    residual = torch.randn(*image, out_channels, generator=generator)
    convolved = functional.conv2d(
        rearrange(x.double(), "b h w c -> b c h w"), weight.double(), bias.double(), padding=kernel_size // 2
    )
    expected = rearrange(functional.leaky_relu(convolved, slope), "b c h w -> b h w c")
    return ConvolutionCase(ConvolutionParameters(weight, bias, slope), x, residual, expected)


def relative_error(computed: torch.Tensor, expected: torch.Tensor, of: torch.Tensor) -> float:
    return ((computed - expected).abs().max() / of.abs().max()).item()


@pytest.mark.parametrize("sizes", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("image", IMAGES, ids=str)
def test_a_convolution_is_that_of_pytorch(packer, sizes, image):
    parameters, x, _, expected = make_convolution(sizes, image)
    computed = packer.convolution(parameters)(x)
    assert relative_error(computed, expected, of=expected) <= tolerance(packer)


@pytest.mark.parametrize("sizes", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("image", IMAGES, ids=str)
def test_a_leaky_convolution_on_a_residual_is_that_of_pytorch(packer, sizes, image):
    parameters, x, residual, expected = make_convolution(sizes, image, slope=0.2)
    computed = packer.convolution(parameters)(x, residual)
    assert relative_error(computed, expected + residual, of=expected) <= tolerance(packer)


@pytest.mark.parametrize("sizes", CONVOLUTIONS, ids=str)
def test_a_convolution_in_place_of_the_residual_gives_the_same_bits(packer, sizes):
    parameters, x, residual, _ = make_convolution(sizes, (2, 9, 65))
    convolution = packer.convolution(parameters)
    given = residual.clone()
    in_place = convolution(x, given, overwrite=True)
    assert in_place.data_ptr() == given.data_ptr()
    assert torch.equal(in_place, convolution(x, residual))


def test_a_convolution_leaves_what_it_is_given_alone_unless_told(packer):
    parameters, x, residual, _ = make_convolution((3, 60, 48), (2, 9, 65))
    given = x.clone(), residual.clone()
    packer.convolution(parameters)(*given)
    assert torch.equal(given[0], x)
    assert torch.equal(given[1], residual)


@pytest.mark.parametrize("sizes", [(1, 60, 48), (3, 60, 48), (3, 7, 5)], ids=str)
def test_a_convolution_on_any_number_of_threads_gives_the_same_bits(packer, sizes):
    parameters, x, residual, _ = make_convolution(sizes, (2, 35, 65))
    convolution = packer.convolution(parameters)
    results = []
    for count in (1, 2, 3):
        with threads(count):
            results.append(convolution(x, residual))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("sizes", CONVOLUTIONS, ids=str)
def test_a_convolution_neither_uses_nor_overwrites_what_lies_beside_its_image(packer, sizes):
    parameters, x, residual, _ = make_convolution(sizes, (2, 9, 65))
    convolution = packer.convolution(parameters)
    fenced_x, *_ = fenced(x)
    fenced_residual, before, after = fenced(residual)
    convolution(fenced_x, fenced_residual, overwrite=True)
    assert torch.equal(fenced_residual, convolution(x, residual))
    assert before.isnan().all()
    assert after.isnan().all()


@pytest.mark.parametrize("size", [(0, 8, 8), (1, 0, 8), (1, 8, 0)], ids=str)
def test_nothing_is_convolved_of_no_pixels(packer, size):
    convolution = packer.convolution(make_convolution((3, 60, 48), (1, 1, 1)).parameters)
    assert convolution(torch.zeros(*size, 60)).shape == (*size, 48)


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_nan_reaches_what_a_convolution_computes_from_it_and_no_more(packer, kernel_size):
    parameters, x, _, _ = make_convolution((kernel_size, 7, 5), (2, 35, 65), slope=0.2)
    convolution = packer.convolution(parameters)
    poisoned = x.clone()
    poisoned[0, 16, 63, 2] = torch.nan
    reached = torch.zeros(poisoned.shape[:3], dtype=torch.bool)
    radius = kernel_size // 2
    reached[0, 16 - radius : 17 + radius, 63 - radius : 64 + radius] = True
    result = convolution(poisoned)
    assert result[reached].isnan().all()
    assert torch.equal(result[~reached], convolution(x)[~reached])


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_a_weight_that_is_not_finite_shows_in_the_result(packer, value):
    parameters, x, _, _ = make_convolution((3, 7, 5), (1, 9, 9), slope=0.2)
    weight = parameters.weight.clone()
    weight[2, 3, 1, 1] = value
    result = packer.convolution(parameters._replace(weight=weight))(x)
    assert not result[..., 2].isfinite().any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, residual: (x.double(), residual), "computes float32 on the CPU, got torch.float64"),
        (lambda x, residual: (x, residual.half()), "computes float32 on the CPU, got torch.float16"),
        (lambda x, residual: (x[..., :6], residual), r"x is \(2, 9, 65, 6\), but must be \[b, h, w, 7\]"),
        (lambda x, residual: (x[0], residual), r"x is \(9, 65, 7\), but must be \[b, h, w, 7\]"),
        (lambda x, residual: (x, residual[..., :4]), r"\(2, 9, 65, 4\), but must be \[b, h, w, 5\]"),
        (lambda x, residual: (x, residual[:, :8]), r"\(2, 8, 65, 5\), but must be of x's size \(2, 9, 65\)"),
        (lambda x, residual: (x.clone().requires_grad_(), residual), "no gradients"),
        (lambda x, residual: (x, residual.clone().requires_grad_()), "no gradients"),
    ],
    ids=[
        "float64",
        "half",
        "channels",
        "dimensions",
        "residual",
        "residual-size",
        "gradients",
        "residual-gradients",
    ],
)
def test_an_input_that_a_convolution_cannot_take_is_named(packer, change, message):
    parameters, x, residual, _ = make_convolution((3, 7, 5), (2, 9, 65))
    convolution = packer.convolution(parameters)
    with pytest.raises(ValueError, match=message):
        convolution(*change(x, residual))


@pytest.mark.parametrize(
    ("kernel_size", "slope"), [(2, 1.0), (5, 1.0), (3, 1.5), (3, -0.1), (3, torch.nan)], ids=str
)
def test_a_convolution_that_cannot_be_is_not_packed(packer, kernel_size, slope):
    parameters = ConvolutionParameters(torch.zeros(5, 7, kernel_size, kernel_size), torch.zeros(5), slope)
    with pytest.raises(ValueError, match=r"a convolution of .* is beyond the native kernel"):
        packer.convolution(parameters)


@pytest.mark.parametrize(("kernel", "biases"), [((3, 1), 5), ((3, 3), 4)], ids=["flat", "bias"])
def test_a_convolution_whose_parameters_do_not_fit_is_not_packed(packer, kernel, biases):
    parameters = ConvolutionParameters(torch.zeros(5, 7, *kernel), torch.zeros(biases), 1.0)
    with pytest.raises(ValueError, match=r"but they must be \[out, c, k, k\] and \[out\]"):
        packer.convolution(parameters)
