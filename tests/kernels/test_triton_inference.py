"""The fused kernel of inference computes what the reference computes, in the memory of its input if need be.

Without a GPU it runs in Triton's interpreter; see ``test_triton_training`` for what that proves and why in fp16.
"""

from dataclasses import replace

import pytest
import torch

from layers import random_layer
from swinir.engine.inference import InferenceNetwork
from swinir.model import VARIANTS, SwinIR
from swinir.ops import Backend, ConvolutionParameters, LayerGeometry, LayerParameters, reference

pytest.importorskip("triton", reason="the GPU kernels need Triton, which is not installed")

from swinir.ops import triton_inference

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ON_A_GPU = [pytest.mark.gpu, pytest.mark.skipif(DEVICE.type != "cuda", reason="needs a GPU")]
# Batch, height, width; channels, heads, window, shift.
SIZES = {
    "light": ((1, 8, 16), (60, 6, 8, 0)),
    "light-shifted": ((1, 16, 24), (60, 6, 8, 4)),
    "one-window": ((1, 8, 8), (60, 6, 8, 4)),
    "batch": ((2, 8, 16), (20, 2, 8, 4)),
    "window-7": ((1, 14, 21), (60, 6, 7, 3)),
    "narrow": ((1, 8, 8), (6, 1, 4, 2)),
    "chunks": ((1, 16, 8), (180, 6, 8, 4)),
    "window-7-chunks": ((1, 7, 14), (180, 6, 7, 3)),
    "large-model": ((1, 8, 8), (240, 8, 8, 0)),
    "large": ((3, 64, 72), (60, 6, 8, 4)),
}
NAMES = [pytest.param(name, marks=ON_A_GPU if name == "large" else ()) for name in SIZES]
PRECISIONS = [
    pytest.param(torch.float32, 5e-6, id="fp32"),
    pytest.param(torch.float16, 3e-3, id="fp16"),
    pytest.param(torch.bfloat16, 4e-2, id="bf16", marks=ON_A_GPU),
]


def make_layer(name: str) -> tuple[LayerParameters, LayerGeometry, torch.Tensor]:
    """Draw parameters and a residual stream in float64."""
    (batch, height, width), (channels, heads, window_size, shift_size) = SIZES[name]
    generator = torch.Generator().manual_seed(0)
    parameters = random_layer(generator, channels=channels, num_heads=heads, window_size=window_size)
    x = torch.randn(batch, height, width, channels, generator=generator, dtype=torch.float64)
    geometry = LayerGeometry(num_heads=heads, window_size=window_size, shift_size=shift_size)
    return parameters, geometry, x


def packed(
    parameters: LayerParameters, geometry: LayerGeometry, dtype: torch.dtype
) -> triton_inference.PackedLayer:
    on_device = LayerParameters(*(value.float().to(DEVICE) for value in parameters))
    return triton_inference.PackedLayer(on_device, geometry, dtype)


