"""Which backend computes is decided once, can be forced, and says why."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from swinir.errors import UsageError
from swinir.ops import (
    GPU_KERNELS_VARIABLE,
    ISA_VARIABLE,
    Backend,
    LayerGeometry,
    LayerShape,
    native,
    request_backend,
    select_backend,
    select_training_backend,
)
from swinir.options import BackendChoice

CPU = torch.device("cpu")
GPU = torch.device("cuda", 0)
SHAPES = (
    LayerShape(
        channels=12, hidden_channels=24, geometry=LayerGeometry(num_heads=2, window_size=4, shift_size=2)
    ),
)
NAMES = ("avx512_bf16", "avx512", "avx2", "portable")


class Library(NamedTuple):
    """A native library on a processor that runs the last ``num_running`` of four instruction sets."""

    num_running: int

    def isas(self) -> tuple[native.Isa, ...]:
        first = len(NAMES) - self.num_running
        return tuple(native.Isa(n, name, n >= first, n == 0) for n, name in enumerate(NAMES))


@pytest.fixture
def has(monkeypatch):
    """Return what makes the backend be chosen with another library, or with the reason why there is none."""
    return lambda library: monkeypatch.setattr(native, "load_library", lambda: library)


def select(asked: str, device: torch.device, dtype: torch.dtype, choose=select_backend) -> Backend:
    """Select what the environment asks for on that device."""
    variable = ISA_VARIABLE if device is CPU else GPU_KERNELS_VARIABLE
    return choose(device, dtype, SHAPES, request_backend(BackendChoice.AUTO, device, {variable: asked}))


@pytest.mark.parametrize(
    ("num_running", "dtype", "name", "products"),
    [
        (4, torch.bfloat16, "cpu-avx512_bf16", "bf16"),
        (4, torch.float32, "cpu-avx512", "fp32"),
        (3, torch.bfloat16, "cpu-avx512", "fp32"),
        (2, torch.float32, "cpu-avx2", "fp32"),
        (1, torch.bfloat16, "cpu-portable", "fp32"),
    ],
)
def test_the_best_that_the_processor_runs_is_taken(has, num_running, dtype, name, products):
    has(Library(num_running))
    backend = select_backend(CPU, dtype, SHAPES)
    assert backend.name == name
    assert f"products in {products}: the best that this processor runs" in backend.reason
    assert backend.packer is not None
    assert f"cpu-{backend.packer.isa.name}" == name


def test_a_processor_that_runs_nothing_of_the_library_takes_the_reference(has):
    has(Library(0))
    backend = select_backend(CPU, torch.float32, SHAPES)
    assert (backend.name, backend.packer) == ("reference", None)
    assert "has nothing that this processor runs" in backend.reason


@pytest.mark.parametrize("name", NAMES)
def test_a_named_instruction_set_is_taken(has, name):
    has(Library(4))
    backend = select(name, CPU, torch.bfloat16)
    assert backend.name == f"cpu-{name}"
    assert backend.reason.endswith("SWINIR_CPU_ISA asks for it")


def test_the_reference_can_be_asked_for(has):
    has(Library(4))
    backend = select("reference", CPU, torch.bfloat16)
    assert (backend.name, backend.packer) == ("reference", None)
    assert backend.reason == "plain PyTorch: SWINIR_CPU_ISA asks for it"


def test_nothing_between_the_quotes_is_no_choice(has):
    has(Library(4))
    assert select("", CPU, torch.float32).name == "cpu-avx512"


def test_an_unknown_instruction_set_is_an_error_that_lists_the_known(has):
    has(Library(4))
    with pytest.raises(
        UsageError, match="this build does not have: choose avx512_bf16, avx512, avx2, portable or reference"
    ):
        select("avx1024", CPU, torch.float32)


def test_an_instruction_set_of_another_processor_is_an_error_that_lists_its_own(has):
    has(Library(2))
    with pytest.raises(UsageError, match="this processor does not have: choose avx2, portable or reference"):
        select("avx512", CPU, torch.float32)


def test_bf16_products_are_an_error_where_fp32_is_wanted(has):
    has(Library(4))
    with pytest.raises(UsageError, match="computes in bf16: choose precision bf16"):
        select("avx512_bf16", CPU, torch.float32)


def test_without_a_library_the_reference_computes_and_says_why(has):
    has("no library was built")
    backend = select_backend(CPU, torch.bfloat16, SHAPES)
    assert (backend.name, backend.packer) == ("reference", None)
    assert backend.reason == "plain PyTorch: no library was built"


def test_an_instruction_set_without_a_library_is_an_error_that_says_why(has):
    has("no library was built")
    with pytest.raises(UsageError, match="SWINIR_CPU_ISA is avx2, but no library was built"):
        select("avx2", CPU, torch.float32)


def test_the_reference_can_be_asked_for_without_a_library(has):
    has("no library was built")
    assert select("reference", CPU, torch.float32).reason == "plain PyTorch: SWINIR_CPU_ISA asks for it"


def test_training_takes_the_kernels_with_gradients_of_the_same_instruction_set(has):
    library = Library(4)
    has(library)
    for dtype in (torch.float32, torch.bfloat16):
        backend = select_training_backend(CPU, dtype, SHAPES)
        assert backend.name == select_backend(CPU, dtype, SHAPES).name
        assert backend.packer is None
        assert "with gradients" in backend.reason


def test_training_without_a_library_is_plain_pytorch_and_says_why(has):
    has("no library was built")
    backend = select_training_backend(CPU, torch.float32, SHAPES)
    assert (backend.name, backend.reason) == ("reference", "plain PyTorch: no library was built")


def pretend(monkeypatch, capability: tuple[int, int] = (9, 0)) -> None:
    """Pretend a GPU of that compute capability."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: "found")


