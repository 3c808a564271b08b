"""``export_model``: a model as a file of another program, which nobody gets before it is proven."""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from io import BytesIO
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from swinir.errors import ExportError, UsageError
from swinir.export import verification
from swinir.export.runtimes import Restore, Runtime, open_model, require
from swinir.export.verification import Difference
from swinir.model import SwinIR, SwinIRConfig
from swinir.model.build import build
from swinir.options import Precision
from swinir.provenance import __version__
from swinir.weights import ModelFile, catalog, open_checkpoint

# The size that a network is recorded with for PyTorch; the file takes every other one, too.
_RECORDED_SIZE = (2, 19, 27)
_CHANNELS = {1: ", grey", 3: ", RGB"}


class Format(StrEnum):
    """A kind of file, by its suffix."""

    ONNX = ".onnx"
    OPENVINO = ".xml"
    TORCH = ".pt2"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written, and how far it is from PyTorch."""

    files: tuple[Path, ...]
    precision: Precision
    differences: tuple[Difference, ...]


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What is exported."""

    config: SwinIRConfig
    state_dict: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    is_half: bool

    @property
    def onnx_bytes(self) -> bytes:
        from swinir.export.onnx_file import build_model  # noqa: PLC0415  onnx is optional

        model = build_model(self.config, self.state_dict, is_half=self.is_half, metadata=self.metadata)
        return model.SerializeToString()

    def build_network(self) -> SwinIR:
        return build(self.config, self.state_dict)


def export_model(
    model: str | Path | ModelFile, destination: Path, *, precision: Precision = Precision.FP32
) -> Exported:
    """Write a model as an ONNX, OpenVINO or PyTorch program, as the suffix says; files that exist are replaced.

    The file takes float32 images [batch, channels, height, width] in [0, 1], of any size from 1×1, and gives them
    enlarged, nominally in [0, 1] and not clamped.

    Args:
        model: a name, or a weights file.
        destination: ``.onnx``; ``.xml``, which a ``.bin`` goes with; or ``.pt2``, which is fp32.
        precision: fp32 or fp16, of matrix products and parameters; the residual stream is float32 in both.

    Raises:
        UsageError: the suffix names no format, or the format does not have this precision.
        MissingPackageError: what writes or proves the format is not installed.
        WeightsError: the model cannot be found or read.
        ExportError: the file cannot be written, or differs from PyTorch; then there is none.
    """
    kind = find_format(destination, precision)
    require(*_NEEDED[kind], purpose=f"a {kind} file")
    source = _read_source(model, precision)
    destination = Path(destination)
    try:
        folder = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=destination.parent))
    except OSError as error:
        raise ExportError(
            f"{destination} cannot be written ({error.strerror}): choose another place"
        ) from error
    try:
        found = _WRITE[kind](source, folder / destination.name)
        differences = verification.compare(source.build_network(), found, channels=source.config.in_channels)
        verification.check(differences, is_half=source.is_half)
        # The file that is asked for comes last: where it is, all of it is.
        written = sorted(folder.iterdir(), key=lambda path: path.name == destination.name)
        files = tuple(path.replace(destination.parent / path.name) for path in written)
    except OSError as error:
        raise ExportError(
            f"{destination} cannot be written ({error.strerror}): choose another place"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Exported(files=files, precision=precision, differences=tuple(differences))


def find_format(destination: Path, precision: Precision) -> Format:
    """Read the format off the name of a file.

    Raises:
        UsageError: it names none, or the format does not have this precision.
    """
    known = ", ".join(Format)
    if destination.suffix.lower() not in list(Format):
        raise UsageError(f"{destination} names no format: choose a name that ends in {known}")
    kind = Format(destination.suffix.lower())
    allowed = (Precision.FP32,) if kind is Format.TORCH else (Precision.FP32, Precision.FP16)
    if precision not in allowed:
        raise UsageError(f"a {kind} file cannot be in {precision}: choose {' or '.join(allowed)}")
    return kind


def _read_source(model: str | Path | ModelFile, precision: Precision) -> _Source:
    file, checkpoint = open_checkpoint(model)
    record = catalog.describe_file(file, checkpoint)
    channels = checkpoint.config.in_channels
    metadata = {
        "name": file.name,
        "task": record.task.value,
        "scale": str(checkpoint.config.scale),
        "image": f"float32 [batch, {channels}, height, width] in [0, 1]" + _CHANNELS.get(channels, ""),
        "precision": precision.value,
        "licence": record.licence or "unknown",
        "weights_sha256": file.sha256,
        "swinir_config": json.dumps(checkpoint.config.to_dict()),
        "swinir_version": __version__,
    }
    return _Source(
        config=checkpoint.config,
        state_dict=checkpoint.state_dict,
        metadata=metadata,
        is_half=precision is Precision.FP16,
    )


# Each writes a file and returns the ways to compute what was written, all of which must agree with PyTorch.


def _write_onnx(source: _Source, path: Path) -> list[verification.Restore]:
    path.write_bytes(source.onnx_bytes)
    return [_in_tensors(open_model(Runtime.ONNXRUNTIME, path, device="cpu")), *_prove_half(source)]


def _write_openvino(source: _Source, path: Path) -> list[verification.Restore]:
    vino = import_module("openvino")
    network = vino.Core().read_model(BytesIO(source.onnx_bytes))
    for key, value in source.metadata.items():
        network.set_rt_info(value, ["model_info", key])
    vino.save_model(network, str(path), compress_to_fp16=False)
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    written = open_model(Runtime.OPENVINO, path, device="cpu", settings=exact)
    return [_in_tensors(written), *_prove_half(source)]


def _write_torch(source: _Source, path: Path) -> list[verification.Restore]:
    sizes = {axis: torch.export.Dim(name) for axis, name in ((0, "batch"), (2, "height"), (3, "width"))}
    batch, height, width = _RECORDED_SIZE
    example = torch.rand(batch, source.config.in_channels, height, width)
    program = torch.export.export(source.build_network(), (example,), dynamic_shapes=(sizes,))
    torch.export.save(program, path, extra_files={"metadata.json": json.dumps(dict(source.metadata))})
    return [torch.export.load(path).module()]


def _prove_half(source: _Source) -> list[verification.Restore]:
    """Load the ONNX model with every rounding to half precision, which processors leave out; nothing for fp32."""
    if not source.is_half:
        return []
    from swinir.export.rounding import keep_roundings  # noqa: PLC0415  onnx is optional

    model = keep_roundings(source.onnx_bytes)
    return [_in_tensors(open_model(Runtime.ONNXRUNTIME, model, device="cpu", optimize=False))]


def _in_tensors(restore: Restore) -> verification.Restore:
    return lambda image: torch.from_numpy(restore(image.numpy()))


_NEEDED: Mapping[Format, tuple[str, ...]] = MappingProxyType(
    {
        Format.ONNX: ("onnx", "onnxruntime"),
        Format.OPENVINO: ("onnx", "onnxruntime", "openvino"),
        Format.TORCH: (),
    }
)
_WRITE: Mapping[Format, Callable[[_Source, Path], list[verification.Restore]]] = MappingProxyType(
    {Format.ONNX: _write_onnx, Format.OPENVINO: _write_openvino, Format.TORCH: _write_torch}
)
