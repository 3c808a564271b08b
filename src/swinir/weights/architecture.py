"""Which SwinIR a set of tensors is, told by names and shapes alone.

Nothing here looks at values or believes a size that no tensor has, so it is safe on what a stranger sent.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import zip_longest

from torch import Size, Tensor

from swinir.errors import UsageError
from swinir.model import ResidualConv, SwinIRConfig, Upsampler
from swinir.model.build import outline
from swinir.model.config import IMAGE_CHANNELS
from swinir.model.heads import HEADS, NARROWING, RECONSTRUCTION_CHANNELS, Head, convolutions
from swinir.weights.foreign import name_network
from swinir.weights.problems import OtherNetworkError, quoted

Shapes = Mapping[str, Size]

# Attention compares each pixel of a window with each other one: beyond this side, the table of their offsets
# (side⁴ entries in every layer) outgrows the network. The published models use 7 and 8.
MAX_WINDOW_SIZE = 32
# The published window-7 models (JPEG) work on values up to 255, all others up to 1; weights cannot tell.
JPEG_WINDOW_SIZE = 7
JPEG_IMAGE_RANGE = 255.0
# What white can be in a file that carries a config: the largest value of 16 bits.
MAX_IMAGE_RANGE = 65535.0

FIRST = "conv_first.weight"
# Where pixels are unshuffled, the first convolution is at the second place of a sequence.
UNSHUFFLED = "conv_first.1.weight"
POSITIONS = "absolute_pos_embed"
NARROWING_WEIGHT = f"{NARROWING}.weight"

_BLOCK = re.compile(r"layers\.([0-9]{1,6})\.residual_group\.blocks\.([0-9]{1,6})\..+")


def infer_config(state_dict: Mapping[str, Tensor]) -> SwinIRConfig:
    """Read the configuration off the names and shapes of a network's tensors.

    The image range leaves no trace in them: it is taken to be 255 where a window of 7 restores without
    enlarging (the published JPEG models), else 1.

    Raises:
        OtherNetworkError: they are another network's, which the message names.
        UsageError: they are no SwinIR's; the message names the first that is missing or unfit.
    """
    shapes = shapes_of(state_dict)
    refuse_other_networks(shapes)
    embed_dim, in_channels, unshuffle = _first_convolution(shapes)
    depths = _depths(shapes)
    tables = [
        _shape(
            shapes,
            f"layers.{group}.residual_group.blocks.0.attn.relative_position_bias_table",
            "offsets",
            "num_heads",
        )
        for group in range(len(depths))
    ]
    fc1 = "layers.0.residual_group.blocks.0.mlp.fc1.weight"
    hidden, _ = _shape(shapes, fc1, "hidden", "embed_dim")
    num_feat = shapes[NARROWING_WEIGHT][0] if NARROWING_WEIGHT in shapes else RECONSTRUCTION_CHANNELS
    upsampler, scale = _reconstruction(shapes, embed_dim, in_channels, num_feat)
    if scale % unshuffle:
        raise UsageError(f"it unshuffles blocks of {unshuffle} pixels, but enlarges by {scale}")
    config = SwinIRConfig(
        scale=scale // unshuffle,
        in_channels=in_channels,
        embed_dim=embed_dim,
        depths=depths,
        num_heads=tuple(heads for _, heads in tables),
        window_size=_window_size(tables[0][0]),
        mlp_ratio=_mlp_ratio(hidden, embed_dim),
        upsampler=upsampler,
        residual_conv=ResidualConv.THREE if "conv_after_body.0.weight" in shapes else ResidualConv.ONE,
        num_feat=num_feat if HEADS[upsampler].has_narrow_stage else RECONSTRUCTION_CHANNELS,
        unshuffle=unshuffle,
        # By any of them: one that is missing beside others is then named.
        patch_norm=any(name.startswith("patch_embed.norm.") for name in shapes),
        qkv_bias=any(name.endswith(".attn.qkv.bias") for name in shapes),
        position_embedding_px=_position_embedding_px(shapes),
    )
    if config.head.adds_input and config.window_size == JPEG_WINDOW_SIZE:
        return replace(config, image_range=JPEG_IMAGE_RANGE)
    return config


def refuse_other_networks(names: Iterable[str]) -> None:
    """Look for another network in the names of tensors.

    Raises:
        OtherNetworkError: they are a known network's that is no SwinIR; the message names it.
    """
    if (network := name_network(names)) is not None:
        raise OtherNetworkError(f"it looks like {network}, and only SwinIR is known here")


def check_shapes(config: SwinIRConfig, shapes: Shapes) -> None:
    """Require exactly the tensors of a network of this configuration.

    Raises:
        UsageError: naming the first tensor that is missing, unknown, or of another shape.
    """
    expected = shapes_of(outline(config).state_dict())
    for name, shape in expected.items():
        if name not in shapes:
            raise UsageError(f"tensor {name} is missing")
        if shapes[name] != shape:
            raise UsageError(f"tensor {name} is {list(shapes[name])}, but {list(shape)} was expected")
    for name in shapes:
        if name not in expected:
            raise UsageError(f"tensor {quoted(name)} belongs to no SwinIR")


def check_claim(claimed: SwinIRConfig, inferred: SwinIRConfig, shapes: Shapes) -> None:
    """Require that a configuration describes the tensors it came with; only the image range is free.

    Raises:
        UsageError: naming the first field that differs.
    """
    hidden, _ = _shape(shapes, "layers.0.residual_group.blocks.0.mlp.fc1.weight", "hidden", "embed_dim")
    if not hidden <= claimed.mlp_ratio * inferred.embed_dim < hidden + 1:
        said = quoted(claimed.mlp_ratio)
        raise UsageError(f"its config says mlp_ratio {said}, its tensors {inferred.mlp_ratio}")
    if not claimed.image_range <= MAX_IMAGE_RANGE:
        raise UsageError(
            f"its config says image_range {quoted(claimed.image_range)}, above {MAX_IMAGE_RANGE}"
        )
    inferred_values = inferred.to_dict()
    for name, value in claimed.to_dict().items():
        if name not in ("mlp_ratio", "image_range") and value != inferred_values[name]:
            raise UsageError(f"its config says {name} {quoted(value)}, its tensors {inferred_values[name]!r}")


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, Size]:
    """Look at the shapes only."""
    return {name: tensor.shape for name, tensor in tensors.items()}


def _shape(shapes: Shapes, name: str, *dims: str) -> Size:
    if name not in shapes:
        raise UsageError(f"it holds no SwinIR: tensor {name} is missing")
    if len(shapes[name]) != len(dims):
        raise UsageError(f"tensor {name} is {list(shapes[name])}, but [{', '.join(dims)}] was expected")
    return shapes[name]


def _first_convolution(shapes: Shapes) -> tuple[int, int, int]:
    """Return its features, the channels of the image, and the side of the blocks of pixels that it is given."""
    if UNSHUFFLED not in shapes:
        embed_dim, in_channels, _, _ = _shape(shapes, FIRST, "embed_dim", "in_channels", "3", "3")
        return embed_dim, in_channels, 1
    embed_dim, unshuffled, _, _ = _shape(shapes, UNSHUFFLED, "embed_dim", "in_channels·unshuffle²", "3", "3")
    # The last convolution gives the image's own channels.
    last = shapes.get("conv_last.weight", Size())
    for channels in last[:1] if last else IMAGE_CHANNELS:
        side = math.isqrt(unshuffled // max(channels, 1))
        if side > 1 and channels * side**2 == unshuffled:
            return embed_dim, channels, side
    raise UsageError(f"tensor {UNSHUFFLED} has {unshuffled} channels, which are no blocks of pixels")


def _position_embedding_px(shapes: Shapes) -> int | None:
    """Find the side of the square that an absolute position embedding was learnt for, if there is one."""
    if POSITIONS not in shapes:
        return None
    _, positions, _ = _shape(shapes, POSITIONS, "1", "positions", "embed_dim")
    if math.isqrt(positions) ** 2 != positions:
        raise UsageError(
            f"tensor {POSITIONS} has {positions} positions, which are no square: one was expected"
        )
    return math.isqrt(positions)


def _depths(shapes: Shapes) -> tuple[int, ...]:
    """Count the layers of each residual group; gaps in the numbering are found when all names are checked."""
    groups: dict[str, set[str]] = {}
    for match in filter(None, map(_BLOCK.fullmatch, shapes)):
        group, block = match.groups()
        groups.setdefault(group, set()).add(block)
    if not groups:
        raise UsageError("it holds no SwinIR: tensors layers.0.residual_group.… are missing")
    for index in range(len(groups)):
        if str(index) not in groups:
            raise UsageError(f"tensors layers.{index}.residual_group.… are missing")
    return tuple(len(groups[str(index)]) for index in range(len(groups)))


def _window_size(offsets: int) -> int:
    """Invert offsets = (2·window - 1)², the rows of a relative position bias table."""
    side = math.isqrt(offsets)
    window_size = (side + 1) // 2
    if (2 * window_size - 1) ** 2 != offsets or not 2 <= window_size <= MAX_WINDOW_SIZE:
        raise UsageError(
            f"a relative position bias table has {offsets} rows, but windows of 2 to {MAX_WINDOW_SIZE} pixels"
            " have (2·window - 1)²"
        )
    return window_size


def _mlp_ratio(hidden: int, embed_dim: int) -> float:
    """Find the ratio whose product with ``embed_dim``, rounded down, is ``hidden``."""
    ratio = hidden / max(embed_dim, 1)
    return ratio if int(ratio * embed_dim) == hidden else math.nextafter(ratio, math.inf)


def _reconstruction(shapes: Shapes, embed_dim: int, in_channels: int, num_feat: int) -> tuple[Upsampler, int]:
    """Choose the reconstruction and its scale whose layers are most like those there are."""
    candidates = [(upsampler, scale) for upsampler, head in HEADS.items() for scale in head.scales]
    known = {name for upsampler, scale in candidates for name in _layers(HEADS[upsampler], scale)}
    stored = {name: shape for name, shape in shapes.items() if name in known}

    def unlikeness(candidate: tuple[Upsampler, int]) -> int:
        upsampler, scale = candidate
        expected = _layers(HEADS[upsampler], scale, embed_dim, in_channels, num_feat)
        names = len(expected.keys() ^ stored.keys())
        # A layer that is missing or too many weighs more than all that are of another shape, dimension by dimension.
        differing = sum(
            found != wanted
            for name, shape in expected.items()
            for found, wanted in zip_longest(stored.get(name, shape), shape)
        )
        return 5 * len(known) * names + min(differing, 5 * len(known) - 1)

    return min(candidates, key=unlikeness)


def _layers(
    head: Head, scale: int, embed_dim: int = 1, in_channels: int = 1, num_feat: int = 1
) -> dict[str, Size]:
    return {
        f"{layer.name}.weight": Size((layer.out_channels, layer.in_channels, 3, 3))
        for layer in convolutions(head.steps(embed_dim, in_channels, scale, num_feat))
    }
