"""The native kernels with gradients differentiate as float64 does, in every instruction set of this machine."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from layers import random_layer
from native import LIBRARY, fenced, isas, threads
from swinir.errors import UsageError
from swinir.ops import LayerGeometry, LayerParameters, native, reference
from swinir.ops.native_training import NativeLayer

# Error of each gradient as a share of its norm.
TOLERANCE_FP32, TOLERANCE_BF16 = 1e-5, 2e-2
# A norm over four channels takes out most of a gradient, and leaves what bf16 rounded.
TOLERANCE_NARROW_BF16 = 5e-2
# Channels, heads, hidden channels, window: the published variants, then widths that fill neither vectors nor blocks.
SHAPES = {
    "S": (60, 6, 120, 8),
    "M": (180, 6, 360, 8),
    "L": (240, 8, 480, 8),
    "jpeg": (60, 6, 120, 7),
    "odd-heads": (15, 3, 31, 5),
    "one-head": (7, 1, 13, 4),
    "narrow": (4, 2, 1, 2),
    "wide-head": (34, 1, 70, 3),
    "window-10": (12, 2, 25, 10),
    "window-1": (32, 2, 48, 1),
}
WIDE = ("M", "L")
NAMES = ("output", "x", *LayerParameters._fields)
REPOSITORY = Path(__file__).resolve().parents[2]


class Case(NamedTuple):
    parameters: LayerParameters
    geometry: LayerGeometry
    x: torch.Tensor
    grad_y: torch.Tensor
    drop_path_scales: torch.Tensor | None


@cache
def make_case(shape: str, *, batch=1, rows=2, columns=3, is_shifted=True, is_dropping=False) -> Case:
    """Draw a layer, an image of ``rows`` × ``columns`` windows and the gradient behind it."""
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
    image = (batch, rows * size, columns * size, channels)
    x, grad_y = (torch.randn(image, generator=generator) for _ in range(2))
    scales = torch.tensor([[1.25, 0.5], [0.75, 0.0]])[:batch] if is_dropping else None
    geometry = LayerGeometry(num_heads=num_heads, window_size=size, shift_size=size // 2 if is_shifted else 0)
    return Case(LayerParameters(*(value.float() for value in parameters)), geometry, x, grad_y, scales)


def differentiate(layer, case: Case) -> dict[str, torch.Tensor]:
    """Return what the layer adds to its input, and every gradient."""
    inputs = [value.detach().clone().requires_grad_() for value in (case.x, *case.parameters)]
    y = layer(inputs[0], LayerParameters(*inputs[1:]), case.geometry, case.drop_path_scales)
    gradients = torch.autograd.grad(y, inputs, case.grad_y)
    return dict(zip(NAMES, (y.detach() - case.x, *gradients), strict=True))


def in_float64(case: Case) -> Case:
    scales = case.drop_path_scales
    return Case(
        LayerParameters(*(value.double() for value in case.parameters)),
        case.geometry,
        case.x.double(),
        case.grad_y.double(),
        None if scales is None else scales.double(),
    )


@cache
def expected_of(shape: str, **options) -> dict[str, torch.Tensor]:
    return differentiate(reference.transformer_layer, in_float64(make_case(shape, **options)))


def worst_error(computed: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> tuple[float, str]:
    return max(
        (((computed[name] - value).norm() / value.norm()).item(), name)
        for name, value in expected.items()
        if value.norm() > 0
    )


@pytest.fixture(params=isas())
def isa(request) -> native.Isa:
    return request.param


@pytest.fixture
def tolerance(isa) -> float:
    return TOLERANCE_BF16 if isa.is_bf16 else TOLERANCE_FP32


@pytest.mark.parametrize("shape", WIDE)
def test_every_gradient_of_a_wide_layer_is_that_of_the_reference(isa, tolerance, shape):
    options = {"batch": 2, "rows": 1, "columns": 2, "is_dropping": True}
    error, name = worst_error(
        differentiate(NativeLayer(isa), make_case(shape, **options)), expected_of(shape, **options)
    )
    assert error <= tolerance, name


@pytest.mark.parametrize("shape", sorted(SHAPES.keys() - WIDE))
@pytest.mark.parametrize("is_shifted", [False, True], ids=["straight", "shifted"])
@pytest.mark.parametrize("is_dropping", [False, True], ids=["all", "dropping"])
def test_every_gradient_is_that_of_the_reference(isa, tolerance, shape, is_shifted, is_dropping):
    options = {"batch": 2, "is_shifted": is_shifted, "is_dropping": is_dropping}
    computed = differentiate(NativeLayer(isa), make_case(shape, **options))
    error, name = worst_error(computed, expected_of(shape, **options))
    if shape == "narrow" and isa.is_bf16:
        tolerance = TOLERANCE_NARROW_BF16
    assert error <= tolerance, name


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 5), (5, 1)])
def test_images_of_one_row_or_column_of_windows_have_the_gradients_of_the_reference(
    isa, tolerance, rows, columns
):
    options = {"rows": rows, "columns": columns}
    computed = differentiate(NativeLayer(isa), make_case("S", **options))
    error, name = worst_error(computed, expected_of("S", **options))
    assert error <= tolerance, name


def test_gradients_summed_in_many_parts_are_those_of_the_reference(isa, tolerance):
    options = {"batch": 2, "rows": 7, "columns": 9}
    computed = differentiate(NativeLayer(isa), make_case("odd-heads", **options))
    error, name = worst_error(computed, expected_of("odd-heads", **options))
    assert error <= tolerance, name


def test_any_number_of_threads_gives_the_same_bits(isa):
    case = make_case("odd-heads", batch=2, rows=7, columns=9)
    results = []
    for count in (1, 2, 3):
        with threads(count):
            results.append(differentiate(NativeLayer(isa), case))
    for other in results[1:]:
        assert all(torch.equal(other[name], value) for name, value in results[0].items())


@pytest.mark.parametrize("shared", [-300.0, 300.0])
def test_scores_far_from_zero_have_the_gradients_of_the_reference(isa, tolerance, shared):
    case = make_case("S")
    case = case._replace(
        parameters=case.parameters._replace(position_bias=case.parameters.position_bias + shared)
    )
    computed = differentiate(NativeLayer(isa), case)
    expected = differentiate(reference.transformer_layer, in_float64(case))
    # float32 knows a score of 300 to 3e-5.
    error, name = worst_error(computed, expected)
    assert error <= max(tolerance, 1e-3), name


def test_a_branch_that_is_dropped_everywhere_gives_its_parameters_no_gradient(isa):
    case = make_case("S")._replace(drop_path_scales=torch.tensor([[0.0, 1.0]]))
    computed = differentiate(NativeLayer(isa), case)
    of_attention = ("norm1_weight", "norm1_bias", "qkv_weight", "qkv_bias", "position_bias", "proj_weight")
    assert all(computed[name].count_nonzero() == 0 for name in of_attention)
    assert computed["fc1_weight"].count_nonzero() > 0


def test_a_gradient_that_is_not_finite_shows_in_the_parameters(isa):
    case = make_case("S")
    grad_y = case.grad_y.clone()
    grad_y[0, 3, 3, 3] = torch.inf
    computed = differentiate(NativeLayer(isa), case._replace(grad_y=grad_y))
    assert not computed["qkv_weight"].isfinite().all()


def test_memory_beside_the_streams_is_neither_read_nor_written(isa):
    case = make_case("S")
    x, *fences_of_x = fenced(case.x)
    grad_y, *fences_of_grad = fenced(case.grad_y)
    computed = differentiate(NativeLayer(isa), case._replace(x=x, grad_y=grad_y))
    assert all(value.isfinite().all() for value in computed.values())
    assert all(fence.isnan().all() for fence in (*fences_of_x, *fences_of_grad))


def test_what_does_not_fit_the_layer_is_refused_before_it_is_read(isa):
    case = make_case("S")
    short = case.parameters._replace(position_bias=case.parameters.position_bias[:-1])
    with pytest.raises(UsageError, match="parameters was given"):
        differentiate(NativeLayer(isa), case._replace(parameters=short))
    with pytest.raises(UsageError, match="windows of 8"):
        differentiate(NativeLayer(isa), case._replace(x=case.x[:, 1:]))
    narrow = make_case("narrow")
    beyond = LayerGeometry(num_heads=3, window_size=2, shift_size=0)  # of 4 channels
    bias = torch.zeros(3, 4, 4)
    with pytest.raises(UsageError, match="beyond the native kernel"):
        differentiate(
            NativeLayer(isa),
            narrow._replace(parameters=narrow.parameters._replace(position_bias=bias), geometry=beyond),
        )
    with pytest.raises(UsageError, match=r"must be \[1, 2\]"):
        differentiate(NativeLayer(isa), case._replace(drop_path_scales=torch.ones(1, 1)))


@pytest.mark.parametrize("sizes", [(0, 8, 8), (1, 0, 8), (1, 8, 0)])
def test_an_empty_batch_or_image_has_gradients_of_zero(isa, sizes):
    case = make_case("S")
    empty = torch.zeros(*sizes, 60)
    computed = differentiate(NativeLayer(isa), case._replace(x=empty, grad_y=empty))
    assert computed["x"].shape == empty.shape
    assert all(computed[name].count_nonzero() == 0 for name in LayerParameters._fields)


def test_an_image_that_is_not_contiguous_is_read_as_what_it_is(isa):
    case = make_case("S")
    permuted = case.x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    flat = torch.cat([value.flatten() for value in case.parameters])
    numbers = [isa.number, 120, 6, 8, 4]
    computed = torch.ops.swinir.native_layer(permuted, flat, None, numbers)
    assert torch.equal(computed, torch.ops.swinir.native_layer(case.x, flat, None, numbers))


@pytest.mark.skipif(isinstance(LIBRARY, str), reason=str(LIBRARY))
def test_the_operator_is_what_pytorch_asks_of_one():
    isa = next(isa for isa in native.require_library().isas() if isa.runs_here)
    case = make_case("narrow", batch=2, is_dropping=True)
    parameters = torch.cat([value.flatten() for value in case.parameters]).requires_grad_()
    torch.library.opcheck(
        torch.ops.swinir.native_layer.default,
        (case.x.clone().requires_grad_(), parameters, case.drop_path_scales, [isa.number, 1, 2, 2, 1]),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )


@pytest.mark.slow
@pytest.mark.skipif("SWINIR_CPU_LIBRARY" in os.environ, reason="the tests run on a library of their own")
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_bf16_kernels_emulated_in_plain_vectors_pass_the_tests_of_this_file(tmp_path):
    tools = Path(sys.executable).parent
    build = ["cmake", "-S", "native", "-B", str(tmp_path), "-DSWINIR_ISAS=portable_bf16", "-G", "Ninja"]
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    for command in (build, ["cmake", "--build", str(tmp_path)]):
        subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, capture_output=True)
    library = next(tmp_path.glob("libswinir_cpu.*"))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    environment |= {"SWINIR_CPU_LIBRARY": str(library)}
    result = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout
    assert "portable_bf16" in native.Library(library).isas()[0].name
