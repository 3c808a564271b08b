"""The self-check of kernels on their own device: small random layers, compared to the reference in float64."""

from collections.abc import Collection, Iterable
from itertools import product

import torch
from jaxtyping import Float64
from torch import Tensor

from swinir.ops import reference
from swinir.ops.interface import LayerGeometry, LayerParameters, LayerShape, Packer, TransformerLayer

# Error of what a layer adds to its input, and of each gradient, as a share of its norm. Kernels that are right stay
# below a third of it; one wrong head, window or channel is beyond it.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
# Sides of the image, in windows: with a shift, every kind of border.
WINDOWS = (2, 3)
# Images of a batch, and what drop-path multiplies what attention and MLP add to each by.
DROP_PATH_SCALES = ((1.25, 0.5), (0.75, 0.0))
# Scatter of the random parameters.
SPREAD = 0.2


def check_inference_kernels(
    packer: Packer, shapes: Collection[LayerShape], device: torch.device, dtype: torch.dtype
) -> str | None:
    """Say what goes wrong when ``packer`` packs layers of ``shapes`` and they compute on ``device``."""
    for shape in _in_order(shapes):
        parameters, x, _ = random_layer(shape)
        expected = reference.transformer_layer(x, parameters, shape.geometry) - x
        try:
            layer = packer.layer(_on(device, parameters), shape.geometry)
            added = layer(x.to(device, torch.float32)).double().cpu() - x
        except Exception as error:  # noqa: BLE001 - compilers and drivers raise what they like
            return f"the fused kernels failed their self-check ({_in_short(error)})"
        if problem := _compared({"output": added}, {"output": expected}, TOLERANCE[dtype]):
            return problem
    return None


def check_training_kernels(
    layer: TransformerLayer, shapes: Collection[LayerShape], device: torch.device, dtype: torch.dtype
) -> str | None:
    """Say what goes wrong when ``layer`` computes layers of ``shapes`` and their gradients on ``device``.

    Each is computed as it is and with drop-path.
    """
    for shape, scales in product(_in_order(shapes), (None, torch.tensor(DROP_PATH_SCALES))):
        parameters, x, grad_y = random_layer(shape)
        expected = _differentiated(
            reference.transformer_layer, shape.geometry, (x, *parameters), scales, grad_y
        )
        try:
            with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
                low = tuple(value.to(device, torch.float32) for value in (x, *parameters))
                low_scales = None if scales is None else scales.to(device)
                computed = _differentiated(
                    layer, shape.geometry, low, low_scales, grad_y.to(device, torch.float32)
                )
        except Exception as error:  # noqa: BLE001 - compilers and drivers raise what they like
            return f"the fused kernels failed their self-check ({_in_short(error)})"
        on_cpu = {name: value.double().cpu() for name, value in computed.items()}
        if problem := _compared(on_cpu, expected, TOLERANCE[dtype]):
            return problem
    return None


def random_layer(
    shape: LayerShape,
) -> tuple[LayerParameters, Float64[Tensor, "2 h w c"], Float64[Tensor, "2 h w c"]]:
    """Draw parameters, a residual stream and a gradient, the same every time, from a generator of their own."""
    generator = torch.Generator().manual_seed(0)
    channels, hidden_channels, geometry = shape.channels, shape.hidden_channels, shape.geometry
    tokens = geometry.window_size**2

    def draw(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator, dtype=torch.float64)

    parameters = LayerParameters(
        norm1_weight=1 + SPREAD * draw(channels),
        norm1_bias=SPREAD * draw(channels),
        qkv_weight=draw(3 * channels, channels) / channels**0.5,
        qkv_bias=SPREAD * draw(3 * channels),
        position_bias=draw(geometry.num_heads, tokens, tokens),
        proj_weight=draw(channels, channels) / channels**0.5,
        proj_bias=SPREAD * draw(channels),
        norm2_weight=1 + SPREAD * draw(channels),
        norm2_bias=SPREAD * draw(channels),
        fc1_weight=draw(hidden_channels, channels) / channels**0.5,
        fc1_bias=SPREAD * draw(hidden_channels),
        fc2_weight=draw(channels, hidden_channels) / hidden_channels**0.5,
        fc2_bias=SPREAD * draw(channels),
    )
    height, width = (count * geometry.window_size for count in WINDOWS)
    x, grad_y = (draw(len(DROP_PATH_SCALES), height, width, channels) for _ in range(2))
    return parameters, x, grad_y


def _in_order(shapes: Iterable[LayerShape]) -> list[LayerShape]:
    return sorted(shapes, key=str)


def _on(device: torch.device, parameters: LayerParameters) -> LayerParameters:
    return LayerParameters(*(value.to(device, torch.float32) for value in parameters))


def _differentiated(
    layer: TransformerLayer,
    geometry: LayerGeometry,
    inputs: tuple[Tensor, ...],
    drop_path_scales: Tensor | None,
    grad_y: Tensor,
) -> dict[str, Tensor]:
    """Return what the layer adds to its input, and the gradients of ``inputs``, x and every parameter, by name."""
    x, *parameters = (value.detach().requires_grad_() for value in inputs)
    with torch.enable_grad():
        y = layer(x, LayerParameters(*parameters), geometry, drop_path_scales)
        gradients = torch.autograd.grad(y, (x, *parameters), grad_y)
    names = ("output", "gradient of x", *(f"gradient of {name}" for name in LayerParameters._fields))
    return dict(zip(names, (y.detach() - x.detach(), *gradients), strict=True))


def _compared(computed: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> str | None:
    for name, value in expected.items():
        error = ((computed[name] - value).norm() / value.norm()).item()
        # NaN is not below anything.
        if not error <= tolerance:
            return f"the fused kernels failed their self-check ({name} is off by {error:.2g} of its norm)"
    return None


def _in_short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
