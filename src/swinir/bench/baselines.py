"""Methods to compare with: each built at its best settings, by name.

Those that restore with the same network get the same parameters; ``comparison`` checks that their outputs agree.
"""

import difflib
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from swinir.bench.original import ORIGINAL_MANNER
from swinir.bench.workload import Workload, build_network
from swinir.engine.hardware import is_cpu
from swinir.errors import MissingPackageError, UsageError
from swinir.export import Runtime, open_model
from swinir.export.runtimes import require
from swinir.ops import REFERENCE
from swinir.options import Precision

OURS = "swinir"
Restore = Callable[[Float[Tensor, "b c h w"]], Float[Tensor, "b c sh sw"]]
_COMPILERS = ("g++", "clang++")


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to restore the image.

    Attributes:
        settings: what computes and how, in words.
        precision: of its matrix products.
        multiply_adds: of one restoration.
        restore: does it.
        is_same_network: whether its output must equal ours.
        keeps_buffers: whether it holds the memory of a run for the next one.
        has_counted_memory: whether what it takes is in the account of the device's memory.
    """

    name: str
    settings: str
    precision: Precision
    multiply_adds: int
    restore: Restore
    is_same_network: bool = True
    keeps_buffers: bool = False
    has_counted_memory: bool = True


BuildMethod = Callable[[Workload], Method]


def check_names(names: Sequence[str], device: torch.device) -> None:
    """Check that every baseline is known and can run on ``device``, before anything takes time.

    Raises:
        UsageError: a name is unknown (the message has the nearest one), named twice, or computes on CPUs only.
        MissingPackageError: what a baseline needs is not installed.
    """
    for index, name in enumerate(names):
        if name not in BASELINES:
            near = difflib.get_close_matches(name, BASELINES, n=1, cutoff=0.4)
            hint = f", but {near[0]}" if near else ""
            raise UsageError(f"there is no baseline {name!r}{hint}: choose from {', '.join(BASELINES)}")
        if name in names[:index]:
            raise UsageError(f"baseline {name!r} is named twice: leave one out")
        if not is_cpu(device) and name in _PACKAGES:
            raise UsageError(f"baseline {name!r} computes on the CPU here: leave it out, or use --device cpu")
    for name in names:
        require(*_PACKAGES.get(name, ()), purpose=f"baseline {name}")
    if "compile" in names and is_cpu(device) and not _has_compiler():
        raise MissingPackageError(
            "compile needs a C++ compiler, and there is none: install g++ or clang, or set CXX to one"
        )


def ours(workload: Workload) -> Method:
    """Our own network, exactly as ``Restorer`` runs it on a batch: the borders have no context."""
    description = workload.restorer.describe()
    return Method(
        name=OURS,
        settings=f"Restorer, {description['backend']}",
        precision=workload.restorer.precision,
        multiply_adds=workload.multiply_adds,
        restore=workload.restorer.executor.run,
    )


def reference(workload: Workload, precision: Precision | None = None) -> Method:
    """Plain PyTorch, layer by layer: what defines correct."""
    precision = precision or workload.restorer.precision
    return Method(
        name="reference",
        settings="PyTorch eager, fused attention",
        precision=precision,
        multiply_adds=workload.multiply_adds,
        restore=run_eagerly(build_network(workload, REFERENCE), precision),
    )


def original(workload: Workload) -> Method:
    """Plain PyTorch in the published code's manner."""
    return Method(
        name="original",
        settings="PyTorch eager, the published code's manner",
        precision=Precision.FP32,
        multiply_adds=workload.multiply_adds,
        restore=run_eagerly(build_network(workload, ORIGINAL_MANNER), Precision.FP32),
    )


def compiled(workload: Workload) -> Method:
    """Compile the published code's manner by PyTorch for this size alone, its masks made on the device."""
    precision = workload.restorer.precision
    on_gpu = workload.image.is_cuda
    mode = "max-autotune" if on_gpu else None
    built = build_network(workload, ORIGINAL_MANNER)
    if on_gpu:
        # Features are channels-last already. PyTorch declares no such overload of Module.to, but documents it.
        built = built.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    with _quiet("torch"):
        run = run_eagerly(torch.compile(built, dynamic=False, mode=mode), precision)
        # It compiles when it first runs, which is no part of restoring.
        run(workload.image)
    return Method(
        name="compile",
        settings=f"torch.compile, fixed size{', max-autotune, channels last' if on_gpu else ''}",
        precision=precision,
        multiply_adds=workload.multiply_adds,
        # A recorded graph writes its next result over this one.
        restore=(lambda image: run(image).clone()) if on_gpu else run,
        has_counted_memory=not on_gpu,
    )


def onnxruntime(workload: Workload) -> Method:
    """ONNX Runtime in float32: its processor kernels for bf16 are few."""
    # Its threads wait actively within a run only, so that they take nothing from the next method.
    settings = {"session.force_spinning_stop": "1"}
    return _in_runtime(workload, Runtime.ONNXRUNTIME, "all optimisations", Precision.FP32, settings)


def openvino(workload: Workload) -> Method:
    """OpenVINO for latency, with its hint for the precision."""
    precision = workload.restorer.precision
    settings = {"INFERENCE_PRECISION_HINT": {Precision.BF16: "bf16", Precision.FP32: "f32"}[precision]}
    return _in_runtime(workload, Runtime.OPENVINO, f"latency, {precision} hint", precision, settings)


BASELINES: Mapping[str, BuildMethod] = MappingProxyType(
    {
        "reference": reference,
        "original": original,
        "compile": compiled,
        "onnxruntime": onnxruntime,
        "openvino": openvino,
    }
)
_PACKAGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {runtime.value: ("onnx", runtime.value) for runtime in Runtime}
)


def run_eagerly(module: Callable[[Tensor], Any] | nn.Module, precision: Precision) -> Restore:
    """Return the run of a network in PyTorch as it is, its products in ``precision``."""
    is_low = precision is not Precision.FP32

    def restore(image: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(image.device.type, dtype=precision.dtype, enabled=is_low):
            return module(image)

    return restore


def _in_runtime(
    workload: Workload, runtime: Runtime, manner: str, precision: Precision, settings: Mapping[str, str]
) -> Method:
    """Give another program the file that ``swinir export`` writes, for exactly this size."""
    from swinir.export.onnx_file import build_model  # noqa: PLC0415  onnx is optional

    batch, _, height, width = workload.image.shape
    restore = open_model(
        runtime,
        build_model(workload.restorer.config, workload.state_dict).SerializeToString(),
        device="cpu",
        threads=workload.threads,
        size=(batch, height, width),
        settings=settings,
    )
    version = import_module(runtime.value).__version__.partition("-")[0]
    return Method(
        name=runtime.value,
        settings=f"{runtime.full_name} {version}, {manner}, fixed size, the graph of swinir export",
        precision=precision,
        multiply_adds=workload.multiply_adds,
        restore=lambda image: torch.from_numpy(restore(image.numpy())),
        keeps_buffers=True,
    )


def _has_compiler() -> bool:
    chosen = os.environ.get("CXX")
    return any(shutil.which(name) for name in ((chosen,) if chosen else _COMPILERS))


@contextmanager
def _quiet(logger: str) -> Generator[None]:
    """Keep a library's own messages out of the measurement's output."""
    log = logging.getLogger(logger)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
