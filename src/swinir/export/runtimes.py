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
# What ONNX Runtime computes on, the first that is there, where nothing is asked for; TensorRT would build an engine
# for every size of tile first.
_PREFERRED = ("cuda", "dml", "coreml")
_EXTRA = "export"


class Runtime(StrEnum):
    """A program that computes what was exported; named as its package is."""

    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"


_TITLES: Mapping[Runtime, str] = MappingProxyType(
    {Runtime.ONNXRUNTIME: "ONNX Runtime", Runtime.OPENVINO: "OpenVINO"}
)


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
        device: as that program names it: cpu, cuda, dml, coreml for ONNX Runtime; cpu, gpu, npu for OpenVINO; "auto"
            leaves it to the program.
        threads: of the processor; None leaves it to the program.
        size: batch, height and width, where they never change: then all that follows from them is computed now.
        settings: more settings of that program, by its own names.
        optimize: let ONNX Runtime change the graph; it computes each operation as it stands otherwise.

    Raises:
        MissingPackageError: the program is not installed.
        UsageError: the device is not here.
        RestoreError: the program cannot load the model.
    """
    require(runtime.value, purpose=f"backend {runtime}")
    if runtime is Runtime.OPENVINO:
        return _open_openvino(model, device, threads, size, settings)
    return _open_onnxruntime(model, device, threads, size, settings, optimize=optimize)


def list_devices(runtime: Runtime) -> list[str]:
    """List what a program can compute on here, by the names that ``open_model`` takes."""
    if runtime is Runtime.OPENVINO:
        return [name.lower() for name in import_module("openvino").Core().available_devices]
    suffix = "ExecutionProvider"
    return [
        name.removesuffix(suffix).lower() for name in import_module("onnxruntime").get_available_providers()
    ]


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
    name, _, index = device.lower().partition(":")
    here = list_devices(Runtime.ONNXRUNTIME)
    if name == AUTO:
        name = next((each for each in _PREFERRED if each in here), "cpu")
    _check_device(Runtime.ONNXRUNTIME, name, here)
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
    name = device.lower()
    if name != AUTO:
        _check_device(Runtime.OPENVINO, name, list_devices(Runtime.OPENVINO))
    chosen = {"PERFORMANCE_HINT": "LATENCY", **settings}
    if threads is not None and name in {AUTO, "cpu"}:
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


def _check_device(runtime: Runtime, name: str, here: list[str]) -> None:
    """Require that a device, or the kind of it, is among those that are here."""
    if name in here or name.partition(".")[0] in {each.partition(".")[0] for each in here}:
        return
    near = difflib.get_close_matches(name, here, n=1, cutoff=0.4)
    raise UsageError(
        f"device {name!r} is not here for {_TITLES[runtime]}{f', but {near[0]}' if near else ''}:"
        f" choose {', '.join([AUTO, *here])}"
    )


@contextmanager
def _as_restore_error(runtime: Runtime, shape: tuple[int, ...] | None = None) -> Generator[None]:
    """Turn what a program raises into one sentence; both raise bare ``Exception`` and ``RuntimeError``."""
    try:
        yield
    except Exception as error:
        reason = next(
            (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        if shape is None:
            raise RestoreError(
                f"{_TITLES[runtime]} cannot load the network ({reason}): try another device"
            ) from error
        size = f"{shape[-2]}×{shape[-1]} pixels" + (f", {shape[0]} at once" if shape[0] > 1 else "")
        raise RestoreError(
            f"{_TITLES[runtime]} cannot restore {size} ({reason}): use smaller tiles"
        ) from error
