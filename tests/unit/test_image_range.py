"""A file that does not say its image range is tried with both on a small picture."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from swinir import Restorer
from swinir.errors import UsageError
from swinir.model import SwinIR, SwinIRConfig, Upsampler
from swinir.weights import load_checkpoint, open_checkpoint, save_checkpoint
from swinir.weights.image_range import FoundRange, find_image_range, likeness
from swinir.weights.layout import in_range

TINY = SwinIRConfig(
    scale=1,
    in_channels=1,
    embed_dim=4,
    depths=(2,),
    num_heads=(2,),
    window_size=7,
    upsampler=Upsampler.NONE,
)
BUNDLED = Path(str(__import__("swinir").__path__[0])) / "weights" / "bundled"
RAMP = np.tile(np.linspace(0, 255, 16).astype(np.uint8)[None, :, None], (16, 1, 3))


@pytest.fixture(scope="module")
def denoiser() -> tuple[SwinIRConfig, dict[str, Tensor]]:
    return load_checkpoint(BUNDLED / "denoise.safetensors")


def write_silent(path: Path, config: SwinIRConfig, state: dict[str, Tensor], image_range: float) -> Path:
    """Write the network as if it were trained with an image range, without a word of it."""
    torch.save({"params": dict(in_range(state, config, image_range))}, path)
    return path


@pytest.mark.parametrize("name", sorted(path.stem for path in BUNDLED.glob("*.safetensors")))
@pytest.mark.parametrize("trained_with", [1.0, 255.0])
def test_every_model_of_the_package_is_known_by_its_pictures(name: str, trained_with: float) -> None:
    config, state = load_checkpoint(BUNDLED / f"{name}.safetensors")
    found = find_image_range(config, dict(in_range(state, config, trained_with)))
    assert found == FoundRange(image_range=trained_with, is_kept=True, is_clear=True)


def test_two_that_look_alike_are_asked_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It makes everything a little lighter or does nothing: both are what somebody may have wanted."""
    config = replace(TINY, window_size=8)
    state = {name: torch.zeros_like(tensor) for name, tensor in SwinIR(config).state_dict().items()}
    state["conv_last.bias"] += 0.05
    assert find_image_range(config, state) == FoundRange(image_range=1.0, is_kept=True, is_clear=False)
    torch.save(state, tmp_path / "a.pth")
    with caplog.at_level(logging.WARNING, "swinir"):
        assert open_checkpoint(tmp_path / "a.pth")[1].config.image_range == 1.0
    assert "1 and 255 give pictures that look alike: 1 is taken; say it with --image-range" in caplog.text


@pytest.mark.parametrize("trained_with", [1.0, 255.0])
def test_a_network_that_keeps_the_size_is_restored_with_what_it_was_trained_with(
    tmp_path: Path, denoiser: Any, trained_with: float
) -> None:
    config, state = denoiser
    path = write_silent(tmp_path / "a.pth", config, state, trained_with)
    assert open_checkpoint(path)[1].config.image_range == trained_with
    restored = Restorer.from_pretrained(path, device="cpu", precision="fp32")(RAMP)
    wanted = Restorer.from_pretrained("denoise", device="cpu", precision="fp32")(RAMP)
    assert np.abs(restored.astype(int) - wanted.astype(int)).max() <= 1


def test_what_was_found_against_the_rule_is_said(
    tmp_path: Path, denoiser: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_silent(tmp_path / "a.pth", *denoiser, 255.0)
    with caplog.at_level(logging.WARNING, "swinir"):
        open_checkpoint(path)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} does not say its image range: 255 is taken, which restores a picture as 1 does not; --image-range"
        " says otherwise"
    ]


def test_what_is_asked_for_is_taken(tmp_path: Path, denoiser: Any, caplog: pytest.LogCaptureFixture) -> None:
    path = write_silent(tmp_path / "a.pth", *denoiser, 255.0)
    assert open_checkpoint(path, image_range=1)[1].config.image_range == 1.0
    assert Restorer.from_pretrained(path, device="cpu", image_range=255).config.image_range == 255.0
    assert not caplog.records


@pytest.mark.parametrize("image_range", [0, -1, float("nan"), float("inf")])
def test_an_impossible_range_is_refused(image_range: float) -> None:
    with pytest.raises(UsageError, match="choose 1 or 255"):
        open_checkpoint("denoise", image_range=image_range)


def test_what_the_file_states_is_taken_as_it_is(tmp_path: Path, denoiser: Any) -> None:
    config, state = denoiser
    stated = replace(config, image_range=17.0)
    save_checkpoint(tmp_path / "a.safetensors", stated, state)
    assert open_checkpoint(tmp_path / "a.safetensors")[1].config == stated


def test_a_window_of_seven_is_no_proof_of_255(tmp_path: Path) -> None:
    """The bundled model against JPEG has windows of 7 and a range of 1, which the rule gets wrong."""
    config, state = load_checkpoint(BUNDLED / "dejpeg.safetensors")
    path = write_silent(tmp_path / "a.pth", config, state, 1.0)
    assert load_checkpoint(path)[0].image_range == 255.0
    assert open_checkpoint(path)[1].config.image_range == 1.0


def test_where_no_range_gives_a_picture_the_rule_stays_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = TINY
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(tensor.shape, generator=generator)
        for name, tensor in SwinIR(config).state_dict().items()
    }
    assert not find_image_range(config, state).is_kept
    torch.save(state, tmp_path / "a.pth")
    with caplog.at_level(logging.WARNING, "swinir"):
        assert open_checkpoint(tmp_path / "a.pth")[1].config.image_range == 255.0
    assert "neither 1 nor 255 gives a picture: 255 is taken; say it with --image-range" in caplog.text


def test_likeness_knows_a_picture_from_its_ruin() -> None:
    picture = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    larger = picture.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert likeness(picture, picture) == pytest.approx(1)
    assert likeness(picture, 0.2 + 0.5 * larger) == pytest.approx(1)
    assert likeness(picture, 1 - picture) == pytest.approx(-1)
    assert likeness(picture, torch.zeros_like(picture)) == 0
    assert likeness(picture, torch.full_like(picture, torch.nan)) == 0
