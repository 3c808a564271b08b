"""A user's own pairs: matched by name, checked by size, drawn at the same place."""

from pathlib import Path

import numpy as np
import pytest
import torch

from swinir import imaging
from swinir.data import CropLoader, StoredPairs, degraded_pairs
from swinir.data.stored import match_pairs, read_rounded, to_8_bits
from swinir.errors import DataError

CPU = torch.device("cpu")


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    imaging.write(imaging.Image(pixels=pixels), path)
    return path


def ramp(height: int, width: int, scale: int = 1) -> np.ndarray:
    """Code each pixel's place of low quality in its colour."""
    rows, columns = np.mgrid[: height * scale, : width * scale] // scale
    return np.stack([rows, columns, 255 - rows], axis=2).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, (height, width) in {"a": (20, 24), "deep/b": (18, 30)}.items():
        save(tmp_path / "lq" / f"{name}.png", ramp(height, width))
        save(tmp_path / "hq" / f"{name}.tif", ramp(height, width, 2))
    return tmp_path


def loader_of(folder: Path, **options) -> CropLoader:
    chosen = {"channels": 3, "scale": 2, "crop_px": 8, "batch_size": 16, "seed": 1, "device": CPU, **options}
    return CropLoader.from_folder(folder / "hq", lq_source=folder / "lq", **chosen)


def test_pictures_are_matched_by_name_whatever_their_format(folder):
    assert [(pair.name, pair.low, pair.original) for pair in match_pairs(folder / "lq", folder / "hq")] == [
        ("a", folder / "lq/a.png", folder / "hq/a.tif"),
        ("deep/b", folder / "lq/deep/b.png", folder / "hq/deep/b.tif"),
    ]


def test_lists_name_pairs_too(folder):
    (folder / "lq.txt").write_text("lq/a.png\nlq/deep\n")
    (folder / "hq.txt").write_text("hq/deep/b.tif\nhq/a.tif\n")
    pairs = match_pairs(folder / "lq.txt", folder / "hq.txt")
    assert [pair.original.name for pair in pairs] == ["a.tif", "b.tif"]


@pytest.mark.parametrize("side", ["lq", "hq"])
def test_a_picture_without_its_partner_is_named(folder, side):
    save(folder / side / "alone.png", ramp(20, 20))
    with pytest.raises(DataError, match=r"has no picture alone to pair with .*alone\.png"):
        loader_of(folder)


def test_two_pictures_of_one_name_are_refused(folder):
    save(folder / "lq" / "a.webp", ramp(20, 24))
    with pytest.raises(DataError, match="have the same name a"):
        loader_of(folder)


def test_sizes_that_do_not_belong_together_are_named(folder):
    save(folder / "hq" / "a.tif", ramp(20, 24))
    with pytest.raises(
        DataError, match=r"a\.tif is 24×20 pixels, which is not 2 times the 24×20 of .*a\.png"
    ):
        loader_of(folder)


def test_high_quality_of_an_odd_size_loses_its_last_row(folder):
    odd = np.pad(ramp(20, 24, 2), ((0, 1), (0, 1), (0, 0)))
    save(folder / "hq" / "a.tif", odd)
    low, high = (
        np.asarray(value) for value in (loader_of(folder).batch(0).lq, loader_of(folder).batch(0).hq)
    )
    assert np.array_equal(high[..., ::2, ::2], low)


def test_both_sides_of_a_crop_show_the_same_place(folder):
    for step in range(4):
        batch = loader_of(folder).batch(step)
        assert torch.equal(batch.hq[..., ::2, ::2], batch.lq)
        assert torch.equal(batch.hq[..., 1::2, 1::2], batch.lq)


def test_pairs_that_were_cached_are_drawn_alike(folder, tmp_path):
    plain = loader_of(folder).batch(2)
    for _ in range(2):
        mapped = loader_of(folder, cache=tmp_path / "cache").batch(2)
        assert torch.equal(mapped.lq, plain.lq)
        assert torch.equal(mapped.hq, plain.hq)


def test_pairs_that_are_too_small_are_named_counted_and_left_out(folder, caplog):
    save(folder / "lq" / "small.png", ramp(7, 30))
    save(folder / "hq" / "small.png", ramp(7, 30, 2))
    assert loader_of(folder).num_pixels == 4 * (20 * 24 + 18 * 30)
    assert "small.png is 30×7, smaller than a crop of 8×8 pixels" in caplog.text
    assert "1 pictures of" in caplog.text


def test_16_bits_are_rounded_and_that_is_said_once(folder, caplog):
    for name in ("a", "deep/b"):
        pixels = imaging.read(folder / "hq" / f"{name}.tif").pixels
        save(folder / "hq" / f"{name}.tif", pixels.astype(np.uint16) * 257)
    batch = loader_of(folder).batch(0)
    assert torch.equal(batch.hq[..., ::2, ::2], batch.lq)
    assert caplog.text.count("2 pictures of") == 1


def test_rounding_to_8_bits_takes_the_nearest():
    deep = np.array([[[0, 128, 129, 65535]]], np.uint16)
    assert to_8_bits(deep).tolist() == [[[0, 0, 1, 255]]]
    assert to_8_bits(np.array([[[-1.0, 0.5, 2.0]]], np.float32)).tolist() == [[[0, 128, 255]]]


def test_grey_and_colour_become_what_the_network_takes(tmp_path):
    grey = save(tmp_path / "grey.png", np.full((4, 5, 1), 7, np.uint8))
    assert read_rounded(grey, 3)[0].shape == (4, 5, 3)
    assert read_rounded(save(tmp_path / "colour.png", ramp(4, 5)), 1)[0].shape == (4, 5, 1)


def test_a_set_of_pairs_is_evaluated_as_it_is(folder):
    pairs = list(degraded_pairs(folder, StoredPairs(), scale=2))
    assert [pair.name for pair in pairs] == ["a", "deep/b"]
    assert all(np.array_equal(pair.hq[::2, ::2], pair.lq) for pair in pairs)
