"""Which backend computes is decided once, can be forced, and says why."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from swinir.ops import (
    GPU_KERNELS_VARIABLE,
    ISA_VARIABLE,
    LayerGeometry,
    LayerShape,
    cpu,
    select_backend,
    select_training_backend,
)

CPU = torch.device("cpu")
GPU = torch.device("cuda", 0)
SHAPES = (
    LayerShape(channels=12, hidden=24, geometry=LayerGeometry(num_heads=2, window_size=4, shift_size=2)),
)
NAMES = ("avx512_bf16", "avx512", "avx2", "portable")


class Library(NamedTuple):
    """A native library on a processor that runs the last ``num_running`` of four instruction sets."""

    num_running: int

    def isas(self) -> tuple[cpu.Isa, ...]:
        first = len(NAMES) - self.num_running
        return tuple(cpu.Isa(n, name, n >= first, n == 0) for n, name in enumerate(NAMES))


@pytest.fixture
def has(monkeypatch):
    """Return what makes the backend be chosen with another library, or with the reason why there is none."""
    monkeypatch.delenv(ISA_VARIABLE, raising=False)
    return lambda library: monkeypatch.setattr(cpu, "load_library", lambda: library)


@pytest.fixture
def force(monkeypatch):
    return lambda name: monkeypatch.setenv(ISA_VARIABLE, name)


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
def test_a_named_instruction_set_is_taken(has, force, name):
    has(Library(4))
    force(name)
    backend = select_backend(CPU, torch.bfloat16, SHAPES)
    assert backend.name == f"cpu-{name}"
    assert backend.reason.endswith("SWINIR_CPU_ISA asks for it")


def test_the_reference_can_be_asked_for(has, force):
    has(Library(4))
    force("reference")
    backend = select_backend(CPU, torch.bfloat16, SHAPES)
    assert (backend.name, backend.packer) == ("reference", None)
    assert backend.reason == "plain PyTorch: SWINIR_CPU_ISA asks for it"


def test_nothing_between_the_quotes_is_no_choice(has, force):
    has(Library(4))
    force("")
    assert select_backend(CPU, torch.float32, SHAPES).name == "cpu-avx512"


def test_an_unknown_instruction_set_is_an_error_that_lists_the_known(has, force):
    has(Library(4))
    force("avx1024")
    with pytest.raises(
        ValueError, match="this build does not have: choose avx512_bf16, avx512, avx2, portable or reference"
    ):
        select_backend(CPU, torch.float32, SHAPES)


def test_an_instruction_set_of_another_processor_is_an_error_that_lists_its_own(has, force):
    has(Library(2))
    force("avx512")
    with pytest.raises(ValueError, match="this processor does not have: choose avx2, portable or reference"):
        select_backend(CPU, torch.float32, SHAPES)


def test_bf16_products_are_an_error_where_fp32_is_wanted(has, force):
    has(Library(4))
    force("avx512_bf16")
    with pytest.raises(ValueError, match="computes in bf16: choose precision bf16"):
        select_backend(CPU, torch.float32, SHAPES)


def test_without_a_library_the_reference_computes_and_says_why(has):
    has("no library was built")
    backend = select_backend(CPU, torch.bfloat16, SHAPES)
    assert (backend.name, backend.packer) == ("reference", None)
    assert backend.reason == "plain PyTorch: no library was built"


def test_an_instruction_set_without_a_library_is_an_error_that_says_why(has, force):
    has("no library was built")
    force("avx2")
    with pytest.raises(ValueError, match="SWINIR_CPU_ISA is avx2, but no library was built"):
        select_backend(CPU, torch.float32, SHAPES)


def test_the_reference_can_be_asked_for_without_a_library(has, force):
    has("no library was built")
    force("reference")
    assert select_backend(CPU, torch.float32, SHAPES).reason == "plain PyTorch: SWINIR_CPU_ISA asks for it"


def test_training_has_gradients_whatever_inference_has(has):
    has(Library(4))
    backend = select_training_backend(CPU, torch.float32, SHAPES)
    assert (backend.name, backend.packer) == ("reference", None)
    assert "gradients for cpu" in backend.reason


def pretend(monkeypatch, asked: str | None, capability: tuple[int, int] = (9, 0)) -> None:
    """Pretend a GPU of that compute capability, and kernels asked for by that name (None: none)."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: "found")
    if asked is None:
        monkeypatch.delenv(GPU_KERNELS_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(GPU_KERNELS_VARIABLE, asked)


@pytest.fixture
def trial(monkeypatch):
    """Return what stands in for the trial: what it finds, and which shapes it was given."""
    pytest.importorskip("triton", reason="needs Triton, which is not installed")
    from swinir.ops import trial

    found, given = [], []
    monkeypatch.setattr(
        trial, "problem_of_packed", lambda packer, *rest: given.append(rest) or next(iter(found), None)
    )
    monkeypatch.setattr(
        trial, "problem_of_training", lambda layer, *rest: given.append(rest) or next(iter(found), None)
    )
    return found, given


@pytest.mark.parametrize("asked", [None, "", "triton"])
def test_on_a_gpu_the_kernels_compute_that_were_right_in_a_trial(monkeypatch, trial, asked):
    from swinir.ops import gpu as triton_layers

    pretend(monkeypatch, asked, capability=(8, 0))
    backend = select_backend(GPU, torch.bfloat16, SHAPES)
    assert (backend.name, backend.packer.dtype) == ("triton", torch.bfloat16)
    assert "products in bf16, right on this device in a trial" in backend.reason
    training = select_training_backend(GPU, torch.bfloat16, SHAPES)
    assert (training.name, training.packer) == ("triton", None)
    assert training.transformer_layer is triton_layers.transformer_layer
    assert trial[1] == 2 * [(SHAPES, GPU, torch.bfloat16)]


@pytest.mark.parametrize("select", [select_backend, select_training_backend])
def test_on_a_gpu_the_reference_computes_where_the_kernels_were_wrong(monkeypatch, trial, select):
    trial[0].append("the fused kernels are wrong in a trial (output is off by 0.5 of its norm)")
    pretend(monkeypatch, None)
    backend = select(GPU, torch.float16, SHAPES)
    assert (backend.name, backend.packer) == ("reference", None)
    assert backend.reason == f"plain PyTorch: {trial[0][0]}"
    pretend(monkeypatch, "triton")
    with pytest.raises(ValueError, match="SWINIR_GPU_KERNELS is triton, but the fused kernels are wrong"):
        select(GPU, torch.float16, SHAPES)


def test_the_reference_can_be_asked_for_on_a_gpu(monkeypatch):
    pretend(monkeypatch, "reference")
    for backend in (
        select_backend(GPU, torch.bfloat16, SHAPES),
        select_training_backend(GPU, torch.bfloat16, SHAPES),
    ):
        assert backend.reason == "plain PyTorch: SWINIR_GPU_KERNELS asks for it"


def test_unknown_kernels_are_an_error_that_lists_the_known(monkeypatch):
    pretend(monkeypatch, "cuda")
    with pytest.raises(
        ValueError, match="SWINIR_GPU_KERNELS is 'cuda', which is no choice: triton or reference"
    ):
        select_backend(GPU, torch.bfloat16, SHAPES)


@pytest.mark.parametrize(
    ("obstacle", "message"),
    [
        ("precision", "the fused kernels are for products in bf16 and fp16"),
        ("age", r"cuda:0 has compute capability 7\.5, and the kernels need 8\.0"),
        ("triton", "Triton is not installed: pip install triton"),
    ],
)
def test_what_stands_against_the_kernels_is_told(monkeypatch, obstacle, message):
    for asked in (None, "triton"):
        pretend(monkeypatch, asked, capability=(7, 5) if obstacle == "age" else (9, 0))
        if obstacle == "triton":
            monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        dtype = torch.float32 if obstacle == "precision" else torch.float16
        if asked:
            with pytest.raises(ValueError, match=message):
                select_backend(GPU, dtype, SHAPES)
        else:
            backend = select_backend(GPU, dtype, SHAPES)
            assert backend.name == "reference"
            assert re.search(message, backend.reason)


def test_choosing_on_a_cpu_does_not_import_triton():
    code = "import sys, torch, swinir.ops as o; o.select_backend(torch.device('cpu'), torch.float32, ()); "
    code += "o.select_training_backend(torch.device('cpu'), torch.float32, ()); "
    code += "sys.exit(bool({'swinir.ops.gpu', 'swinir.ops.gpu_inference', 'triton'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", code], check=True)


