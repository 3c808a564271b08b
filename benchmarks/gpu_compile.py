"""Compile every Triton kernel ahead of time, as a GPU would be given it, and tell what each one needs.

    python benchmarks/gpu_compile.py [--variants lightweight-x2] [--precisions bf16] [--targets 90] [--shifted]

No GPU is needed: layers of a network are run with kernels that only note what they were launched with, and just that
is compiled. Prints a line of JSON per kernel.
"""

import argparse
import json
import re
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import cache
from io import StringIO
from itertools import product
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile  # noqa: A004 - Triton's own name
from triton.runtime import JITFunction

from swinir.model import VARIANTS, SwinIR
from swinir.ops import (
    LayerParameters,
    LayerShape,
    triton_inference,
    triton_inference_kernels,
    triton_training,
    triton_training_kernels,
)
from swinir.ops.selfcheck import DROP_PATH_SCALES, random_layer

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
# What Triton calls the types of arguments.
NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
LAUNCH_OPTIONS = ("num_warps", "num_stages", "enable_fp_fusion")
WARP_SIZE = 32
WIDEST_LOAD_BYTES = 16


def train(shape: LayerShape, dtype: torch.dtype) -> None:
    """Launch what a layer takes forward and backward, with drop-path, which takes more."""
    parameters, x, grad_y = random_layer(shape)
    inputs = [value.float().requires_grad_() for value in (x, *parameters)]
    scales = torch.tensor(DROP_PATH_SCALES)
    with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
        y = triton_training.transformer_layer(inputs[0], LayerParameters(*inputs[1:]), shape.geometry, scales)
    y.backward(grad_y.float())


def infer(shape: LayerShape, dtype: torch.dtype) -> None:
    """Launch what a packed layer takes."""
    parameters, x, _ = random_layer(shape)
    triton_inference.Packer(dtype).layer(parameters, shape.geometry)(x.float())


# Modules of kernels, and a run that launches all of them. A new one is one more line.
RUNS: dict[ModuleType, Callable[[LayerShape, torch.dtype], None]] = {
    triton_training_kernels: train,
    triton_inference_kernels: infer,
}


@dataclass(frozen=True)
class Launch:
    """A kernel, what is known of its arguments, and the constants it is launched with."""

    kernel: Any
    types: tuple[str, ...]
    is_aligned: tuple[bool, ...]
    constants: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, kernel: Any, arguments: tuple[Any, ...], constants: dict[str, Any]) -> "Launch":
        """Note what Triton would be given."""
        return cls(
            kernel,
            tuple(type_name(argument) for argument in arguments),
            tuple(is_aligned(argument) for argument in arguments),
            tuple(constants.items()),
        )


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a compiled kernel takes of a multiprocessor; registers are per thread, shared memory per program.

    ``spilled_bytes`` is what each thread stores outside of its registers for lack of them. ``products`` tells which
    instructions multiply matrices: Hopper's own (wgmma), those of Ampere (mma), or none of them (fma).
    """

    kernel: str
    constants: dict[str, Any]
    target: str
    warps: int
    registers: int
    shared_bytes: int
    spilled_bytes: int
    stack_bytes: int
    products: str


def type_name(argument: object) -> str:
    """Name an argument's type as Triton does."""
    match argument:
        case Tensor():
            return "*" + NAMES[argument.dtype]
        case int():
            return "i32"
        case float():
            return "fp32"
        case _:
            raise TypeError(f"no kernel takes a {type(argument).__name__}")


def is_aligned(argument: object) -> bool:
    """Tell whether Triton may assume that a tensor begins where the widest loads can."""
    return isinstance(argument, Tensor) and argument.data_ptr() % WIDEST_LOAD_BYTES == 0


@contextmanager
def noting(module: ModuleType, launches: list[Launch]) -> Generator[None]:
    """Have the kernels of a module note their launches and compute nothing."""
    own = {name: value for name, value in vars(module).items() if isinstance(value, JITFunction)}
    for name, kernel in own.items():
        setattr(module, name, _Noting(kernel, launches))
    try:
        yield
    finally:
        for name, kernel in own.items():
            setattr(module, name, kernel)


