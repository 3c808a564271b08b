"""Which backend computes is decided once, can be forced, and says why."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from swinir.ops import GPU_KERNELS_VARIABLE, ISA_VARIABLE, cpu, select_backend, select_training_backend

CPU = torch.device("cpu")
GPU = torch.device("cuda", 0)
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
    backend = select_backend(CPU, dtype)
    assert backend.name == name
    assert f"products in {products}: the best that this processor runs" in backend.reason
    assert backend.packer is not None
    assert f"cpu-{backend.packer.isa.name}" == name


def test_a_processor_that_runs_nothing_of_the_library_takes_the_reference(has):
    has(Library(0))
    backend = select_backend(CPU, torch.float32)
    assert (backend.name, backend.packer) == ("reference", None)
    assert "has nothing that this processor runs" in backend.reason


@pytest.mark.parametrize("name", NAMES)
def test_a_named_instruction_set_is_taken(has, force, name):
    has(Library(4))
    force(name)
    backend = select_backend(CPU, torch.bfloat16)
    assert backend.name == f"cpu-{name}"
    assert backend.reason.endswith("SWINIR_CPU_ISA asks for it")


def test_the_reference_can_be_asked_for(has, force):
    has(Library(4))
    force("reference")
    backend = select_backend(CPU, torch.bfloat16)
    assert (backend.name, backend.packer) == ("reference", None)
    assert backend.reason == "plain PyTorch: SWINIR_CPU_ISA asks for it"


def test_nothing_between_the_quotes_is_no_choice(has, force):
    has(Library(4))
    force("")
    assert select_backend(CPU, torch.float32).name == "cpu-avx512"


def test_an_unknown_instruction_set_is_an_error_that_lists_the_known(has, force):
    has(Library(4))
    force("avx1024")
    with pytest.raises(
        ValueError, match="this build does not have: choose avx512_bf16, avx512, avx2, portable or reference"
    ):
        select_backend(CPU, torch.float32)


def test_an_instruction_set_of_another_processor_is_an_error_that_lists_its_own(has, force):
    has(Library(2))
    force("avx512")
    with pytest.raises(ValueError, match="this processor does not have: choose avx2, portable or reference"):
        select_backend(CPU, torch.float32)


def test_bf16_products_are_an_error_where_fp32_is_wanted(has, force):
    has(Library(4))
    force("avx512_bf16")
    with pytest.raises(ValueError, match="computes in bf16: choose precision bf16"):
        select_backend(CPU, torch.float32)


def test_without_a_library_the_reference_computes_and_says_why(has):
    has("no library was built")
    backend = select_backend(CPU, torch.bfloat16)
    assert (backend.name, backend.packer) == ("reference", None)
    assert backend.reason == "plain PyTorch: no library was built"


def test_an_instruction_set_without_a_library_is_an_error_that_says_why(has, force):
    has("no library was built")
    force("avx2")
    with pytest.raises(ValueError, match="SWINIR_CPU_ISA is avx2, but no library was built"):
        select_backend(CPU, torch.float32)


def test_the_reference_can_be_asked_for_without_a_library(has, force):
    has("no library was built")
    force("reference")
    assert select_backend(CPU, torch.float32).reason == "plain PyTorch: SWINIR_CPU_ISA asks for it"


def test_training_has_gradients_whatever_inference_has(has):
    has(Library(4))
    backend = select_training_backend(CPU)
    assert (backend.name, backend.packer) == ("reference", None)
    assert "gradients for cpu" in backend.reason


@pytest.fixture
def gpu(monkeypatch):
    """Return what pretends a GPU of that compute capability, and kernels asked for by that name (None: none)."""

    def pretend(asked: str | None, capability: tuple[int, int] = (9, 0)) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        if asked is None:
            monkeypatch.delenv(GPU_KERNELS_VARIABLE, raising=False)
        else:
            monkeypatch.setenv(GPU_KERNELS_VARIABLE, asked)

    return pretend


@pytest.mark.parametrize("asked", [None, ""])
def test_on_a_gpu_the_reference_computes_until_the_kernels_are_proven_there(gpu, asked):
    gpu(asked)
    for backend in (select_training_backend(GPU), select_backend(GPU, torch.bfloat16)):
        assert backend.name == "reference"
        assert "not yet on a GPU (SWINIR_GPU_KERNELS=triton takes them)" in backend.reason


def test_the_reference_can_be_asked_for_on_a_gpu(gpu):
    gpu("reference")
    assert select_training_backend(GPU).reason == "plain PyTorch: SWINIR_GPU_KERNELS asks for it"


def test_the_kernels_can_be_asked_for_on_a_gpu(gpu):
    pytest.importorskip("triton", reason="needs Triton, which is not installed")
    from swinir.ops import gpu as triton_layers

    gpu("triton", capability=(8, 0))
    for backend in (select_training_backend(GPU), select_backend(GPU, torch.bfloat16)):
        assert backend.name == "triton"
        assert backend.transformer_layer is triton_layers.transformer_layer
        assert backend.packer is None


def test_unknown_kernels_are_an_error_that_lists_the_known(gpu):
    gpu("cuda")
    with pytest.raises(
        ValueError, match="SWINIR_GPU_KERNELS is 'cuda', which is no choice: triton or reference"
    ):
        select_training_backend(GPU)


def test_kernels_for_a_gpu_that_is_too_old_are_an_error(gpu, monkeypatch):
    gpu("triton", capability=(7, 5))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: "found")
    with pytest.raises(ValueError, match=r"cuda:0 has compute capability 7\.5, and the kernels need 8\.0"):
        select_training_backend(GPU)


def test_kernels_without_triton_are_an_error(gpu, monkeypatch):
    gpu("triton")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="Triton is not installed: pip install triton"):
        select_training_backend(GPU)


def test_choosing_on_a_cpu_does_not_import_triton():
    code = "import sys, torch, swinir.ops as o; o.select_backend(torch.device('cpu'), torch.float32); "
    code += "o.select_training_backend(torch.device('cpu')); sys.exit('swinir.ops.gpu' in sys.modules)"
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