@pytest.fixture
def self_check(monkeypatch):
    """Return what stands in for the self-check: what it finds, and which shapes it was given."""
    pytest.importorskip("triton", reason="needs Triton, which is not installed")
    from swinir.ops import selfcheck

    found, given = [], []
    monkeypatch.setattr(
        selfcheck,
        "check_inference_kernels",
        lambda packer, *rest: given.append(rest) or next(iter(found), None),
    )
    monkeypatch.setattr(
        selfcheck,
        "check_training_kernels",
        lambda layer, *rest: given.append(rest) or next(iter(found), None),
    )
    return found, given


@pytest.mark.parametrize("asked", ["", "triton"])
def test_on_a_gpu_the_kernels_compute_that_passed_their_self_check(monkeypatch, self_check, asked):
    from swinir.ops import triton_training as triton_layers

    pretend(monkeypatch, capability=(8, 0))
    backend = select(asked, GPU, torch.bfloat16)
    assert (backend.name, backend.packer.dtype) == ("triton", torch.bfloat16)
    assert "products in bf16, which passed their self-check on this device" in backend.reason
    training = select(asked, GPU, torch.bfloat16, select_training_backend)
    assert (training.name, training.packer) == ("triton", None)
    assert training.transformer_layer is triton_layers.transformer_layer
    assert self_check[1] == 2 * [(SHAPES, GPU, torch.bfloat16)]


@pytest.mark.parametrize("choose", [select_backend, select_training_backend])
def test_on_a_gpu_the_reference_computes_where_the_kernels_were_wrong(monkeypatch, self_check, choose):
    self_check[0].append("the fused kernels failed their self-check (output is off by 0.5 of its norm)")
    pretend(monkeypatch)
    backend = choose(GPU, torch.float16, SHAPES)
    assert (backend.name, backend.packer) == ("reference", None)
    assert backend.reason == f"plain PyTorch: {self_check[0][0]}"
    with pytest.raises(UsageError, match="SWINIR_GPU_KERNELS is triton, but the fused kernels failed"):
        select("triton", GPU, torch.float16, choose)


def test_the_reference_can_be_asked_for_on_a_gpu(monkeypatch):
    pretend(monkeypatch)
    for choose in (select_backend, select_training_backend):
        backend = select("reference", GPU, torch.bfloat16, choose)
        assert backend.reason == "plain PyTorch: SWINIR_GPU_KERNELS asks for it"


def test_unknown_kernels_are_an_error_that_lists_the_known(monkeypatch):
    pretend(monkeypatch)
    with pytest.raises(
        UsageError, match="SWINIR_GPU_KERNELS is 'cuda', which is no choice: triton or reference"
    ):
        select("cuda", GPU, torch.bfloat16)


