"""Who can be compared with: each contender built at its best settings, by name.

Those that restore with the same network get the same parameters; ``sitting`` checks that they agree.
"""

import difflib
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from swinir.bench import flops, gauge, measure, rcan
from swinir.bench.original import KEPT_MASKS, ORIGINAL_MANNER
from swinir.engine import Restorer
from swinir.engine.hardware import Precision
from swinir.errors import MissingPackageError
from swinir.model import SwinIR
from swinir.ops import REFERENCE, Backend

OURS = "swinir"
Restore = Callable[[Float[Tensor, "b c h w"]], Float[Tensor, "b c sh sw"]]
# The first set of ONNX operations with GELU in it.
_ONNX_OPSET = 20
_COMPILERS = ("g++", "clang++")
# Who computes the layers in the graphs that other runtimes may be given.
_GRAPHS: Mapping[str, Backend] = MappingProxyType({"original": ORIGINAL_MANNER, "reference": REFERENCE})
# Runs that decide between them.
_GRAPH_ROUNDS = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What everybody does: restore ``image``, or a batch of them at once, with one network.

    Attributes:
        restorer: our own contender, which has the configuration and the precision.
        state_dict: its parameters.
        image: float32 in [0, 1], [B, C, H, W], on the restorer's device.
        threads: of the processor, for everybody.
    """

    restorer: Restorer
    state_dict: Mapping[str, Tensor]
    image: Float[Tensor, "b c h w"]
    threads: int

    @property
    def multiply_adds(self) -> int:
        """Of restoring the batch once."""
        return len(self.image) * flops.multiply_adds(self.restorer.config, *self.image.shape[-2:])


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to restore the image.

    Attributes:
        settings: who computes and how, in words.
        precision: of its matrix products.
        multiply_adds: of one restoration.
        restore: does it.
        is_same_network: whether its output must be ours.
        keeps_buffers: whether it holds the memory of a run for the next one.
        tells_memory: whether what it takes is in the account of the device's memory.
    """

    name: str
    settings: str
    precision: Precision
    multiply_adds: int
    restore: Restore
    is_same_network: bool = True
    keeps_buffers: bool = False
    tells_memory: bool = True


def check_names(names: Sequence[str], device: torch.device) -> None:
    """Require that every contender is known and could run on ``device``, before anything takes time.

    Raises:
        ValueError: a name is unknown, or there twice, or computes on processors only; the message names the
            nearest.
        MissingPackageError: what a contender needs is not installed.
    """
    for index, name in enumerate(names):
        if name not in CONTENDERS:
            near = difflib.get_close_matches(name, CONTENDERS, n=1, cutoff=0.4)
            hint = f", but {near[0]}" if near else ""
            raise ValueError(f"there is no contender {name!r}{hint}: choose from {', '.join(CONTENDERS)}")
        if name in names[:index]:
            raise ValueError(f"contender {name!r} is named twice: leave one out")
        if device.type != "cpu" and name in _PACKAGES:
            raise ValueError(
                f"contender {name!r} computes on the CPU here: leave it out, or use --device cpu"
            )
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


def ours(task: Task) -> Contender:
    """Our own network, exactly as ``Restorer`` runs it."""
    told = task.restorer.describe()
    return Contender(
        name=OURS,
        settings=f"Restorer, {told['backend']}",
        precision=task.restorer.precision,
        multiply_adds=task.multiply_adds,
        restore=partial(gauge.restore_on_lane, task.restorer),
    )


def ours_without_graphs(task: Task) -> Contender:
    """Our own network as ``Restorer`` runs it, but every kernel is launched: on a GPU passes are replayed else."""
    return replace(
        ours(task),
        name="swinir-no-graphs",
        settings=f"Restorer, {task.restorer.describe()['backend']}, no CUDA graphs",
        restore=partial(gauge.restore_on_lane, task.restorer, may_record=False),
    )


def reference(task: Task, precision: Precision | None = None) -> Contender:
    """Plain PyTorch, layer by layer: what defines correct."""
    precision = precision or task.restorer.precision
    return Contender(
        name="reference",
        settings="PyTorch eager, fused attention",
        precision=precision,
        multiply_adds=task.multiply_adds,
        restore=_eager(network(task, REFERENCE), precision),
    )


def original(task: Task) -> Contender:
    """Plain PyTorch in the published code's manner."""
    return Contender(
        name="original",
        settings="PyTorch eager, the published code's manner",
        precision=Precision.FP32,
        multiply_adds=task.multiply_adds,
        restore=_eager(network(task, ORIGINAL_MANNER), Precision.FP32),
    )


def original_with_kept_masks(task: Task) -> Contender:
    """Plain PyTorch in the published code's manner, but with the masks of this size kept."""
    return Contender(
        name="original-kept-masks",
        settings="PyTorch eager, the published code's manner, its masks kept",
        precision=Precision.FP32,
        multiply_adds=task.multiply_adds,
        restore=_eager(network(task, KEPT_MASKS), Precision.FP32),
    )


def compiled(task: Task) -> Contender:
    """Compile the published code's manner by PyTorch for this size alone; on a GPU its masks are made there."""
    precision = task.restorer.precision
    on_gpu = task.image.device.type == "cuda"
    backend, mode = (KEPT_MASKS, "max-autotune") if on_gpu else (ORIGINAL_MANNER, None)
    built = network(task, backend)
    if on_gpu:
        # Features are channels-last already. PyTorch declares no such overload of Module.to, but documents it.
        built = built.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    with _quiet("torch"):
        run = _eager(torch.compile(built, dynamic=False, mode=mode), precision)
        # It compiles when it first runs, which is no part of restoring.
        run(task.image)
    return Contender(
        name="compile",
        settings=f"torch.compile, fixed size{', max-autotune, channels last' if on_gpu else ''}",
        precision=precision,
        multiply_adds=task.multiply_adds,
        # A recorded graph writes its next result over this one.
        restore=(lambda image: run(image).clone()) if on_gpu else run,
        tells_memory=not on_gpu,
    )