def load(monkeypatch: pytest.MonkeyPatch, path: Path) -> cpu.Library | str:
    """Load the library at ``path``, past what is remembered."""
    monkeypatch.setenv(cpu.LIBRARY_VARIABLE, str(path))
    return cpu.load_library.__wrapped__()


def test_a_library_that_is_missing_was_not_built(monkeypatch, tmp_path):
    problem = load(monkeypatch, tmp_path / "libother.so")
    assert problem == "no libother.so was built with this installation (that takes a C++ compiler)"


def test_a_package_without_its_library_says_that_it_was_not_built(monkeypatch):
    monkeypatch.delenv(cpu.LIBRARY_VARIABLE, raising=False)
    monkeypatch.setattr(cpu, "LIBRARY_NAMES", ("libnone.so", "libnone.dylib"))
    assert str(cpu.load_library.__wrapped__()).startswith("no libnone.so was built")


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


@pytest.mark.skipif(isinstance(cpu.load_library(), str), reason=str(cpu.load_library()))
def test_a_library_of_another_interface_cannot_be_loaded(monkeypatch):
    ours = cpu._ABI
    monkeypatch.setattr(cpu, "_ABI", 99)
    problem = cpu.load_library.__wrapped__()
    assert isinstance(problem, str)
    assert f"has interface {ours}, but this version of swinir speaks 99" in problem