def relative_error(value: torch.Tensor, expected: torch.Tensor) -> float:
    return ((value.double().cpu() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_a_packed_layer_is_the_reference(name, dtype, tolerance):
    parameters, geometry, x = make_layer(name)
    added = reference.transformer_layer(x, parameters, geometry) - x
    y = packed(parameters, geometry, dtype)(x.float().to(DEVICE))
    assert y.dtype is torch.float32
    assert relative_error(y.double().cpu() - x, added) <= tolerance


@pytest.mark.parametrize("name", ["light-shifted", "window-7"])
def test_a_layer_may_work_in_the_memory_of_its_input(name):
    parameters, geometry, x = make_layer(name)
    layer = packed(parameters, geometry, torch.float16)
    stream = x.float().to(DEVICE)
    apart = layer(stream)
    assert torch.equal(stream.cpu(), x.float())
    inside = layer(stream, overwrite=True)
    assert inside.data_ptr() == stream.data_ptr()
    assert torch.equal(inside, apart)


def test_a_stream_beyond_the_range_of_fp16_goes_through_fp16():
    parameters, geometry, x = make_layer("light-shifted")
    # What the MLP has inside is some 50,000 to 200,000, what both branches add more, and the stream is larger still.
    parameters = parameters._replace(
        fc1_weight=3e4 * parameters.fc1_weight, proj_weight=3e4 * parameters.proj_weight
    )
    x = 1e6 * x
    expected = reference.transformer_layer(x, parameters, geometry)
    assert expected.abs().max() > 65504
    y = packed(parameters, geometry, torch.float16)(x.float().to(DEVICE))
    assert relative_error(y.double().cpu() - x, expected - x) <= 3e-3


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((1, 8, 12, 60), torch.float32, "whole windows of 8"),
        ((1, 8, 8, 64), torch.float32, "60 channels"),
        ((1, 8, 8, 60), torch.float16, "takes float32"),
    ],
)
def test_what_is_no_stream_of_whole_windows_is_refused(shape, dtype, message):
    parameters, geometry, _ = make_layer("light")
    with pytest.raises(ValueError, match=message):
        packed(parameters, geometry, torch.float16)(torch.zeros(shape, dtype=dtype, device=DEVICE))


def test_a_packed_layer_refuses_to_be_trained():
    parameters, geometry, x = make_layer("light")
    with pytest.raises(ValueError, match="no gradients"):
        packed(parameters, geometry, torch.float16)(x.float().to(DEVICE).requires_grad_())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_packed_convolution_adds_to_the_stream_in_float32(dtype, tolerance, overwrite):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 5, 3, 3, generator=generator)
    bias, x = torch.randn(6, generator=generator), torch.randn(1, 7, 9, 5, generator=generator)
    stream = 1e3 * torch.randn(1, 7, 9, 6, generator=generator)
    expected = torch.nn.functional.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1).permute(0, 2, 3, 1)
    convolution = triton_inference.PackedConvolution(
        ConvolutionParameters(weight.to(DEVICE), bias.to(DEVICE)), dtype
    )
    given = stream.clone().to(DEVICE)
    result = convolution(x.to(DEVICE), given, overwrite=overwrite)
    assert result.dtype is torch.float32
    assert (result.data_ptr() == given.data_ptr()) is overwrite
    assert relative_error(result.double().cpu() - stream, expected.double()) <= tolerance


def test_the_last_convolution_is_not_rounded():
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(3, 5, 3, 3, generator=generator), torch.randn(3, generator=generator)
    x = torch.randn(1, 7, 9, 5, generator=generator)
    expected = torch.nn.functional.conv2d(
        x.permute(0, 3, 1, 2).double(), weight.double(), bias.double(), padding=1
    )
    parameters = ConvolutionParameters(weight.to(DEVICE), bias.to(DEVICE), keeps_float32=True)
    with torch.autocast(DEVICE.type, torch.bfloat16):
        result = triton_inference.PackedConvolution(parameters, torch.bfloat16)(x.to(DEVICE))
    # PyTorch multiplies float32 in TF32 on a GPU.
    assert relative_error(result.permute(0, 3, 1, 2), expected) <= (1e-6 if DEVICE.type == "cpu" else 1e-3)


@pytest.mark.parametrize("variant", ["lightweight-x2", "lightweight-denoise", "real-m-x4"])
def test_a_packed_network_is_the_network(variant):
    config = replace(VARIANTS[variant], depths=(2,), num_heads=VARIANTS[variant].num_heads[:1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SwinIR(config).to(DEVICE).eval()
        image = torch.rand(1, config.in_channels, 9, 7).to(DEVICE)
    with torch.no_grad():
        expected = network(image)
        packer = triton_inference.Packer(torch.float16)
        backend = Backend(
            name="packed", reason="tested", transformer_layer=reference.transformer_layer, packer=packer
        )
        with torch.autocast(DEVICE.type, torch.float16):
            computed = InferenceNetwork(network, backend)(image)
    assert computed.dtype is torch.float32
    assert 20 * torch.log10(1 / (computed - expected).pow(2).mean().sqrt()) > 60