@dataclass(frozen=True)
class _Noting:
    kernel: Any
    launches: list[Launch]

    def __getitem__(self, grid: object) -> Callable[..., None]:
        return self.note

    def note(self, *arguments: Any, **constants: Any) -> None:
        self.launches.append(Launch.of(self.kernel, arguments, constants))


def launches_of(shapes: Iterable[LayerShape], dtype: torch.dtype) -> list[Launch]:
    """List what layers of these shapes launch, each kernel once."""
    launches: list[Launch] = []
    for module, run in RUNS.items():
        for shape in sorted(shapes, key=str):
            with noting(module, launches):
                run(shape, dtype)
    return list(dict.fromkeys(launches))


def shapes_of(variant: str) -> set[LayerShape]:
    """List the shapes of a network's layers, which are those of its first group."""
    config = VARIANTS[variant]
    short = replace(config, depths=config.depths[:1], num_heads=config.num_heads[:1])
    return SwinIR(short).layer_shapes()


@cache
def compiled(launch: Launch, capability: int) -> Needs:
    """Compile for GPUs of a compute capability, 90 for 9.0, and read what the assembler says."""
    constants = dict(launch.constants)
    options = {name: constants.pop(name) for name in LAUNCH_OPTIONS if name in constants}
    names: list[str] = launch.kernel.arg_names
    types = dict(zip(names, launch.types, strict=False))
    aligned = [(index,) for index, is_so in enumerate(launch.is_aligned) if is_so]
    source = ASTSource(
        launch.kernel,
        signature={name: types.get(name, "constexpr") for name in names},
        constexprs=constants,
        attrs={position: [["tt.divisibility", WIDEST_LOAD_BYTES]] for position in aligned},
    )
    said = StringIO()
    with TemporaryDirectory() as cache, knobs.cache.scope(), knobs.nvidia.scope(), redirect_stdout(said):
        knobs.cache.dir = cache
        knobs.nvidia.dump_ptxas_log = True
        result = compile(source, target=GPUTarget("cuda", capability, WARP_SIZE), options=options)
    log, assembly = said.getvalue(), result.asm["ptx"]
    return Needs(
        kernel=launch.kernel.__name__,
        constants=constants,
        target=f"sm_{capability}",
        warps=options["num_warps"],
        registers=number_in(log, r"Used (\d+) registers"),
        shared_bytes=result.metadata.shared,
        spilled_bytes=number_in(log, r"(\d+) bytes spill stores"),
        stack_bytes=number_in(log, r"(\d+) bytes stack frame"),
        products=next((name for name in ("wgmma", "mma") if f"{name}." in assembly), "fma"),
    )


def number_in(text: str, pattern: str) -> int:
    """Read the number that the assembler says.

    Raises:
        ValueError: it does not.
    """
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"the assembler says nothing like {pattern!r}, but {text!r}")
    return int(found[1])


def main() -> None:
    """Compile what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--variants", default="lightweight-x2,lightweight-jpeg,classical-x4,color-jpeg,real-l-x4"
    )
    parser.add_argument("--precisions", default="bf16")
    parser.add_argument("--targets", default="90,80", help="compute capabilities, without the point")
    parser.add_argument(
        "--shifted", action="store_true", help="leave out layers whose windows are not shifted"
    )
    asked = parser.parse_args()
    if knobs.runtime.interpret:
        parser.error("TRITON_INTERPRET is set, and what is interpreted is not compiled: unset it")
    targets = [int(target) for target in asked.targets.split(",")]
    for precision, variant in product(asked.precisions.split(","), asked.variants.split(",")):
        shapes = [shape for shape in shapes_of(variant) if shape.geometry.shift_size or not asked.shifted]
        for launch in launches_of(shapes, PRECISIONS[precision]):
            for target in targets:
                line = {"variant": variant, "precision": precision, **asdict(compiled(launch, target))}
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