def onnxruntime(task: Task) -> Contender:
    """ONNX Runtime in float32: its processor kernels for bf16 are few."""
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = task.threads
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    # Its threads wait actively within a run only, so that they take nothing from the next contender.
    options.add_session_config_entry("session.force_spinning_stop", "1")

    def load(graph: bytes) -> Restore:
        session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        return lambda image: torch.from_numpy(session.run(None, {given.name: image.numpy()})[0])

    graph, restore = fastest_graph(task, load)
    return Contender(
        name="onnxruntime",
        settings=f"ONNX Runtime {runtime.__version__}, all optimisations, fixed size, {graph} graph",
        precision=Precision.FP32,
        multiply_adds=task.multiply_adds,
        restore=restore,
        keeps_buffers=True,
    )


def openvino(task: Task) -> Contender:
    """OpenVINO for latency, with its hint for the precision."""
    vino = import_module("openvino")
    precision = task.restorer.precision
    core = vino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": {Precision.BF16: "bf16", Precision.FP32: "f32"}[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": task.threads,
    }

    def load(graph: bytes) -> Restore:
        model = core.compile_model(core.read_model(BytesIO(graph)), "CPU", settings)
        request, output = model.create_infer_request(), model.output(0)
        # A copy, as everybody else's result is: its own lives in the request and is overwritten.
        return lambda image: torch.from_numpy(request.infer([image.numpy()])[output].copy())

    graph, restore = fastest_graph(task, load)
    version = vino.__version__.partition("-")[0]
    return Contender(
        name="openvino",
        settings=f"OpenVINO {version}, latency, {precision} hint, fixed size, {graph} graph",
        precision=precision,
        multiply_adds=task.multiply_adds,
        restore=restore,
        keeps_buffers=True,
    )


def rcan_rival(task: Task) -> Contender:
    """RCAN of the same scale, eager and channels-last, with random weights: in bf16 on a GPU, else in float32."""
    scale = task.restorer.scale
    if scale == 1:
        raise ValueError(f"rcan enlarges, and {task.restorer.name} does not: leave rcan out")
    config = rcan.RCANConfig(scale=scale, in_channels=task.restorer.config.in_channels)
    with torch.random.fork_rng(devices=[]):
        rival = rcan.RCAN(config)
    # PyTorch declares no such overload of Module.to, but documents it.
    rival = rival.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    rival = rival.to(task.image.device)
    precision = Precision.BF16 if task.image.device.type == "cuda" else Precision.FP32
    return Contender(
        name="rcan",
        settings=f"RCAN ×{scale} in PyTorch eager, channels last, random weights",
        precision=precision,
        multiply_adds=len(task.image) * rcan.multiply_adds(config, *task.image.shape[-2:]),
        restore=_eager(rival, precision),
        is_same_network=False,
    )


CONTENDERS: Mapping[str, Callable[[Task], Contender]] = MappingProxyType(
    {
        "reference": reference,
        "original": original,
        "original-kept-masks": original_with_kept_masks,
        "compile": compiled,
        "onnxruntime": onnxruntime,
        "openvino": openvino,
        "rcan": rcan_rival,
        "swinir-no-graphs": ours_without_graphs,
    }
)
_PACKAGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
        "openvino": ("onnx", "onnxscript", "openvino"),
    }
)


def network(task: Task, backend: Backend) -> SwinIR:
    """Build the same network for inference, its layers computed by ``backend``."""
    # First values of parameters are drawn and then replaced; the generator is nobody's to advance.
    with torch.random.fork_rng(devices=[]):
        built = SwinIR(task.restorer.config)
    built.load_state_dict(task.state_dict)
    built.eval().requires_grad_(False).to(task.image.device).use_backend(backend)
    return built


def fastest_graph(task: Task, load: Callable[[bytes], Restore]) -> tuple[str, Restore]:
    """Load each of the two graphs that the network exports to, and keep the faster; return its name, too.

    Neither is better everywhere: one pass over all windows with a mask that grows with the image, or four
    rectangles without one.
    """

    def trial_s(graph: str) -> float:
        restore = load(onnx_bytes(task, graph))
        restore(task.image)
        seconds_of = gauge.ProcessorGauge().seconds_of
        runs = {graph: partial(restore, task.image)}
        return min(measure.interleaved(runs, rounds=_GRAPH_ROUNDS, seconds_of=seconds_of)[graph])

    best = min(_GRAPHS, key=trial_s)
    # Loaded anew, so that the memory it takes when it first runs is seen.
    return best, load(onnx_bytes(task, best))


@lru_cache(maxsize=2)
def onnx_bytes(task: Task, graph: str) -> bytes:
    """Export the network for exactly this size; those who read it fold the constants themselves.

    PyTorch's own optimisation of the graph takes twice as long to export and changed no runtime's time.
    """
    with _quiet("torch.onnx"), torch.no_grad():
        program = torch.onnx.export(
            network(task, _GRAPHS[graph]),
            (task.image,),
            dynamo=True,
            opset_version=_ONNX_OPSET,
            optimize=False,
            verbose=False,
        )
    assert program is not None
    exported: Any = program.model_proto
    return exported.SerializeToString()


def _eager(module: Callable[[Tensor], Any] | nn.Module, precision: Precision) -> Restore:
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
    """Keep a library's remarks about itself out of the measurement's output."""
    log = logging.getLogger(logger)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
