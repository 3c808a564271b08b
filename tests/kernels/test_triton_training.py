"""The fused Triton kernels compute what the reference computes, forward and backward.

Without a GPU they run in Triton's interpreter, which proves the arithmetic and the addresses; what a GPU makes of
them is proven by the same tests on one. The interpreter multiplies bf16 as if its bits were integers, so there the
low precision is fp16.
"""

import pytest
import torch

from layers import random_layer
from swinir.ops import LayerGeometry, LayerParameters, reference

pytest.importorskip("triton", reason="the GPU kernels need Triton, which is not installed")

from swinir.ops import triton_training

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

# Batch, height, width; channels, heads, window, shift.
SIZES = {
    "light": ((1, 8, 16), (60, 6, 8, 0)),
    "light-shifted": ((1, 16, 24), (60, 6, 8, 4)),
    "one-window": ((1, 8, 8), (60, 6, 8, 4)),
    "batch": ((2, 8, 16), (20, 2, 8, 4)),
    "window-7": ((1, 14, 21), (24, 3, 7, 3)),
    "narrow": ((1, 8, 8), (6, 1, 4, 2)),
    "wide": ((1, 16, 8), (90, 3, 8, 4)),
    "large": ((3, 64, 72), (60, 6, 8, 4)),
}
ON_A_GPU = [pytest.mark.gpu, pytest.mark.skipif(DEVICE.type != "cuda", reason="needs a GPU")]
NAMES = [pytest.param(name, marks=ON_A_GPU if name == "large" else ()) for name in SIZES]
# The reference itself strays from float64 by 1.8e-6 (fp32, large), 2.4e-3 (fp16, wide) and 2.7e-2 (bf16, wide); a
# GPU's exponential is an approximation besides.
PRECISIONS = [
    pytest.param(torch.float32, 5e-6 if DEVICE.type == "cuda" else 2e-6, id="fp32"),
    pytest.param(torch.float16, 3e-3, id="fp16"),
    pytest.param(torch.bfloat16, 4e-2, id="bf16", marks=ON_A_GPU),
]


def make_layer(name: str) -> tuple[LayerParameters, LayerGeometry, torch.Tensor, torch.Tensor]:
    """Draw parameters, a residual stream and its gradient, in float64."""
    (batch, height, width), (channels, heads, window_size, shift_size) = SIZES[name]
    generator = torch.Generator().manual_seed(0)
    parameters = random_layer(generator, channels=channels, num_heads=heads, window_size=window_size)
    geometry = LayerGeometry(num_heads=heads, window_size=window_size, shift_size=shift_size)
    x, grad_y = (
        torch.randn(batch, height, width, channels, generator=generator, dtype=torch.float64)
        for _ in range(2)
    )
    return parameters, geometry, x, grad_y


def differentiated(layer, parameters, geometry, x, grad_y, *, scales=None) -> dict[str, torch.Tensor]:
    """Return a layer's output and every gradient by name."""
    inputs = [value.detach().clone().requires_grad_() for value in (x, *parameters)]
    y = layer(inputs[0], LayerParameters(*inputs[1:]), geometry, scales)
    y.backward(grad_y)
    return {
        "y": y.detach(),
        "x": inputs[0].grad,
        **dict(zip(LayerParameters._fields, (value.grad for value in inputs[1:]), strict=True)),
    }


