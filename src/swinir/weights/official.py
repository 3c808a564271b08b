"""Published files (.pth): read without running anything, and written so that other programs recognise them.

Such a file is a pickled dictionary of tensors, bare or wrapped in ``params`` or ``params_ema``. Beside the
parameters it stores what this package computes instead: the shift mask of every second layer, made for the
size of the training images, and the index of relative positions.
"""

import io
import math
import os
import pickle
import pickletools
import re
import struct
import threading
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import IO, BinaryIO, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from swinir.errors import CheckpointError
from swinir.files import written_beside
from swinir.model import SwinIRConfig, Upsampler
from swinir.ops import windows
from swinir.weights.architecture import JPEG_WINDOW_SIZE, check_shapes, infer_config, quoted, shapes_of
from swinir.weights.tensors import copied

# Where both exist, the running average is what the published evaluation uses; ``params`` is for fine-tuning.
WRAPPERS = ("params_ema", "params")
# What distributed training puts before every name.
DISTRIBUTED_PREFIX = "module."
MASK = "attn_mask"
INDEX = "attn.relative_position_index"
# A stored mask has size² · window² values; the published ones are for 48 to 128 px.
MAX_TRAINING_SIZE_PX = 512
COMPUTED = (f".{MASK}", f".{INDEX}")

# All that unpickling and unzipping raise on damaged input, found by damaging files at every place.
DAMAGE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    EOFError,
    OSError,
)
# What a pickle of tensors names: how they are put together, and the types of what they hold.
_WEIGHTS_NEED = re.compile(
    r"collections OrderedDict"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|tensor_v3|parameter|parameter_with_state)"
    r"|torch(\.cuda|\.storage)? \w+Storage"
    r"|torch (Size|bool|[a-z]+[0-9]+(_[a-z0-9]+)?)"
)
# A file from before PyTorch 1.6: magic number, protocol, system, content, names of the storages that follow.
LEGACY_PICKLES = 5
# warnings.catch_warnings swaps the filters of the whole process, so only one thread may do it at a time.
_WARNINGS = threading.Lock()


class RefusedError(Exception):
    """What a file asks for is not given."""


def read_pickle(file: BinaryIO) -> dict[object, object]:
    """Read the dictionary in a file of ``torch.save``, unwrapped; nothing in the file is executed.

    Raises:
        ValueError: the file is damaged, or holds anything but tensors and plain containers.
    """
    try:
        with _WARNINGS, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_pickles(file)
            content: object = torch.load(file, map_location="cpu", weights_only=True)
    except RefusedError as refusal:
        raise ValueError(str(refusal)) from refusal
    except DAMAGE as error:
        raise ValueError("it is damaged, incomplete or no file of torch.save") from error
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and wrapper in content:
            content = content[wrapper]
            break
    if not isinstance(content, dict):
        raise ValueError(f"it holds no dictionary of tensors but a {type(content).__name__}")
    # Called on the class, since a file can give an OrderedDict attributes that hide its methods.
    return dict(dict[object, object].items(content))


def parameters(stored: Mapping[object, object]) -> dict[str, object]:
    """Keep the parameters under their own names: no prefix of distributed training, nothing that is computed.

    Raises:
        ValueError: a name is not a string.
    """
    names = [name for name in stored if isinstance(name, str)]
    if len(names) < len(stored):
        raise ValueError("it holds no dictionary of named tensors: a name is not a string")
    prefix = DISTRIBUTED_PREFIX if all(name.startswith(DISTRIBUTED_PREFIX) for name in names) else ""
    return {name.removeprefix(prefix): stored[name] for name in names if not name.endswith(COMPUTED)}


def training_size_px(stored: Mapping[object, object]) -> int | None:
    """Tell the side of the training images from a stored shift mask, [windows, n, n]; None without one."""
    for name, value in stored.items():
        if not (isinstance(name, str) and name.endswith(MASK) and isinstance(value, Tensor)):
            continue
        if value.ndim == 3:
            num_windows, num_tokens, _ = value.shape
            return math.isqrt(num_windows) * math.isqrt(num_tokens)
    return None


def is_training_size(size_px: int, window_size: int) -> bool:
    """Tell whether masks can be stored for this size: whole windows, and room to shift them."""
    return window_size < size_px <= MAX_TRAINING_SIZE_PX and size_px % window_size == 0


def default_training_size_px(config: SwinIRConfig) -> int:
    """Name the size the published models of this kind were trained on, in whole windows."""
    size_px = 128 if config.upsampler is Upsampler.NONE else 64
    if config.window_size == JPEG_WINDOW_SIZE:
        size_px = 126
    return windows.padded_size(max(size_px, 2 * config.window_size), config.window_size)


