"""The project's own file: safetensors with the configuration in its metadata; and reading any kind."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from swinir.errors import CheckpointError
from swinir.model import SwinIRConfig
from swinir.weights.architecture import check_claim, check_shapes, infer_config, quoted, shapes_of
from swinir.weights.atomic import written_beside

# Where the configuration stands among the metadata, as JSON.
CONFIG_KEY = "swinir_config"
# What other readers of safetensors look for.
FORMAT = {"format": "pt"}
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
NO_METADATA: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a weights file holds: float32 tensors on the CPU, all finite, exactly those ``config`` asks for."""

    config: SwinIRConfig
    state_dict: dict[str, Tensor]
    metadata: dict[str, str]


def save_checkpoint(
    path: Path,
    config: SwinIRConfig,
    state_dict: Mapping[str, Tensor],
    *,
    dtype: torch.dtype = torch.float32,
    metadata: Mapping[str, str] = NO_METADATA,
) -> None:
    """Write the network's tensors, in ``dtype``, with its configuration; an existing file is replaced whole.

    ``metadata`` are free notes that travel along, such as the number of steps trained.

    Raises:
        ValueError: the tensors are not those of ``config``, or a value is not finite in ``dtype``.
        CheckpointError: the file cannot be written.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype} cannot hold weights: choose one of {', '.join(map(str, DTYPES))}")
    if reserved := {CONFIG_KEY, *FORMAT} & set(metadata):
        raise ValueError(f"metadata must not have the keys {sorted(reserved)}: they are the file's own")
    check_shapes(config, shapes_of(state_dict))
    tensors = {
        name: tensor.detach().to("cpu", dtype, copy=True).contiguous() for name, tensor in state_dict.items()
    }
    _check_finite(tensors)
    notes = {**FORMAT, CONFIG_KEY: json.dumps(config.to_dict()), **metadata}
    try:
        with written_beside(path) as file:
            file.write(serialize(tensors, notes))
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be written ({error.strerror}): choose another place for the weights"
        ) from error


def load_checkpoint(path: Path) -> tuple[SwinIRConfig, dict[str, Tensor]]:
    """Read a network's configuration and its tensors, safely: nothing in the file is executed.

    Raises:
        CheckpointError: the file is missing, damaged, hostile, or holds no SwinIR.
    """
    checkpoint = read_checkpoint(path)
    return checkpoint.config, checkpoint.state_dict


def read_checkpoint(path: Path) -> Checkpoint:
    """Read all that a weights file holds.

    Raises:
        CheckpointError: the file is missing, damaged, hostile, or holds no SwinIR.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {quoted(str(error))}; download it again") from error
    try:
        return _checked(tensors, metadata)
    except ValueError as error:
        raise CheckpointError(f"{path} is not usable: {error}; download or convert it again") from error


def _checked(tensors: dict[str, Tensor], metadata: dict[str, str]) -> Checkpoint:
    shapes = shapes_of(tensors)
    config = infer_config(tensors)
    check_shapes(config, shapes)
    if claim := metadata.pop(CONFIG_KEY, None):
        claimed = SwinIRConfig.from_dict(json.loads(claim))
        check_claim(claimed, config, shapes)
        config = replace(config, mlp_ratio=claimed.mlp_ratio, image_range=claimed.image_range)
    values = {name: tensor.to(torch.float32, copy=True) for name, tensor in tensors.items()}
    _check_finite(values)
    notes = {key: value for key, value in metadata.items() if key not in FORMAT}
    return Checkpoint(config=config, state_dict=values, metadata=notes)


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"tensor {name} has values that are not finite numbers")
