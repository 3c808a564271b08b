"""The layout of published files (.pth), both ways: found whatever is around it, and written as others expect it.

A published file is a dictionary of tensors, bare or under ``params`` or ``params_ema``. Training programs put it
under other names, between other things, and put prefixes before the names in it. Beside the parameters it stores
what this package computes instead: the shift mask of every second layer, made for the size of the training images,
and the index of relative positions.
"""

import io
import math
import os
import re
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from swinir.errors import CheckpointError, UsageError
from swinir.files import written_beside
from swinir.model import SwinIRConfig
from swinir.model.config import IMAGE_CHANNELS
from swinir.model.heads import last_layer
from swinir.ops import windows
from swinir.weights.architecture import (
    FIRST,
    JPEG_WINDOW_SIZE,
    UNSHUFFLED,
    check_shapes,
    infer_config,
    shapes_of,
)
from swinir.weights.problems import quoted
from swinir.weights.tensors import copied

MASK = "attn_mask"
INDEX = "attn.relative_position_index"
# What files hold among the parameters: masks, indices and the mean colour, which the network computes; how often
# PyTorch's AveragedModel was updated; what the profiler thop counts.
COMPUTED = re.compile(rf"(.*\.)?({MASK}|{re.escape(INDEX)}|mean|n_averaged|total_ops|total_params)")
# A stored mask has size² · window² values; the published ones are for 48 to 128 px.
MAX_TRAINING_SIZE_PX = 512

# Parts of names that torch.compile and distributed training put anywhere: no SwinIR has them.
_ADDED_PARTS = frozenset({"_orig_mod", "module"})
# What tells a network of this family, and what stands before it: "netG.", "model.", "generator_ema.", …
_FAMILY = re.compile(r"((?:.*\.)?)(?:conv_first\.(?:1\.)?(?:weight|bias)|layers\.0\.residual_group\..+)")
# What stands beside a network under no prefix of its own: losses, metrics and discriminators of its training.
_BESIDE = re.compile(r"(?i)(\w*(lpips|loss|metric|vgg|perceptual|discriminator)\w*|criterion|net_?d)\..+")
# How a running average is called: the published evaluation uses it where both exist.
_AVERAGE = "ema"
# Dictionaries within dictionaries are searched this far.
_MAX_DEPTH = 4


def find_parameters(content: object) -> dict[str, object]:
    """Find the network's parameters in whatever a file holds, under their published names.

    The dictionary that holds a network may be anywhere within others; of several, a running average is taken, else
    the first. What stands beside it, and what is computed, is left out.

    Raises:
        UsageError: there is no dictionary of named tensors.
    """
    if not isinstance(content, dict):
        raise UsageError(f"it holds no dictionary of tensors but a {type(content).__name__}")
    stored = _with_network(content)
    if not all(isinstance(name, str) for name in stored):
        raise UsageError("it holds no dictionary of named tensors: a name is not a string")
    plain = _without_added_parts({str(name): value for name, value in stored.items()})
    prefix = _prefix(plain)
    own = {name.removeprefix(prefix): value for name, value in plain.items() if name.startswith(prefix)}
    return {
        name: value
        for name, value in own.items()
        if not COMPUTED.fullmatch(name)
        and not _BESIDE.fullmatch(name)
        and ("." in name or isinstance(value, Tensor))
    }


def name_unshuffled(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the first convolution behind an unshuffle as published files do; some programs leave out its place."""
    shapes = shapes_of(tensors)
    first, last = shapes.get(FIRST, ()), shapes.get("conv_last.weight", ())
    given = first[1] if len(first) > 1 else 1
    if given in (last[:1] or IMAGE_CHANNELS) or (last and given % max(last[0], 1)):
        return dict(tensors)
    first_place, published = FIRST.removesuffix("weight"), UNSHUFFLED.removesuffix("weight")
    return {name.replace(first_place, published): tensor for name, tensor in tensors.items()}


def training_size_px(content: object) -> int | None:
    """Read the side of the training images off a stored shift mask, [windows, n, n]; None without one."""
    for _, stored in _dictionaries(content):
        for name, value in stored.items():
            if not (isinstance(name, str) and name.endswith(MASK) and isinstance(value, Tensor)):
                continue
            if value.ndim == 3:
                num_windows, num_tokens, _ = value.shape
                return math.isqrt(num_windows) * math.isqrt(num_tokens)
    return None


def _with_network(content: object) -> dict[object, object]:
    """Choose the dictionary that holds a network of this family, or the most tensors if none does."""
    found = [(path, stored) for path, stored in _dictionaries(content) if _holds_family(stored)]
    if not found:
        return max((stored for _, stored in _dictionaries(content)), key=_count_tensors)
    return next((stored for path, stored in found if _AVERAGE in path), found[0][1])


def _dictionaries(content: object) -> Iterator[tuple[str, dict[object, object]]]:
    """Walk dictionaries within dictionaries, each once, the outer before the inner; with where they are."""
    seen: set[int] = set()
    waiting = [("", content)]
    for _ in range(_MAX_DEPTH):
        inner: list[tuple[str, object]] = []
        for path, value in waiting:
            if not isinstance(value, dict) or id(value) in seen:
                continue
            seen.add(id(value))
            # Called on the class, since a file can give an OrderedDict attributes that hide its methods.
            stored = dict(dict[object, object].items(value))
            yield path, stored
            inner += [(f"{path}.{name}".lower(), held) for name, held in stored.items()]
        waiting = inner


def _holds_family(stored: Mapping[object, object]) -> bool:
    return any(isinstance(name, str) and _FAMILY.fullmatch(name) for name in stored)


def _count_tensors(stored: Mapping[object, object]) -> int:
    return sum(isinstance(value, Tensor) for value in stored.values())


def _without_added_parts(stored: Mapping[str, object]) -> dict[str, object]:
    """Take out of every name what compilation and distributed training put there.

    Raises:
        UsageError: two names become one.
    """
    plain: dict[str, object] = {}
    for name, value in stored.items():
        short = ".".join(part for part in name.split(".") if part not in _ADDED_PARTS)
        if short in plain:
            raise UsageError(f"it holds the tensor {quoted(short)} twice")
        plain[short] = value
    return plain


def _prefix(stored: Mapping[str, object]) -> str:
    """Choose what stands before the names of the network: of several networks, a running average's."""
    prefixes = Counter(match[1] for name in stored if (match := _FAMILY.fullmatch(name)))
    return max(prefixes, key=lambda prefix: (_AVERAGE in prefix, prefixes[prefix]), default="")


def is_training_size(size_px: int, window_size: int) -> bool:
    """Tell whether masks can be stored for this size: whole windows, and room to shift them."""
    return window_size < size_px <= MAX_TRAINING_SIZE_PX and size_px % window_size == 0


def default_training_size_px(config: SwinIRConfig) -> int:
    """Name the size the published models of this kind were trained on, in whole windows."""
    if (size_px := config.position_embedding_px) and is_training_size(size_px, config.window_size):
        return size_px
    size_px = 128 if config.head.adds_input else 64
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
        UsageError: the tensors are not those of ``config``, or not finite, or the size is impossible.
        CheckpointError: the file cannot be written.
    """
    size_px = default_training_size_px(config) if training_size_px is None else training_size_px
    if not is_training_size(size_px, config.window_size):
        raise UsageError(
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
    last = last_layer(config.head_steps)
    first = FIRST if config.unshuffle == 1 else UNSHUFFLED
    factors = {first: 1 / larger, f"{last}.weight": larger, f"{last}.bias": larger}
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
