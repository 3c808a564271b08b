"""Our file holds the network, its configuration and free notes, and appears whole or not at all."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from swinir.errors import CheckpointError
from swinir.model import SwinIR, SwinIRConfig, Upsampler
from swinir.weights import load_checkpoint, read_checkpoint, save_checkpoint
from swinir.weights.checkpoint import CONFIG_KEY, read_header

CONFIG = SwinIRConfig(
    scale=2,
    in_channels=3,
    embed_dim=4,
    depths=(1, 2),
    num_heads=(1, 2),
    window_size=2,
    upsampler=Upsampler.PIXEL_SHUFFLE_DIRECT,
)


@pytest.fixture
def state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = SwinIR(CONFIG).state_dict()
    return {name: torch.randn(tensor.shape, generator=generator) for name, tensor in shapes.items()}


def rewrite_config(path: Path, state: dict[str, Tensor], config: str) -> None:
    save_file(state, path, {CONFIG_KEY: config})


def changed_config(**changes: object) -> str:
    return json.dumps({**CONFIG.to_dict(), **changes})


def test_saved_network_is_loaded_again(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_checkpoint(tmp_path / "a", CONFIG, state)
    config, loaded = load_checkpoint(tmp_path / "a")
    assert config == CONFIG
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_path_may_be_a_string(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_checkpoint(str(tmp_path / "a"), CONFIG, state)
    assert load_checkpoint(str(tmp_path / "a"))[0] == CONFIG


def test_loaded_network_runs(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_checkpoint(tmp_path / "a", CONFIG, state)
    config, loaded = load_checkpoint(tmp_path / "a")
    network = SwinIR(config)
    network.load_state_dict(loaded)
    assert network(torch.zeros(1, 3, 3, 5)).shape == (1, 3, 6, 10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_are_stored_as_such_and_loaded_as_float32(
    tmp_path: Path, state: dict[str, Tensor], dtype: torch.dtype
) -> None:
    save_checkpoint(tmp_path / "a", CONFIG, state, dtype=dtype)
    with safe_open(tmp_path / "a", "pt") as file:
        assert file.get_tensor("norm.weight").dtype is dtype
    loaded = load_checkpoint(tmp_path / "a")[1]
    assert all(torch.equal(loaded[name], state[name].to(dtype).float()) for name in state)


def test_half_precision_takes_half_the_room(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_checkpoint(tmp_path / "whole", CONFIG, state)
    save_checkpoint(tmp_path / "half", CONFIG, state, dtype=torch.float16)
    values = sum(tensor.numel() for tensor in state.values())
    saved_bytes = (tmp_path / "whole").stat().st_size - (tmp_path / "half").stat().st_size
    assert abs(saved_bytes - 2 * values) < 64


def test_free_notes_come_back(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_checkpoint(tmp_path / "a", CONFIG, state, metadata={"steps": "5000", "licence": "CC0"})
    assert read_checkpoint(tmp_path / "a").metadata == {"steps": "5000", "licence": "CC0"}


def test_header_is_read_without_tensors(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_checkpoint(tmp_path / "a", CONFIG, state, metadata={"steps": "1"})
    config, metadata = read_header(tmp_path / "a")
    assert config == CONFIG
    assert metadata["steps"] == "1"


@pytest.mark.parametrize("key", [CONFIG_KEY, "format"])
def test_notes_cannot_take_the_files_own_keys(tmp_path: Path, state: dict[str, Tensor], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        save_checkpoint(tmp_path / "a", CONFIG, state, metadata={key: "x"})


def test_image_range_and_uneven_mlp_ratio_survive(tmp_path: Path, state: dict[str, Tensor]) -> None:
    config = replace(CONFIG, image_range=255.0, mlp_ratio=2.1)
    save_checkpoint(tmp_path / "a", config, state)
    assert load_checkpoint(tmp_path / "a")[0] == config


def test_plain_safetensors_of_another_program_are_loaded(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "a")
    config, loaded = load_checkpoint(tmp_path / "a")
    assert config == CONFIG
    assert torch.equal(loaded["norm.weight"], state["norm.weight"])


def test_loaded_tensors_do_not_depend_on_the_file(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_checkpoint(tmp_path / "a", CONFIG, state)
    loaded = load_checkpoint(tmp_path / "a")[1]
    with (tmp_path / "a").open("r+b") as file:
        file.write(bytes((tmp_path / "a").stat().st_size))
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_gradients_and_strides_stay_behind(tmp_path: Path, state: dict[str, Tensor]) -> None:
    network = SwinIR(CONFIG)
    network.load_state_dict(state)
    network.to(memory_format=torch.channels_last)
    save_checkpoint(tmp_path / "a", CONFIG, dict(network.named_parameters()))
    loaded = load_checkpoint(tmp_path / "a")[1]
    assert not any(tensor.requires_grad for tensor in loaded.values())
    assert all(tensor.is_contiguous() for tensor in loaded.values())
    assert torch.equal(loaded["conv_first.weight"], state["conv_first.weight"])


@pytest.mark.parametrize("spoil", ["missing", "unknown", "shape"])
def test_tensors_of_another_network_are_not_saved(
    tmp_path: Path, state: dict[str, Tensor], spoil: str
) -> None:
    match spoil:
        case "missing":
            del state["norm.weight"]
        case "unknown":
            state["norm.scale"] = torch.zeros(4)
        case _:
            state["norm.weight"] = torch.zeros(5)
    with pytest.raises(ValueError, match=r"norm\.(weight|scale)"):
        save_checkpoint(tmp_path / "a", CONFIG, state)
    assert not list(tmp_path.iterdir())


def test_value_too_large_for_the_type_is_not_saved(tmp_path: Path, state: dict[str, Tensor]) -> None:
    state["norm.weight"][2] = 1e6
    save_checkpoint(tmp_path / "whole", CONFIG, state)
    with pytest.raises(ValueError, match=r"norm\.weight has 1 values .* float16"):
        save_checkpoint(tmp_path / "half", CONFIG, state, dtype=torch.float16)
    assert not (tmp_path / "half").exists()


def test_integers_cannot_hold_weights(tmp_path: Path, state: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match="int8"):
        save_checkpoint(tmp_path / "a", CONFIG, state, dtype=torch.int8)


def test_failed_write_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(CheckpointError, match="No space left on device"):
        save_checkpoint(tmp_path / "a", CONFIG, state)
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_interrupted_write_leaves_nothing(
    tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path / "a", CONFIG, state)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["missing/a", "file/a", "folder"])
def test_unwritable_place_is_named(tmp_path: Path, state: dict[str, Tensor], place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match=f"{place} cannot be written"):
        save_checkpoint(tmp_path / place, CONFIG, state)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"scale": 4}, "scale"),
        ({"embed_dim": 4_000_000_000}, "embed_dim"),
        ({"depths": [1_000_000_000, 1], "num_heads": [1, 1]}, "depths"),
        ({"depths": [1] * 50, "num_heads": [1] * 50}, "depths"),
        ({"num_heads": [2, 2]}, "num_heads"),
        ({"window_size": 1_000_000}, "window_size"),
        ({"mlp_ratio": 1e308}, "mlp_ratio"),
        ({"mlp_ratio": 3.0}, "mlp_ratio"),
        ({"image_range": float("nan")}, "image_range"),
        ({"image_range": float("inf")}, "image_range"),
        ({"image_range": 10**400}, "image_range"),
        ({"image_range": "255"}, "config"),
        ({"in_channels": 1}, "in_channels"),
        ({"upsampler": "pixelshuffle"}, "upsampler"),
        ({"upsampler": "lanczos"}, "lanczos"),
        ({"residual_conv": "3conv"}, "residual_conv"),
        ({"window": 8}, "window"),
        ({"depths": "12"}, "config"),
        ({"depths": None}, "config"),
        ({"embed_dim": 0}, "above 0"),
        ({"num_heads": [0, 0]}, "above 0"),
    ],
)
def test_config_that_contradicts_its_tensors_is_refused(
    tmp_path: Path, state: dict[str, Tensor], changes: dict[str, object], complaint: str
) -> None:
    rewrite_config(tmp_path / "a", state, changed_config(**changes))
    with pytest.raises(CheckpointError, match=complaint) as caught:
        load_checkpoint(tmp_path / "a")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600 + len(str(tmp_path))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", '"x"', "{}", "[" * 100_000, "9" * 10_000, '{"depths": ' + "[" * 9_000],
    ids=["empty", "open", "list", "null", "number", "string", "nothing", "deep", "long", "deep value"],
)
def test_config_that_is_no_table_is_refused(tmp_path: Path, state: dict[str, Tensor], text: str) -> None:
    rewrite_config(tmp_path / "a", state, text)
    for read in (load_checkpoint, read_header):
        with pytest.raises(CheckpointError, match="config"):
            read(tmp_path / "a")
