"""The configuration of a network is read off the names and shapes of its tensors."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recordings import read_recording
from swinir.model import VARIANTS, ResidualConv, SwinIR, SwinIRConfig, Upsampler
from swinir.weights import infer_config
from swinir.weights.architecture import MAX_WINDOW_SIZE

TINY = SwinIRConfig(
    scale=2,
    in_channels=1,
    embed_dim=4,
    depths=(1, 2),
    num_heads=(1, 2),
    window_size=2,
    upsampler=Upsampler.PIXEL_SHUFFLE_DIRECT,
)
SMALL = ("color_jpeg", "gray_denoise", "gray_jpeg_3conv", "lightweight_x2", "lightweight_x3")


def tensors_of(config: SwinIRConfig) -> dict[str, Tensor]:
    with torch.device("meta"):
        return SwinIR(config).state_dict()


# Its files say in their metadata what its weights cannot.
@pytest.mark.parametrize("name", sorted(VARIANTS.keys() - {"lightweight-jpeg"}))
def test_every_variant_is_recognised(name: str) -> None:
    assert infer_config(tensors_of(VARIANTS[name])) == VARIANTS[name]


def test_weights_cannot_tell_the_range_of_the_lightweight_jpeg_network() -> None:
    config = VARIANTS["lightweight-jpeg"]
    assert infer_config(tensors_of(config)) == replace(config, image_range=255.0)


@pytest.mark.parametrize("name", SMALL)
def test_small_recordings_are_recognised(golden: Path, name: str) -> None:
    config, tensors, _ = read_recording(golden / "network" / f"{name}.safetensors")
    assert infer_config(tensors) == config


def test_all_recordings_are_recognised(shared: Path) -> None:
    files = sorted((shared / "golden" / "network").glob("*.safetensors"))
    assert files
    for file in files:
        config, tensors, _ = read_recording(file)
        assert infer_config(tensors) == config, file.name


@given(
    hidden=st.integers(1, 700),
    embed_dim=st.integers(1, 240),
)
@settings(deadline=None)
def test_any_width_of_the_mlp_is_recognised(hidden: int, embed_dim: int) -> None:
    tensors = tensors_of(replace(TINY, embed_dim=embed_dim, depths=(1,), num_heads=(1,)))
    fc1 = "layers.0.residual_group.blocks.0.mlp.fc1.weight"
    tensors[fc1] = torch.empty(hidden, embed_dim, device="meta")
    assert tensors_of(infer_config(tensors))[fc1].shape == (hidden, embed_dim)


@pytest.mark.parametrize("window_size", range(2, MAX_WINDOW_SIZE + 1))
def test_any_window_is_recognised(window_size: int) -> None:
    tensors = tensors_of(TINY)
    table = "layers.0.residual_group.blocks.0.attn.relative_position_bias_table"
    tensors[table] = torch.empty((2 * window_size - 1) ** 2, 1, device="meta")
    assert infer_config(tensors).window_size == window_size


@pytest.mark.parametrize("upsampler", Upsampler)
@pytest.mark.parametrize("residual_conv", ResidualConv)
def test_reconstruction_and_closing_convolution_are_recognised(
    upsampler: Upsampler, residual_conv: ResidualConv
) -> None:
    scale = 1 if upsampler is Upsampler.NONE else 4
    config = replace(TINY, upsampler=upsampler, scale=scale, residual_conv=residual_conv)
    assert infer_config(tensors_of(config)) == config


def test_window_of_seven_that_enlarges_has_image_range_one() -> None:
    config = replace(TINY, window_size=7)
    assert infer_config(tensors_of(config)).image_range == 1.0


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("conv_first.weight", "conv_first.weight is missing"),
        (
            "layers.0.residual_group.blocks.0.attn.relative_position_bias_table",
            "relative_position_bias_table is missing",
        ),
        ("layers.0.residual_group.blocks.0.mlp.fc1.weight", "fc1.weight is missing"),
    ],
)
def test_missing_tensor_that_tells_the_size_is_named(name: str, complaint: str) -> None:
    tensors = tensors_of(TINY)
    del tensors[name]
    with pytest.raises(ValueError, match=complaint):
        infer_config(tensors)


def test_missing_residual_group_is_named() -> None:
    tensors = {name: value for name, value in tensors_of(TINY).items() if not name.startswith("layers.0.")}
    with pytest.raises(ValueError, match=r"layers\.0\..* missing"):
        infer_config(tensors)


@pytest.mark.parametrize("rows", [0, 1, 8, 9 * 9 - 1, 16, (2 * MAX_WINDOW_SIZE + 1) ** 2])
def test_bias_table_of_no_window_is_refused(rows: int) -> None:
    tensors = tensors_of(TINY)
    table = "layers.0.residual_group.blocks.0.attn.relative_position_bias_table"
    tensors[table] = torch.empty(rows, 1, device="meta")
    with pytest.raises(ValueError, match=f"{rows} rows"):
        infer_config(tensors)


def test_enormous_layer_numbers_cost_nothing() -> None:
    tensors = tensors_of(TINY)
    tensors["layers.999999.residual_group.blocks.999999.norm1.weight"] = torch.empty(4, device="meta")
    with pytest.raises(ValueError, match=r"layers\.2\..* missing"):
        infer_config(tensors)


@pytest.mark.parametrize("shape", [(0, 1, 3, 3), (4, 0, 3, 3), (4, 5, 3, 3), (4, 1), ()])
def test_impossible_first_convolution_is_refused(shape: tuple[int, ...]) -> None:
    tensors = tensors_of(TINY)
    tensors["conv_first.weight"] = torch.empty(shape, device="meta")
    with pytest.raises(ValueError, match=r"conv_first|above 0|in_channels"):
        infer_config(tensors)
