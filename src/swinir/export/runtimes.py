"""Other programs that compute an exported network: ONNX Runtime and OpenVINO, on the devices that they know."""

import difflib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float32

from swinir.errors import MissingPackageError, RestoreError, UsageError

Restore = Callable[[Float32[np.ndarray, "b c h w"]], Float32[np.ndarray, "b c sh sw"]]
AUTO = "auto"
# What is computed on where nothing is asked for: the first that is here. TensorRT would build an engine for every
# size first, and an NPU compiles as long.
_PREFERRED = {"onnxruntime": ("cuda", "dml", "coreml", "cpu"), "openvino": ("gpu", "gpu.0", "cpu")}
_SHORTAGES = ("alloc", "out of memory", "out_of_resources")
_EXTRA = "export"


class Runtime(StrEnum):
    """A program that computes what was exported; named as its package is."""

    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"

    @property
    def full_name(self) -> str:
        """Its name for people."""
        return {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}[self.value]


def require(*packages: str, purpose: str) -> None:
    """Check that packages are installed, without importing them.

    Raises:
        MissingPackageError: one is not.
    """
    if missing := [package for package in packages if find_spec(package) is None]:
        raise MissingPackageError(
            f"{purpose} needs what is not installed: run pip install {' '.join(missing)}, "
            f"or install swinir with its extra '{_EXTRA}'"
        )


def open_model(
    runtime: Runtime,
    model: bytes | Path,
    *,
    device: str = AUTO,
    threads: int | None = None,
    size: tuple[int, int, int] | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    optimize: bool = True,
) -> Restore:
    """Load an ONNX model, or one of OpenVINO's own, in another program.

    Args:
        runtime: the program.
        model: a file, or the bytes of an ONNX file.
        device: as that program names it; see ``choose_device``.
        threads: of the processor; None leaves it to the program.
        size: batch, height and width, where they never change: then all that follows from them is computed now.
        settings: more settings of that program, by its own names.
        optimize: let ONNX Runtime change the graph; it computes each operation as it stands otherwise.

    Raises:
        MissingPackageError: the program is not installed.
        UsageError: the device is not here.
        RestoreError: the program cannot load the model.
        MemoryError: there is not enough for it.
    """
    device = choose_device(runtime, device)
    if runtime is Runtime.OPENVINO:
        return _open_openvino(model, device, threads, size, settings)
    return _open_onnxruntime(model, device, threads, size, settings, optimize=optimize)


def list_devices(runtime: Runtime) -> list[str]:
    """List what a program can compute on here, by the names that ``choose_device`` takes."""
    if runtime is Runtime.OPENVINO:
        return [name.lower() for name in import_module("openvino").Core().available_devices]
    suffix = "ExecutionProvider"
    return [
        name.removesuffix(suffix).lower() for name in import_module("onnxruntime").get_available_providers()
    ]


def choose_device(runtime: Runtime, name: str) -> str:
    """Find the device that ``name`` means to a program: its own name for it, in small letters.

    ONNX Runtime has cpu, cuda, cuda:1, dml, coreml, tensorrt and the like, as it was installed; OpenVINO has cpu,
    gpu, gpu.1, npu. "auto" is a GPU where there is one, else the CPU.

    Raises:
        MissingPackageError: the program is not installed.
        UsageError: there is no such device here.
    """
    require(runtime.value, purpose=f"backend {runtime}")
    here, name = list_devices(runtime), name.lower()
    if name == AUTO:
        return next(each for each in _PREFERRED[runtime.value] if each in here)
    separator = "." if runtime is Runtime.OPENVINO else ":"
    if name in here or name.partition(separator)[0] in {each.partition(separator)[0] for each in here}:
        return name
    near = difflib.get_close_matches(name, here, n=1, cutoff=0.4)
    raise UsageError(
        f"device {name!r} is not here for {runtime.full_name}{f', but {near[0]}' if near else ''}:"
        f" choose {', '.join([AUTO, *here])}"
    )


def _open_onnxruntime(
    model: bytes | Path,
    device: str,
    threads: int | None,
    size: tuple[int, int, int] | None,
    settings: Mapping[str, Any],
    *,
    optimize: bool,
) -> Restore:
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    # 0 is its own choice; what it says beside errors is about its optimisations.
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    if not optimize:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for key, value in settings.items():
        options.add_session_config_entry(key, str(value))
    for name, number in zip(("batch", "height", "width"), size or (), strict=False):
        options.add_free_dimension_override_by_name(name, number)
    name, _, index = device.partition(":")
    providers = {
        each.removesuffix("ExecutionProvider").lower(): each for each in runtime.get_available_providers()
    }
    wanted = (providers[name], {"device_id": index} if index else {})
    fallback = [] if name == "cpu" else [providers["cpu"]]
    with _as_restore_error(Runtime.ONNXRUNTIME):
        session = runtime.InferenceSession(model, options, providers=[wanted, *fallback])
    if session.get_providers()[0] != providers[name]:
        raise RestoreError(
            f"ONNX Runtime has {name}, but cannot start it here: choose another device, such as cpu"
        )
    (given,) = session.get_inputs()

    def restore(image: Float32[np.ndarray, "b c h w"]) -> Float32[np.ndarray, "b c sh sw"]:
        with _as_restore_error(Runtime.ONNXRUNTIME, image.shape):
            return session.run(None, {given.name: image})[0]

    return restore


def _open_openvino(
    model: bytes | Path,
    device: str,
    threads: int | None,
    size: tuple[int, int, int] | None,
    settings: Mapping[str, Any],
) -> Restore:
    core = import_module("openvino").Core()
    chosen = {"PERFORMANCE_HINT": "LATENCY", **settings}
    if threads is not None and device == "cpu":
        chosen["INFERENCE_NUM_THREADS"] = threads
    with _as_restore_error(Runtime.OPENVINO):
        network = core.read_model(BytesIO(model) if isinstance(model, bytes) else model)
        if size is not None:
            batch, height, width = size
            network.reshape([batch, network.input(0).partial_shape[1].get_length(), height, width])
        compiled = core.compile_model(network, device.upper(), chosen)
        request, output = compiled.create_infer_request(), compiled.output(0)

    def restore(image: Float32[np.ndarray, "b c h w"]) -> Float32[np.ndarray, "b c sh sw"]:
        with _as_restore_error(Runtime.OPENVINO, image.shape):
            # A copy: what the request holds is overwritten by the next image.
            return request.infer([image])[output].copy()

    return restore


@contextmanager
def _as_restore_error(runtime: Runtime, shape: tuple[int, ...] | None = None) -> Generator[None]:
    """Turn what a program raises, which may be a bare ``Exception``, into one sentence.

    Raises:
        MemoryError: there was not enough.
        RestoreError: anything else.
    """
    try:
        yield
    except Exception as error:
        reason = _find_reason(error)
        if any(text in reason.lower() for text in _SHORTAGES):
            raise MemoryError(reason) from error
        if shape is None:
            raise RestoreError(
                f"{runtime.full_name} cannot load the network ({reason}): try another device"
            ) from error
        size = f"{shape[-2]}×{shape[-1]} pixels" + (f", {shape[0]} at once" if shape[0] > 1 else "")
        raise RestoreError(
            f"{runtime.full_name} cannot restore {size} ({reason}): use smaller tiles"
        ) from error


def _find_reason(error: Exception) -> str:
    """Return the line of a message that says something: OpenVINO begins with places in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check "))]
    return next(iter([*telling, *lines]), type(error).__name__)