@pytest.mark.parametrize(
    ("obstacle", "message"),
    [
        ("precision", "the fused kernels are for products in bf16 and fp16"),
        ("age", r"cuda:0 has compute capability 7\.5, and the kernels need 8\.0"),
        ("triton", "Triton is not installed: pip install triton"),
    ],
)
def test_what_stands_against_the_kernels_is_told(monkeypatch, obstacle, message):
    for asked in ("", "triton"):
        pretend(monkeypatch, capability=(7, 5) if obstacle == "age" else (9, 0))
        if obstacle == "triton":
            monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        dtype = torch.float32 if obstacle == "precision" else torch.float16
        if asked:
            with pytest.raises(UsageError, match=message):
                select(asked, GPU, dtype)
        else:
            backend = select(asked, GPU, dtype)
            assert backend.name == "reference"
            assert re.search(message, backend.reason)


def test_a_choice_takes_precedence_over_the_environment(has):
    has(Library(4))
    environment = {ISA_VARIABLE: "portable"}
    for choice, name, reason in (
        ("auto", "cpu-portable", "SWINIR_CPU_ISA asks for it"),
        ("native", "cpu-avx512", "the best that this processor runs"),
        ("reference", "reference", "plain PyTorch: backend asks for it"),
    ):
        request = request_backend(BackendChoice(choice), CPU, environment)
        backend = select_backend(CPU, torch.float32, SHAPES, request)
        assert backend.name == name
        assert backend.reason.endswith(reason)


@pytest.mark.parametrize(("choice", "device"), [("triton", CPU), ("native", GPU)])
def test_a_backend_for_other_devices_is_a_usage_error(choice, device):
    with pytest.raises(UsageError, match=f"backend {choice} does not compute on {device}"):
        request_backend(BackendChoice(choice), device, {})


@pytest.mark.parametrize("library", ["no library was built", Library(0)])
def test_native_kernels_that_are_asked_for_and_not_there_are_a_usage_error(has, library):
    has(library)
    with pytest.raises(UsageError, match="backend is native, but"):
        select_backend(CPU, torch.float32, SHAPES, request_backend(BackendChoice.NATIVE, CPU, {}))


def test_restoring_on_a_cpu_imports_neither_triton_nor_what_compiles_graphs():
    code = """
import sys
import numpy as np
import torch
from swinir import Restorer, SwinIR, SwinIRConfig, ops
ops.select_training_backend(torch.device("cpu"), torch.float32, ())
shape = {"in_channels": 3, "embed_dim": 12, "depths": (1,), "num_heads": (2,)}
config = SwinIRConfig(scale=2, upsampler="pixelshuffledirect", **shape)
Restorer(config, SwinIR(config).state_dict(), device="cpu")(np.zeros((8, 8, 3), np.uint8))
heavy = ("triton", "swinir.ops.triton", "torch._dynamo", "sympy")
sys.exit(", ".join(name for name in sys.modules if name.startswith(heavy)) or 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def load(monkeypatch: pytest.MonkeyPatch, path: Path) -> native.Library | str:
    """Load the library at ``path``, past what is remembered."""
    monkeypatch.setenv(native.LIBRARY_VARIABLE, str(path))
    return native.load_library.__wrapped__()


def test_a_library_that_is_missing_was_not_built(monkeypatch, tmp_path):
    problem = load(monkeypatch, tmp_path / "libother.so")
    assert problem == "no libother.so was built with this installation (that takes a C++ compiler)"


def test_a_package_without_its_library_says_that_it_was_not_built(monkeypatch):
    monkeypatch.delenv(native.LIBRARY_VARIABLE, raising=False)
    monkeypatch.setattr(native, "LIBRARY_NAMES", ("libnone.so", "libnone.dylib"))
    assert str(native.load_library.__wrapped__()).startswith("no libnone.so was built")


def test_a_file_that_is_no_library_cannot_be_loaded(monkeypatch, tmp_path):
    path = tmp_path / "libswinir_cpu.so"
    path.write_text("no library")
    problem = load(monkeypatch, path)
    assert isinstance(problem, str)
    assert problem.startswith("the native library cannot be loaded: ")
    assert str(path) in problem


def test_a_library_of_somebody_else_is_named(monkeypatch):
    # One of Python's own.
    import _ctypes

    problem = load(monkeypatch, Path(_ctypes.__file__))
    assert problem == f"the native library cannot be loaded: {_ctypes.__file__} is another library"


@pytest.mark.skipif(isinstance(native.load_library(), str), reason=str(native.load_library()))
def test_a_library_of_another_interface_cannot_be_loaded(monkeypatch):
    ours = native._ABI
    monkeypatch.setattr(native, "_ABI", 99)
    problem = native.load_library.__wrapped__()
    assert isinstance(problem, str)
    assert f"has interface {ours}, but this version of swinir speaks 99" in problem
