"""Methods to compare with: each built at its best settings, by name.

Those that restore with the same network get the same parameters; ``comparison`` checks that their outputs agree.
"""

import difflib
import logging
import math
import os
import shutil
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from swinir.bench import measure, meter
from swinir.bench.original import ORIGINAL_MANNER
from swinir.bench.workload import Workload, build_network
from swinir.errors import MissingPackageError, UsageError
from swinir.ops import REFERENCE, Backend
from swinir.options import Precision

OURS = "swinir"
Restore = Callable[[Float[Tensor, "b c h w"]], Float[Tensor, "b c sh sw"]]
# The first set of ONNX operations with GELU in it.
_ONNX_OPSET = 20
_COMPILERS = ("g++", "clang++")
# The backends of the graphs that other runtimes may be given.
_GRAPHS: Mapping[str, Backend] = MappingProxyType({"original": ORIGINAL_MANNER, "reference": REFERENCE})
# Runs that decide between them.
_GRAPH_ROUNDS = 2


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
        if device.type != "cpu" and name in _PACKAGES:
            raise UsageError(f"baseline {name!r} computes on the CPU here: leave it out, or use --device cpu")
    for name in names:
        missing = [package for package in _PACKAGES.get(name, ()) if find_spec(package) is None]
        if missing:
            raise MissingPackageError(
                f"{name} needs what is not installed: run pip install {' '.join(missing)}, "
                "or install swinir with its extra 'bench'"
            )
    if "compile" in names and device.type == "cpu" and not _has_compiler():
        raise MissingPackageError(
            "compile needs a C++ compiler, and there is none: install g++ or clang, or set CXX to one"
        )


def ours(workload: Workload) -> Method:
    """Our own network, exactly as ``Restorer`` runs it."""
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
    on_gpu = workload.image.device.type == "cuda"
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
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = workload.threads
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    # Its threads wait actively within a run only, so that they take nothing from the next method.
    options.add_session_config_entry("session.force_spinning_stop", "1")

    def load(graph: bytes) -> Restore:
        session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        return lambda image: torch.from_numpy(session.run(None, {given.name: image.numpy()})[0])

    graph, restore = choose_graph(workload, load)
    return Method(
        name="onnxruntime",
        settings=f"ONNX Runtime {runtime.__version__}, all optimisations, fixed size, {graph} graph",
        precision=Precision.FP32,
        multiply_adds=workload.multiply_adds,
        restore=restore,
        keeps_buffers=True,
    )


def openvino(workload: Workload) -> Method:
    """OpenVINO for latency, with its hint for the precision."""
    vino = import_module("openvino")
    precision = workload.restorer.precision
    core = vino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": {Precision.BF16: "bf16", Precision.FP32: "f32"}[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": workload.threads,
    }

    def load(graph: bytes) -> Restore:
        model = core.compile_model(core.read_model(BytesIO(graph)), "CPU", settings)
        request, output = model.create_infer_request(), model.output(0)
        # A copy, as every other method returns: the output lives in the request and is overwritten.
        return lambda image: torch.from_numpy(request.infer([image.numpy()])[output].copy())

    graph, restore = choose_graph(workload, load)
    version = vino.__version__.partition("-")[0]
    return Method(
        name="openvino",
        settings=f"OpenVINO {version}, latency, {precision} hint, fixed size, {graph} graph",
        precision=precision,
        multiply_adds=workload.multiply_adds,
        restore=restore,
        keeps_buffers=True,
    )


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
    {
        "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
        "openvino": ("onnx", "onnxscript", "openvino"),
    }
)


def choose_graph(workload: Workload, load: Callable[[bytes], Restore]) -> tuple[str, Restore]:
    """Load each of the two graphs that the network exports to; return the name of the faster one, and its run.

    Neither is better everywhere: one pass over all windows with a mask that grows with the image, or four
    rectangles without one. A graph that the runtime refuses is not chosen.

    Raises:
        RuntimeError: the runtime refuses both.
    """
    refusals: list[RuntimeError] = []

    def measure_graph_s(graph: str) -> float:
        try:
            restore = load(export_onnx(workload, graph))
        except RuntimeError as error:
            refusals.append(error)
            return math.inf
        restore(workload.image)
        measure_seconds = meter.CpuMeter().measure_seconds
        runs = {graph: partial(restore, workload.image)}
        return min(
            measure.time_interleaved(runs, rounds=_GRAPH_ROUNDS, measure_seconds=measure_seconds)[graph]
        )

    best = min(_GRAPHS, key=measure_graph_s)
    if len(refusals) == len(_GRAPHS):
        raise refusals[0]
    # Loaded anew, so that the memory that its first run takes is measured.
    return best, load(export_onnx(workload, best))


@lru_cache(maxsize=2)
def export_onnx(workload: Workload, graph: str) -> bytes:
    """Export the network for exactly this size; the runtimes that read it fold constants themselves.

    PyTorch's own optimisation of the graph takes twice as long to export and changed no runtime's time.
    """
    with _quiet("torch.onnx"), torch.no_grad():
        program = torch.onnx.export(
            build_network(workload, _GRAPHS[graph]),
            (workload.image,),
            dynamo=True,
            opset_version=_ONNX_OPSET,
            optimize=False,
            verbose=False,
        )
    assert program is not None
    exported: Any = program.model_proto
    return exported.SerializeToString()


def run_eagerly(module: Callable[[Tensor], Any] | nn.Module, precision: Precision) -> Restore:
    """Return the run of a network in PyTorch as it is, its products in ``precision``."""
    is_low = precision is not Precision.FP32

    def restore(image: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(image.device.type, dtype=precision.dtype, enabled=is_low):
            return module(image)

    return restore


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
