"""Published files are read whatever their wrapping, and written back as they were."""

import json
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from swinir.errors import CheckpointError
from swinir.model import VARIANTS, SwinIR, SwinIRConfig, Upsampler
from swinir.weights import infer_config, load_checkpoint, read_checkpoint, save_checkpoint, write_official
from swinir.weights.layout import default_training_size_px, published_mask

CONFIG = SwinIRConfig(
    scale=1,
    in_channels=1,
    embed_dim=4,
    depths=(2, 1),
    num_heads=(1, 2),
    window_size=7,
    upsampler=Upsampler.NONE,
    image_range=255.0,
)
MASK = "layers.0.residual_group.blocks.1.attn_mask"
INDEX = "layers.1.residual_group.blocks.0.attn.relative_position_index"


def weights(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = SwinIR(CONFIG).state_dict()
    return {name: torch.randn(tensor.shape, generator=generator) for name, tensor in shapes.items()}


@pytest.fixture
def state() -> dict[str, Tensor]:
    return weights()


def assert_equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("wrapper", ["params", "params_ema", None])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("is_zip", [True, False])
def test_any_wrapping_is_read(
    tmp_path: Path, state: dict[str, Tensor], wrapper: str | None, prefix: str, is_zip: bool
) -> None:
    stored = OrderedDict((f"{prefix}{name}", tensor) for name, tensor in state.items())
    content = stored if wrapper is None else {wrapper: stored}
    torch.save(content, tmp_path / "a", _use_new_zipfile_serialization=is_zip)
    config, loaded = load_checkpoint(tmp_path / "a")
    assert config == CONFIG
    assert_equal(loaded, state)


def test_running_average_is_preferred(tmp_path: Path) -> None:
    torch.save({"params": weights(1), "params_ema": weights(2), "iter": 5}, tmp_path / "a")
    assert_equal(load_checkpoint(tmp_path / "a")[1], weights(2))


def test_state_dict_of_a_module_is_read(tmp_path: Path, state: dict[str, Tensor]) -> None:
    network = SwinIR(CONFIG)
    network.load_state_dict(state)
    torch.save(network.state_dict(), tmp_path / "a.pt")
    assert_equal(load_checkpoint(tmp_path / "a.pt")[1], state)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_protocol_that_torch_warns_about_is_silent(
    tmp_path: Path, state: dict[str, Tensor], protocol: int
) -> None:
    torch.save(state, tmp_path / "a", pickle_protocol=protocol)
    if protocol < 4:
        assert_equal(load_checkpoint(tmp_path / "a")[1], state)
    else:
        with pytest.raises(CheckpointError):
            load_checkpoint(tmp_path / "a")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_become_float32(tmp_path: Path, state: dict[str, Tensor], dtype: torch.dtype) -> None:
    torch.save({name: tensor.to(dtype) for name, tensor in state.items()}, tmp_path / "a")
    loaded = load_checkpoint(tmp_path / "a")[1]
    assert_equal(loaded, {name: tensor.to(dtype).float() for name, tensor in state.items()})


def test_written_file_has_masks_and_indices(tmp_path: Path, state: dict[str, Tensor]) -> None:
    write_official(tmp_path / "a.pth", CONFIG, state)
    stored = torch.load(tmp_path / "a.pth", weights_only=True)
    assert list(stored) == ["params"]
    assert stored["params"].keys() - state.keys() == {
        MASK,
        "layers.0.residual_group.blocks.0.attn.relative_position_index",
        "layers.0.residual_group.blocks.1.attn.relative_position_index",
        INDEX,
    }
    assert stored["params"][MASK].shape == (18 * 18, 49, 49)
    assert stored["params"][INDEX].dtype == torch.int64


def test_round_trip_through_our_file_changes_no_tensor(tmp_path: Path, state: dict[str, Tensor]) -> None:
    write_official(tmp_path / "a.pth", CONFIG, state, key="params_ema", training_size_px=21)
    first = read_checkpoint(tmp_path / "a.pth")
    save_checkpoint(tmp_path / "b", first.config, first.state_dict, metadata=first.metadata)
    second = read_checkpoint(tmp_path / "b")
    write_official(
        tmp_path / "c.pth",
        second.config,
        second.state_dict,
        key="params_ema",
        training_size_px=second.training_size_px,
    )
    there = torch.load(tmp_path / "a.pth", weights_only=True)
    back = torch.load(tmp_path / "c.pth", weights_only=True)
    assert there.keys() == back.keys()
    assert_equal(there["params_ema"], back["params_ema"])


@pytest.mark.parametrize(
    ("variant", "size_px"),
    [
        ("lightweight-x2", 64),
        ("classical-x4", 64),
        ("real-l-x4", 64),
        ("gray-denoise", 128),
        ("color-jpeg", 126),
    ],
)
def test_masks_are_for_the_published_training_size(variant: str, size_px: int) -> None:
    assert default_training_size_px(VARIANTS[variant]) == size_px


@pytest.mark.parametrize("size_px", [0, 7, 20, -14, 7 * 1000])
def test_impossible_training_size_is_refused(tmp_path: Path, state: dict[str, Tensor], size_px: int) -> None:
    with pytest.raises(ValueError, match=str(size_px)):
        write_official(tmp_path / "a", CONFIG, state, training_size_px=size_px)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("note", ["", "20", "-14", "1e9", "9" * 5000, "²¹"])
def test_impossible_note_of_a_training_size_is_unknown(
    tmp_path: Path, state: dict[str, Tensor], note: str
) -> None:
    save_checkpoint(tmp_path / "a", CONFIG, state, metadata={"training_size_px": note})
    assert read_checkpoint(tmp_path / "a").training_size_px is None


def test_file_without_masks_tells_no_training_size(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "a")
    assert read_checkpoint(tmp_path / "a").training_size_px is None


def test_mask_of_three_windows_a_side() -> None:
    mask = published_mask(2, 6)
    assert mask.shape == (9, 4, 4)
    hidden_pairs = (mask == -100).sum((1, 2)).reshape(3, 3)
    assert hidden_pairs.tolist() == [[0, 0, 8], [0, 0, 8], [8, 8, 12]]


def recording(path: Path) -> tuple[int, float, dict[str, Tensor]]:
    with safe_open(path, "pt") as file:
        original = json.loads(file.metadata()["config"])
        stored = {
            name.removeprefix("state."): file.get_tensor(name)
            for name in file.keys()  # noqa: SIM118
            if name.startswith("state.")
        }
    return original["img_size"], original["img_range"], stored


def test_every_recording_is_written_as_the_published_network_stores_it(shared: Path, tmp_path: Path) -> None:
    files = sorted((shared / "golden" / "network").glob("*.safetensors"))
    assert files
    for path in files:
        size_px, image_range, stored = recording(path)
        torch.save({"params": stored}, tmp_path / "a.pth")
        read = read_checkpoint(tmp_path / "a.pth")
        assert read.training_size_px == size_px
        assert read.config.image_range == image_range
        write_official(tmp_path / "b.pth", read.config, read.state_dict, training_size_px=size_px)
        written = torch.load(tmp_path / "b.pth", weights_only=True)["params"]
        assert_equal(written, stored)
        assert all(written[name].dtype is stored[name].dtype for name in stored)


def test_recording_without_wrapper_or_suffix_is_read_as_safetensors(shared: Path, tmp_path: Path) -> None:
    _, _, stored = recording(shared / "golden" / "network" / "classical_x3.safetensors")
    save_file(stored, tmp_path / "weights.pth")
    config, loaded = load_checkpoint(tmp_path / "weights.pth")
    assert (config.scale, config.upsampler) == (3, Upsampler.PIXEL_SHUFFLE)
    assert infer_config(loaded) == config


def test_another_image_range_can_be_given(tmp_path: Path, state: dict[str, Tensor]) -> None:
    write_official(tmp_path / "a.pth", CONFIG, state)
    config, loaded = load_checkpoint(tmp_path / "a.pth")
    save_checkpoint(tmp_path / "b", replace(config, image_range=1.0), loaded)
    assert load_checkpoint(tmp_path / "b")[0].image_range == 1.0


@pytest.mark.parametrize(
    "changes",
    [
        {"image_range": 1.0},
        {"image_range": 255.0, "window_size": 8},
        {"image_range": 255.0, "scale": 2, "upsampler": Upsampler.PIXEL_SHUFFLE_DIRECT},
        {"image_range": 4.0, "scale": 2, "upsampler": Upsampler.NEAREST_CONV},
    ],
)
def test_a_file_that_cannot_tell_its_image_range_holds_the_same_network_in_the_usual_one(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    config = replace(CONFIG, **changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SwinIR(config)
        image = torch.rand(1, 1, 9, 15)
    write_official(tmp_path / "a.pth", config, network.state_dict())
    read_config, read_state = load_checkpoint(tmp_path / "a.pth")
    assert read_config.image_range != config.image_range
    again = SwinIR(read_config)
    again.load_state_dict(read_state)
    with torch.no_grad():
        torch.testing.assert_close(again(image), network(image), rtol=0, atol=2e-5)
