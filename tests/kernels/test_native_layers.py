"""The native CPU kernels compute what float64 does, in every instruction set of this machine."""

import copy
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from einops import rearrange

from layers import random_layer
from native import LIBRARY, fenced, threads, tolerance
from swinir.ops import LayerGeometry, LayerParameters, native, reference, windows

# float32 knows a score of a thousand to 6e-5, and one of ten thousand to 5e-4.
TOLERANCE_OF_THOUSANDS, TOLERANCE_OF_TEN_THOUSANDS = 1e-4, 1e-3


class Case(NamedTuple):
    parameters: LayerParameters
    geometry: LayerGeometry
    x: torch.Tensor


class Shape(NamedTuple):
    channels: int
    num_heads: int
    hidden: int
    window_size: int


# The published variants, then widths that fill neither vectors nor blocks.
SHAPES = {
    "S": Shape(60, 6, 120, 8),
    "M": Shape(180, 6, 360, 8),
    "L": Shape(240, 8, 480, 8),
    "jpeg": Shape(180, 6, 360, 7),
    "odd-heads": Shape(15, 3, 31, 5),
    "one-head": Shape(7, 1, 13, 4),
    "narrow": Shape(2, 2, 1, 2),
    "wide-head": Shape(34, 1, 70, 3),
}
# Batch, height, width in pixels, padded to whole windows, and in windows.
PIXELS = [(1, 1, 1), (1, 7, 9), (1, 8, 8), (1, 9, 8), (1, 64, 1), (1, 13, 31), (2, 17, 5)]
WINDOWS = [(1, 1, 1), (1, 1, 5), (1, 5, 1), (3, 2, 3)]