def write_official(
    path: str | os.PathLike[str],
    config: SwinIRConfig,
    state_dict: Mapping[str, Tensor],
    *,
    key: Literal["params", "params_ema"] = "params",
    training_size_px: int | None = None,
) -> None:
    """Write a ``.pth`` in the published layout: float32, masks and indices included; replaces ``path`` whole.

    ``training_size_px`` is the side the masks are for, by default that of the published models of this kind. Weights
    cannot tell the image range: where readers will take another one than that of ``config``, those of the same
    network in that range are written.

    Raises:
        ValueError: the tensors are not those of ``config``, or not finite, or the size is impossible.
        CheckpointError: the file cannot be written.
    """
    size_px = default_training_size_px(config) if training_size_px is None else training_size_px
    if not is_training_size(size_px, config.window_size):
        raise ValueError(
            f"training_size_px is {size_px}, but must be a multiple of the window, {config.window_size},"
            f" above it and up to {MAX_TRAINING_SIZE_PX}"
        )
    check_shapes(config, shapes_of(state_dict))
    published = in_range(copied(state_dict, torch.float32), config, infer_config(state_dict).image_range)
    stored = with_computed(published, config, size_px)
    content = io.BytesIO()
    torch.save({key: stored}, content)
    with written_beside(Path(path), CheckpointError) as file:
        file.write(content.getbuffer())


def in_range(
    state_dict: Mapping[str, Tensor], config: SwinIRConfig, image_range: float
) -> Mapping[str, Tensor]:
    """Express the same function with white at ``image_range`` inside the network: its ends are linear."""
    if image_range == config.image_range:
        return state_dict
    larger = image_range / config.image_range
    last = "upsample.0" if config.upsampler is Upsampler.PIXEL_SHUFFLE_DIRECT else "conv_last"
    factors = {"conv_first.weight": 1 / larger, f"{last}.weight": larger, f"{last}.bias": larger}
    return {name: tensor * factors.get(name, 1.0) for name, tensor in state_dict.items()}


def with_computed(
    state_dict: Mapping[str, Tensor], config: SwinIRConfig, size_px: int
) -> "OrderedDict[str, Tensor]":
    """Add masks and indices where the published network has them; every tensor has memory of its own."""
    mask = published_mask(config.window_size, size_px)
    index = windows.relative_position_index(config.window_size)
    stored: OrderedDict[str, Tensor] = OrderedDict()
    for group, depth in enumerate(config.depths):
        for block in range(depth):
            name = f"layers.{group}.residual_group.blocks.{block}"
            if block % 2:
                stored[f"{name}.{MASK}"] = mask.clone()
            stored[f"{name}.{INDEX}"] = index.clone()
    return OrderedDict(state_dict) | stored


def published_mask(window_size: int, size_px: int) -> Float[Tensor, "windows n n"]:
    """Spell out the mask of every window of a square image, shifted by half a window, row by row."""
    kinds = windows.shift_masks(window_size, window_size // 2)
    num_windows = size_px // window_size
    is_last = torch.tensor([0] * (num_windows - 1) + [1])
    return kinds[is_last[:, None], is_last[None, :]].flatten(0, 1)


def _check_pickles(file: BinaryIO) -> None:
    """Look at what the file asks for, without unpickling it.

    ``weights_only`` runs no code, but builds what can fill the memory (a bytearray of any length) or the day
    (a set of a tensor that repeats one value); weights need neither.

    Raises:
        RefusedError: it asks for more than tensors, is a program, or is packed (bombs are; weights are not).
    """
    if file.read(2) == b"PK":
        file.seek(0)
        _check_archive(zipfile.ZipFile(file))
    else:
        file.seek(0)
        for _ in range(LEGACY_PICKLES):
            _check_pickle(file)
    file.seek(0)


def _check_archive(archive: zipfile.ZipFile) -> None:
    for entry in archive.infolist():
        if entry.compress_type != zipfile.ZIP_STORED:
            raise RefusedError("it is a compressed archive, which torch.save does not write")
        if entry.filename.endswith("/constants.pkl"):
            raise RefusedError("it is a TorchScript program, and programs are not run")
    for entry in archive.infolist():
        if entry.filename.endswith("/data.pkl"):
            with archive.open(entry) as content:
                _check_pickle(content)


def _check_pickle(content: IO[bytes]) -> None:
    for opcode, argument, _ in pickletools.genops(content):
        # The other opcodes that find things by name are unknown to torch.load.
        if opcode.name == "GLOBAL" and not _WEIGHTS_NEED.fullmatch(str(argument)):
            name = quoted(str(argument).replace(" ", "."))
            raise RefusedError(f"it asks for {name}, which was refused: weights need only plain tensors")