def relative_error(value: torch.Tensor, expected: torch.Tensor) -> float:
    return ((value.double().cpu() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS)
def test_a_fused_layer_and_its_gradients_are_those_of_the_reference(name, precision, tolerance):
    parameters, geometry, x, grad_y = make_layer(name)
    expected = differentiated(reference.transformer_layer, parameters, geometry, x, grad_y)
    low = LayerParameters(*(value.float().to(DEVICE) for value in parameters))
    with torch.autocast(DEVICE.type, precision, enabled=precision is not torch.float32):
        computed = differentiated(
            triton_training.transformer_layer, low, geometry, x.float().to(DEVICE), grad_y.float().to(DEVICE)
        )
    assert {value.dtype for value in computed.values()} == {torch.float32}
    errors = {key: relative_error(value, expected[key]) for key, value in computed.items()}
    assert {key: error for key, error in errors.items() if not error <= tolerance} == {}


@pytest.mark.parametrize(
    ("channels", "precision", "tolerance"),
    [(20, *PRECISIONS[0].values), (20, *PRECISIONS[1].values), (90, *PRECISIONS[0].values)],
)
def test_with_drop_path_a_layer_and_its_gradients_are_those_of_the_reference(channels, precision, tolerance):
    generator = torch.Generator().manual_seed(0)
    parameters = random_layer(generator, channels=channels, num_heads=2, window_size=4)
    geometry = LayerGeometry(num_heads=2, window_size=4, shift_size=2)
    # Tiles of 16 to 128 tokens begin and end within images of 32.
    x, grad_y = (torch.randn(3, 4, 8, channels, generator=generator, dtype=torch.float64) for _ in range(2))
    scales = torch.tensor([[1.25, 0.0], [0.0, 0.5], [2.0, 1.0]])
    expected = differentiated(reference.transformer_layer, parameters, geometry, x, grad_y, scales=scales)
    low = LayerParameters(*(value.float().to(DEVICE) for value in parameters))
    low_x, low_grad_y = (value.float().to(DEVICE) for value in (x, grad_y))
    with torch.autocast(DEVICE.type, precision, enabled=precision is not torch.float32):
        computed = differentiated(
            triton_training.transformer_layer, low, geometry, low_x, low_grad_y, scales=scales.to(DEVICE)
        )
    errors = {key: relative_error(value, expected[key]) for key, value in computed.items()}
    assert {key: error for key, error in errors.items() if not error <= tolerance} == {}


@pytest.mark.parametrize("with_drop_path", [False, True])
@pytest.mark.parametrize("channels", [12, 70], ids=["narrow", "wide"])
def test_a_compiled_layer_and_its_gradients_are_those_of_the_eager_one(channels, with_drop_path):
    generator = torch.Generator().manual_seed(0)
    drawn = random_layer(generator, channels=channels, num_heads=2, window_size=4)
    parameters = LayerParameters(*(value.float().to(DEVICE) for value in drawn))
    geometry = LayerGeometry(num_heads=2, window_size=4, shift_size=2)
    x, grad_y = (torch.randn(1, 4, 8, channels, generator=generator).to(DEVICE) for _ in range(2))
    scales = torch.tensor([[1.25, 0.5]], device=DEVICE) if with_drop_path else None
    compiled = torch.compile(triton_training.transformer_layer, backend="aot_eager", fullgraph=True)
    runs = [
        differentiated(layer, parameters, geometry, x, grad_y, scales=scales)
        for layer in (triton_training.transformer_layer, compiled)
    ]
    assert all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0])


def test_a_run_of_the_kernels_is_exact_to_the_bit():
    parameters, geometry, x, grad_y = make_layer("batch")
    low = LayerParameters(*(value.float().to(DEVICE) for value in parameters))
    runs = [
        differentiated(
            triton_training.transformer_layer, low, geometry, x.float().to(DEVICE), grad_y.float().to(DEVICE)
        )
        for _ in range(2)
    ]
    assert all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0])


def test_wide_layers_take_the_fused_attention_alone(monkeypatch):
    parameters, geometry, x, _ = make_layer("wide")
    called = []
    monkeypatch.setattr(
        triton_training,
        "_window_attention",
        lambda qkv, *_: called.append("attention") or qkv[..., : x.shape[-1]],
    )
    monkeypatch.setattr(triton_training, "_fused_layer", lambda *_: pytest.fail("too wide to be fused whole"))
    triton_training.transformer_layer(
        x.float(), LayerParameters(*(value.float() for value in parameters)), geometry
    )
    assert called == ["attention"]
