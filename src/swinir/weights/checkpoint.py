"""The project's own file: safetensors with the configuration in its metadata; and reading any kind."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from swinir.errors import CheckpointError, UsageError
from swinir.files import written_beside
from swinir.model import SwinIRConfig
from swinir.weights import layout
from swinir.weights.architecture import (
    check_claim,
    check_shapes,
    infer_config,
    refuse_other_networks,
    shapes_of,
)
from swinir.weights.pickles import read_pickle
from swinir.weights.problems import DamagedError, RefusedError, quoted
from swinir.weights.tensors import DTYPES, check_size, copied, dtype_name, require_plain

# Where the configuration stands among the metadata, as JSON.
CONFIG_KEY = "swinir_config"
# The side of the training images, which published files tell by their masks and write_official asks for.
TRAINING_SIZE_KEY = "training_size_px"
# What other readers of safetensors look for.
FORMAT = {"format": "pt"}
NO_METADATA: Mapping[str, str] = {}

_MAX_HEADER_BYTES = 100_000_000
# A file whose first bytes are printable is taken for text: a saved error page, a pointer to large storage.
_TEXT_BYTES = 16
_MESSAGE_CHARACTERS = 400


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a weights file holds: finite float32 tensors on the CPU, exactly those ``config`` asks for.

    Where the file does not state its image range, that of ``config`` follows a rule (``infer_config``).
    """

    config: SwinIRConfig
    state_dict: dict[str, Tensor]
    metadata: dict[str, str]
    states_image_range: bool = False

    @property
    def training_size_px(self) -> int | None:
        """The side of the training images, as a published file's masks told it; None where it is unknown."""
        text = self.metadata.get(TRAINING_SIZE_KEY, "")
        size_px = int(text) if text.isascii() and text.isdecimal() and len(text) <= 4 else 0
        return size_px if layout.is_training_size(size_px, self.config.window_size) else None


def save_checkpoint(
    path: str | os.PathLike[str],
    config: SwinIRConfig,
    state_dict: Mapping[str, Tensor],
    *,
    dtype: torch.dtype = torch.float32,
    metadata: Mapping[str, str] = NO_METADATA,
) -> None:
    """Write the network's tensors, in ``dtype``, with its configuration; an existing file is replaced whole.

    ``metadata`` are free notes that travel along, such as the number of steps trained.

    Raises:
        UsageError: the tensors are not those of ``config``, or a value is not finite in ``dtype``.
        CheckpointError: the file cannot be written.
    """
    if dtype not in DTYPES:
        raise UsageError(f"dtype is {dtype}, but weights are kept in {', '.join(map(dtype_name, DTYPES))}")
    if reserved := {CONFIG_KEY, *FORMAT} & set(metadata):
        raise UsageError(f"metadata must not have the keys {sorted(reserved)}: they are the file's own")
    check_shapes(config, shapes_of(state_dict))
    notes = {**FORMAT, CONFIG_KEY: json.dumps(config.to_dict()), **metadata}
    content = serialize(copied(state_dict, dtype), notes)
    with written_beside(Path(path), CheckpointError) as file:
        file.write(content)


def load_checkpoint(path: str | os.PathLike[str]) -> tuple[SwinIRConfig, dict[str, Tensor]]:
    """Read a network's configuration and its tensors from our file or any published one.

    See ``read_checkpoint``. The image range of a published file is a rule, not a reading (``infer_config``):
    where it is wrong, ``dataclasses.replace(config, image_range=...)``.

    Raises:
        CheckpointError: the file is missing, damaged, hostile, or holds no SwinIR.
    """
    checkpoint = read_checkpoint(path)
    return checkpoint.config, checkpoint.state_dict


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read all that a weights file holds, safely: its content tells its kind, and nothing in it is executed.

    Raises:
        CheckpointError: the file is missing, damaged, hostile, or holds no SwinIR.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise UsageError("there is no such file" if not path.exists() else "it is a folder or a device")
        with path.open("rb") as file:
            return _read(path, file)
    except (ValueError, OSError) as error:
        raise CheckpointError(_sentence(path, error)) from error


def read_header(path: Path) -> tuple[SwinIRConfig, dict[str, str]]:
    """Read the configuration and the metadata of our file as they stand, not compared with its tensors.

    Raises:
        CheckpointError: the file is missing or damaged, or carries no configuration.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
        return _claimed_config(metadata.pop(CONFIG_KEY, "")), metadata
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(_sentence(path, error)) from error


def _sentence(path: Path, error: Exception) -> str:
    """Say what is wrong with a file, and what to do about that."""
    reason = " ".join(((isinstance(error, OSError) and error.strerror) or str(error)).split())
    if len(reason) > _MESSAGE_CHARACTERS:
        reason = f"{reason[:_MESSAGE_CHARACTERS]}…"
    match error:
        case DamagedError() | SafetensorError():
            hint = "; download or convert it again"
        case RefusedError():
            hint = "; in the program that made it, save the state_dict alone"
        case _:
            hint = ""
    return f"{path} is no usable weights file: {reason}{hint}"


def _read(path: Path, file: BinaryIO) -> Checkpoint:
    """Read a file by the kind that its first bytes tell."""
    head = file.read(512)
    file.seek(0)
    header_bytes = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and header_bytes <= _MAX_HEADER_BYTES:
        return _read_safetensors(path)
    if head.startswith((b"PK", b"\x80")):
        content = read_pickle(file)
        size_px = layout.training_size_px(content)
        metadata = {} if size_px is None else {TRAINING_SIZE_KEY: str(size_px)}
        return _checked(layout.find_parameters(content), metadata, file_bytes=path.stat().st_size)
    if not head:
        raise DamagedError("it is empty")
    if all(32 <= byte < 127 or chr(byte).isspace() for byte in head[:_TEXT_BYTES]):
        text = " ".join(head.decode(errors="replace").split())
        raise DamagedError(f"it is text that begins with {quoted(text)[:60]}")
    raise UsageError("it is neither safetensors nor a file of torch.save")


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, "pt") as file:
            stored: dict[str, object] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    except SafetensorError as error:
        raise DamagedError(f"it is damaged or incomplete ({error})") from error
    # What carries our configuration has our names; of others, anything that published files have is expected.
    own = stored if CONFIG_KEY in metadata else layout.find_parameters(stored)
    return _checked(own, metadata, file_bytes=path.stat().st_size)


def _checked(stored: Mapping[str, object], metadata: Mapping[str, str], *, file_bytes: int) -> Checkpoint:
    # Before anything is wrong with its tensors: those of others may be of kinds that no SwinIR has.
    refuse_other_networks(stored)
    tensors = {name: require_plain(quoted(name), value) for name, value in stored.items()}
    check_size(tensors, file_bytes)
    tensors = layout.name_unshuffled(tensors)
    shapes = shapes_of(tensors)
    config = infer_config(tensors)
    if CONFIG_KEY in metadata:
        claimed = _claimed_config(metadata[CONFIG_KEY])
        check_claim(claimed, config, shapes)
        config = claimed
    check_shapes(config, shapes)
    notes = {key: value for key, value in metadata.items() if key not in (CONFIG_KEY, *FORMAT)}
    return Checkpoint(
        config=config,
        state_dict=copied(tensors, torch.float32),
        metadata=notes,
        states_image_range=CONFIG_KEY in metadata,
    )


def _claimed_config(text: str) -> SwinIRConfig:
    try:
        values: object = json.loads(text)
        if not isinstance(values, dict):
            raise TypeError(f"not a table but a {type(values).__name__}")
        return SwinIRConfig.from_dict(values)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DamagedError(f"its config cannot be read ({error})") from error