@cache
def make_case(shape: str, *, pixels=None, whole=None, is_shifted=True) -> Case:
    """Draw a layer and its input, an image of ``pixels`` or of ``whole`` windows."""
    channels, num_heads, hidden, size = SHAPES[shape]
    generator = torch.Generator().manual_seed(0)
    parameters = random_layer(
        generator,
        channels=channels,
        num_heads=num_heads,
        window_size=size,
        hidden_channels=hidden,
        spread=channels**-0.5,
    )
    batch, height, width = pixels or (whole[0], whole[1] * size, whole[2] * size)
    image = torch.randn(batch, channels, height, width, generator=generator)
    x = rearrange(windows.pad_to_windows(image, size), "b c h w -> b h w c").contiguous()
    geometry = LayerGeometry(num_heads=num_heads, window_size=size, shift_size=size // 2 if is_shifted else 0)
    return Case(LayerParameters(*(value.float() for value in parameters)), geometry, x)


def by_reference(case: Case) -> torch.Tensor:
    exact = LayerParameters(*(value.double() for value in case.parameters))
    with torch.no_grad():
        return reference.transformer_layer(case.x.double(), exact, case.geometry)


@cache
def expected_of(shape: str, **options) -> torch.Tensor:
    return by_reference(make_case(shape, **options))


def error_of_layer(packer: native.Packer, case: Case, expected: torch.Tensor) -> float:
    """Return the largest error over the largest value that the layer adds."""
    computed = packer.layer(case.parameters, case.geometry)(case.x)
    return ((computed - expected).abs().max() / (expected - case.x).abs().max()).item()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("is_shifted", [False, True], ids=["straight", "shifted"])
@pytest.mark.parametrize("pixels", PIXELS, ids=str)
def test_a_layer_on_an_image_of_any_size_is_that_of_the_reference(packer, shape, pixels, is_shifted):
    options = {"pixels": pixels, "is_shifted": is_shifted}
    expected = expected_of(shape, **options)
    assert error_of_layer(packer, make_case(shape, **options), expected) <= tolerance(packer)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("is_shifted", [False, True], ids=["straight", "shifted"])
@pytest.mark.parametrize("whole", WINDOWS, ids=str)
def test_a_layer_on_whole_windows_is_that_of_the_reference(packer, shape, whole, is_shifted):
    options = {"whole": whole, "is_shifted": is_shifted}
    expected = expected_of(shape, **options)
    assert error_of_layer(packer, make_case(shape, **options), expected) <= tolerance(packer)


@pytest.mark.parametrize("shift", range(8))
def test_a_layer_may_be_shifted_by_any_part_of_a_window(packer, shift):
    case = make_case("S", whole=(1, 2, 2))
    case = case._replace(geometry=LayerGeometry(num_heads=6, window_size=8, shift_size=shift))
    assert error_of_layer(packer, case, by_reference(case)) <= tolerance(packer)


@pytest.mark.parametrize("contrast", [1e-3, 0.0])
def test_pixels_of_hardly_any_contrast_are_normed_like_the_reference(packer, contrast):
    case = make_case("S", whole=(1, 1, 2))
    case = case._replace(x=0.5 + torch.where(case.x > 0, contrast, 0.0))
    # In float32 the mean is known to 1e-7, and what it is taken from is divided by 3e-3.
    assert error_of_layer(packer, case, by_reference(case)) <= tolerance(packer, 2e-4)


def with_scores_of_thousands() -> Case:
    """Make a layer whose queries and keys are 32 or -32 in every channel, which bf16 holds exactly."""
    case = make_case("S", pixels=(1, 13, 31))
    channels = case.x.shape[3]
    generator = torch.Generator().manual_seed(1)
    signs = torch.ones(channels)
    signs[: channels // 2] = -1
    pixels = [signs[torch.randperm(channels, generator=generator)] for _ in range(case.x[..., 0].numel())]
    parameters = case.parameters
    qkv_weight, qkv_bias = parameters.qkv_weight.clone(), parameters.qkv_bias.clone()
    qkv_weight[: 2 * channels] = torch.cat([32 * torch.eye(channels)] * 2)
    qkv_bias[: 2 * channels] = 0
    parameters = parameters._replace(
        norm1_weight=torch.ones(channels),
        norm1_bias=torch.zeros(channels),
        qkv_weight=qkv_weight,
        qkv_bias=qkv_bias,
        position_bias=torch.zeros_like(parameters.position_bias),
    )
    return case._replace(parameters=parameters, x=torch.stack(pixels).reshape(case.x.shape))


def test_products_far_too_large_to_be_exponents_are_attended_like_the_reference(packer):
    case = with_scores_of_thousands()
    assert error_of_layer(packer, case, by_reference(case)) <= tolerance(packer)


def with_position_bias(change) -> Case:
    case = make_case("S", pixels=(1, 13, 31))
    position_bias = change(case.parameters.position_bias.clone())
    return case._replace(parameters=case.parameters._replace(position_bias=position_bias))


def test_one_huge_position_bias_is_attended_like_the_reference(packer):
    def raise_one(bias: torch.Tensor) -> torch.Tensor:
        bias[:, 3, 5] = 1e4
        return bias

    case = with_position_bias(raise_one)
    assert error_of_layer(packer, case, by_reference(case)) <= tolerance(packer)


def test_position_biases_of_thousands_are_attended_like_the_reference(packer):
    generator = torch.Generator().manual_seed(1)
    case = with_position_bias(lambda bias: 50.0 * torch.randint(-20, 21, bias.shape, generator=generator))
    assert error_of_layer(packer, case, by_reference(case)) <= tolerance(packer, TOLERANCE_OF_THOUSANDS)


@pytest.mark.parametrize("shared", [-1e4, -300.0, -50.0, 50.0, 300.0, 1e4])
def test_attention_is_that_of_the_reference_however_far_from_zero_all_scores_are(packer, shared):
    case = with_position_bias(lambda bias: bias + shared)
    limit = tolerance(packer, TOLERANCE_OF_TEN_THOUSANDS)
    assert error_of_layer(packer, case, by_reference(case)) <= limit


def pixels_that_see(y: int, x: int, case: Case) -> torch.Tensor:
    """Tell of each pixel of the first image whether a window has it and (y, x)."""
    size, shift = case.geometry.window_size, case.geometry.shift_size
    height, width = case.x.shape[1:3]
    rows, columns = torch.arange(height), torch.arange(width)

    def window_along(positions: torch.Tensor, side: int) -> torch.Tensor:
        return (positions - shift) % side // size

    same_row = window_along(rows, height) == window_along(torch.tensor(y), height)
    same_column = window_along(columns, width) == window_along(torch.tensor(x), width)
    return same_row[:, None] & same_column[None, :]


@pytest.mark.parametrize("pixel", [(9, 9), (1, 30), (15, 31)], ids=["inside", "edge", "corner"])
@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_what_is_not_finite_fills_its_window_and_no_other(packer, pixel, poison):
    case = make_case("S", pixels=(1, 13, 31))
    layer = packer.layer(case.parameters, case.geometry)
    clean = layer(case.x)
    poisoned = case.x.clone()
    poisoned[0, *pixel, 7] = poison
    result = layer(poisoned)
    seen = pixels_that_see(*pixel, case)
    assert not result[0, seen].isfinite().any()
    assert torch.equal(result[0, ~seen], clean[0, ~seen])


# Where in its rows a parameter turns what comes out infinite, whatever the image is.
@pytest.mark.parametrize(
    ("name", "row"),
    [
        *(
            (name, 0)
            for name in LayerParameters._fields
            if name not in ("qkv_weight", "qkv_bias", "position_bias")
        ),
        *(("qkv_weight", row) for row in (0, 60, 120)),
        ("qkv_bias", 120),
    ],
)
@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_a_parameter_that_is_not_finite_shows_in_the_result(packer, name, row, value):
    case = make_case("S", whole=(1, 1, 2))
    changed = getattr(case.parameters, name).clone()
    changed[row] = value
    layer = packer.layer(case.parameters._replace(**{name: changed}), case.geometry)
    assert not layer(case.x).isfinite().all()


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_a_position_bias_that_is_not_finite_shows_in_the_result(packer, value):
    def spoil_one(bias: torch.Tensor) -> torch.Tensor:
        bias[0, 0, 0] = value
        return bias

    case = with_position_bias(spoil_one)
    assert not packer.layer(case.parameters, case.geometry)(case.x).isfinite().all()


def test_any_number_of_threads_gives_the_same_bits(packer):
    case = make_case("S", whole=(3, 2, 3))
    layer = packer.layer(case.parameters, case.geometry)
    results = []
    for count in (1, 2, 3):
        with threads(count):
            results.append(layer(case.x))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_layer_in_place_gives_the_bits_of_one_out_of_place(packer, shape):
    case = make_case(shape, pixels=(1, 13, 31))
    layer = packer.layer(case.parameters, case.geometry)
    given = case.x.clone()
    in_place = layer(given, overwrite=True)
    assert in_place.data_ptr() == given.data_ptr()
    assert torch.equal(in_place, layer(case.x))


def test_a_layer_leaves_its_input_alone_unless_told(packer):
    case = make_case("S", pixels=(1, 13, 31))
    given = case.x.clone()
    packer.layer(case.parameters, case.geometry)(given)
    assert torch.equal(given, case.x)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_layer_neither_uses_nor_overwrites_what_lies_beside_its_image(packer, shape):
    case = make_case(shape, pixels=(1, 13, 31))
    layer = packer.layer(case.parameters, case.geometry)
    x, before, after = fenced(case.x)
    layer(x, overwrite=True)
    assert torch.equal(x, layer(case.x))
    assert before.isnan().all()
    assert after.isnan().all()


@pytest.mark.parametrize("size", [(0, 8, 8), (1, 0, 8), (1, 8, 0)], ids=str)
def test_nothing_is_made_of_no_pixels(packer, size):
    case = make_case("S", whole=(1, 1, 1))
    nothing = torch.zeros(*size, 60)
    assert packer.layer(case.parameters, case.geometry)(nothing).shape == nothing.shape


def test_python_threads_at_once_get_the_bits_that_each_gets_alone(packer):
    case = make_case("S", whole=(3, 2, 3))
    layer = packer.layer(case.parameters, case.geometry)
    inputs = [case.x, -case.x, 2 * case.x]
    alone = [layer(x) for x in inputs]
    start = threading.Barrier(len(inputs))

    def compute_often(x: torch.Tensor) -> list[torch.Tensor]:
        start.wait(timeout=10)
        return [layer(x) for _ in range(20)]

    with ThreadPoolExecutor(len(inputs)) as pool:
        together = list(pool.map(compute_often, inputs))
    for expected, results in zip(alone, together, strict=True):
        assert all(torch.equal(result, expected) for result in results)


FORK_AND_COMPARE = """
import os, signal
import torch
from layers import random_layer
from native import LIBRARY, TOLERANCE_FP32, fenced, threads, tolerance
from swinir.ops import LayerGeometry, native

library = native.load_library()
generator = torch.Generator().manual_seed(0)
parameters = random_layer(generator, channels=20, num_heads=2, window_size=8)
geometry = LayerGeometry(num_heads=2, window_size=8, shift_size=4)
layers = [native.Packer(library, isa).layer(parameters, geometry) for isa in library.isas() if isa.runs_here]
x = torch.randn(1, 24, 40, 20, generator=generator)
torch.set_num_threads(2)

def compute():
    return [layer(x).numpy().tobytes() for layer in layers]

expected = compute()
child = os.fork()
if child == 0:
    signal.alarm(60)  # a child that waits for the parent's threads waits for ever
    os._exit(0 if compute() == expected else 1)
_, status = os.waitpid(child, 0)
assert status == 0, "in the child"
assert compute() == expected, "in the parent"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
@pytest.mark.skipif(isinstance(LIBRARY, str), reason=str(LIBRARY))
def test_a_forked_child_computes_like_its_parent():
    folder = Path(__file__).resolve().parents[1]
    run = subprocess.run(
        [sys.executable, "-c", FORK_AND_COMPARE],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_what_is_packed_does_not_see_later_changes(packer):
    case = make_case("S", whole=(1, 1, 1))
    parameters = LayerParameters(*(value.clone() for value in case.parameters))
    layer = packer.layer(parameters, case.geometry)
    before = layer(case.x)
    for value in parameters:
        value.fill_(torch.nan)
    assert torch.equal(layer(case.x), before)


def test_a_copy_of_a_layer_outlives_it(packer):
    case = make_case("S", whole=(1, 1, 1))
    layer = packer.layer(case.parameters, case.geometry)
    expected = layer(case.x)
    duplicate = copy.deepcopy(layer)
    del layer
    assert torch.equal(duplicate(case.x), expected)


def test_a_view_in_another_order_is_computed_as_what_it_shows(packer):
    case = make_case("S", whole=(1, 2, 2))
    layer = packer.layer(case.parameters, case.geometry)
    view = case.x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert torch.equal(layer(view), layer(case.x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.double(), "computes float32 on the CPU, got torch.float64"),
        (lambda x: x.to("meta"), "got torch.float32 on meta"),
        (lambda x: x[..., :59], r"x is \(1, 8, 16, 59\), but must be \[b, h, w, 60\]"),
        (lambda x: x[0], r"x is \(8, 16, 60\), but must be \[b, h, w, 60\]"),
        (lambda x: x[:, :7], r"x is \(1, 7, 16, 60\), but the layer has windows of 8"),
        (lambda x: x[:, :, :9], r"x is \(1, 8, 9, 60\), but the layer has windows of 8"),
        (lambda x: x.clone().requires_grad_(), "no gradients: train with the reference backend"),
    ],
    ids=["float64", "device", "channels", "dimensions", "height", "width", "gradients"],
)
def test_an_input_that_a_layer_cannot_take_is_named(packer, change, message):
    case = make_case("S", whole=(1, 1, 2))
    layer = packer.layer(case.parameters, case.geometry)
    with pytest.raises(ValueError, match=message):
        layer(change(case.x))


def test_an_input_with_gradients_is_computed_where_nobody_asks_for_them(packer):
    case = make_case("S", whole=(1, 1, 1))
    layer = packer.layer(case.parameters, case.geometry)
    with torch.no_grad():
        computed = layer(case.x.clone().requires_grad_())
    assert torch.equal(computed, layer(case.x))


@pytest.mark.parametrize(
    "geometry",
    [
        LayerGeometry(num_heads=7, window_size=8, shift_size=0),
        LayerGeometry(num_heads=0, window_size=8, shift_size=0),
        LayerGeometry(num_heads=6, window_size=8, shift_size=8),
        LayerGeometry(num_heads=6, window_size=8, shift_size=-1),
        LayerGeometry(num_heads=6, window_size=0, shift_size=0),
        LayerGeometry(num_heads=1, window_size=65, shift_size=0),
    ],
    ids=["heads", "no-heads", "shift", "negative-shift", "no-window", "huge-window"],
)
def test_a_layer_that_cannot_be_is_not_packed(packer, geometry):
    n = geometry.window_size**2
    position_bias = torch.zeros(1, 1, 1).expand(geometry.num_heads, n, n)
    parameters = make_case("S", whole=(1, 1, 1)).parameters._replace(position_bias=position_bias)
    with pytest.raises(ValueError, match=r"a layer of 60 channels with .* is beyond the native kernel"):
        packer.layer(parameters, geometry)


def test_a_position_bias_of_other_heads_is_not_packed(packer):
    case = make_case("S", whole=(1, 1, 1))
    parameters = case.parameters._replace(position_bias=case.parameters.position_bias[:5])
    with pytest.raises(ValueError, match=r"position_bias is \(5, 64, 64\), but must be \[heads, n, n\]"):
        packer.layer(parameters, case.geometry)
