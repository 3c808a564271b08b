"""Data sets on disk become pairs; what is missing or does not fit is named."""

from pathlib import Path

import numpy as np
import pytest

from swinir import imaging
from swinir.data import denoising_pairs, image_files, jpeg_pairs, super_resolution_pairs
from swinir.data.degradations import compress_jpeg
from swinir.data.pairs import read_pixels
from swinir.errors import DataError


def save(path: Path, height: int, width: int, channels: int = 3, *, seed: int = 0, dtype: type = np.uint8):
    path.parent.mkdir(parents=True, exist_ok=True)
    white = 255 if dtype is np.uint8 else 65535
    pixels = np.random.default_rng(seed).integers(0, white, (height, width, channels)).astype(dtype)
    imaging.write(
        imaging.Image(pixels=pixels, alpha=None, profile=None, metadata=imaging.Metadata(), notes=()), path
    )
    return pixels


def test_files_are_listed_sorted_from_all_depths_and_nothing_else(tmp_path):
    for name in ("b.png", "a/z.PNG", "a/y.jpg", "notes.txt", "c.png.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    names = [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path)]
    assert names == ["a/y.jpg", "a/z.PNG", "b.png"]


@pytest.mark.parametrize(
    "pairs", [lambda folder: super_resolution_pairs(folder, 2), lambda f: jpeg_pairs(f, 20)]
)
def test_a_folder_that_is_missing_or_empty_is_named(tmp_path, pairs):
    with pytest.raises(DataError, match="nowhere"):
        list(pairs(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no image in .*empty"):
        list(pairs(tmp_path / "empty"))
    (tmp_path / "a_file").touch()
    with pytest.raises(DataError, match="a_file"):
        list(pairs(tmp_path / "a_file"))


def test_grey_is_repeated_for_colour_and_colour_becomes_luma_for_grey(tmp_path):
    grey = save(tmp_path / "grey.png", 3, 4, 1)
    colour = save(tmp_path / "colour.png", 3, 4)
    assert np.array_equal(read_pixels(tmp_path / "grey.png", 3), grey.repeat(3, axis=2))
    luma = read_pixels(tmp_path / "colour.png", 1)
    assert luma.shape == (3, 4, 1)
    assert np.abs(luma[:, :, 0] - colour @ np.array([0.299, 0.587, 0.114])).max() <= 0.5 + 1e-6


def test_a_picture_of_16_bits_is_refused_by_name(tmp_path):
    save(tmp_path / "deep.png", 4, 4, dtype=np.uint16)
    with pytest.raises(DataError, match=r"deep\.png has uint16"):
        read_pixels(tmp_path / "deep.png", 3)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_twins_are_made_by_bicubic_from_whole_multiples(tmp_path, scale):
    original = save(tmp_path / "a.png", 25, 14)
    (pair,) = super_resolution_pairs(tmp_path, scale)
    assert pair.name == "a"
    assert pair.hq.shape == (25 // scale * scale, 14 // scale * scale, 3)
    assert np.array_equal(pair.hq, original[: pair.hq.shape[0], : pair.hq.shape[1]])
    assert np.array_equal(pair.lq, imaging.resize_bicubic(pair.hq, 1 / scale))


@pytest.mark.parametrize("name", ["a.png", "ax2.png", "A_LR.png", "a_x2.PNG"])
def test_twins_on_disk_are_taken_as_they_are(tmp_path, name):
    save(tmp_path / "HR" / "a.png", 16, 12)
    twin = save(tmp_path / "LR_bicubic" / "X2" / name, 8, 6, seed=9)
    (pair,) = super_resolution_pairs(tmp_path, 2)
    assert np.array_equal(pair.lq, twin)


def test_twins_of_another_scale_are_not_looked_at(tmp_path):
    save(tmp_path / "HR" / "a.png", 16, 12)
    save(tmp_path / "LR_bicubic" / "X4" / "a.png", 4, 3)
    (pair,) = super_resolution_pairs(tmp_path, 2)
    assert pair.lq.shape == (8, 6, 3)


def test_a_missing_twin_is_named(tmp_path):
    save(tmp_path / "HR" / "a.png", 16, 12)
    save(tmp_path / "LR_bicubic" / "X2" / "b.png", 8, 6)
    with pytest.raises(DataError, match=r"X2 has no low-resolution file of a: looked for .*ax2"):
        list(super_resolution_pairs(tmp_path, 2))


def test_a_twin_that_does_not_fit_is_named_with_both_sizes(tmp_path):
    save(tmp_path / "HR" / "a.png", 16, 12)
    save(tmp_path / "LR_bicubic" / "X2" / "ax2.png", 8, 5)
    with pytest.raises(DataError, match=r"ax2\.png is 5×8.*12×16"):
        list(super_resolution_pairs(tmp_path, 2))


@pytest.mark.parametrize(
    "pairs", [lambda folder: super_resolution_pairs(folder, 2), lambda f: jpeg_pairs(f, 20)]
)
def test_a_corrupt_picture_is_one_error_that_names_it(tmp_path, pairs):
    save(tmp_path / "a.png", 16, 12)
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"b\.png"):
        list(pairs(tmp_path))


def test_the_benchmarks_own_twins_equal_the_made_ones(shared):
    taken = {pair.name: pair.lq for pair in super_resolution_pairs(shared / "testsets" / "Set5", 4)}
    made = {pair.name: pair.lq for pair in super_resolution_pairs(shared / "testsets" / "Set5" / "HR", 4)}
    assert sorted(taken) == ["baby", "bird", "butterfly", "head", "woman"]
    assert all(np.array_equal(taken[name], made[name]) for name in taken)


def test_every_picture_gets_the_noise_of_seed_0(tmp_path):
    black = np.zeros((12, 10, 3), np.uint8)
    image = imaging.Image(pixels=black, alpha=None, profile=None, metadata=imaging.Metadata(), notes=())
    for name in ("a.png", "b.png"):
        imaging.write(image, tmp_path / name)
    first, second = denoising_pairs(tmp_path, 25)
    assert first.lq.dtype == np.float32
    assert first.hq.dtype == np.uint8
    assert np.array_equal(first.lq, second.lq)
    assert first.lq[0, 0, 2] == pytest.approx(np.random.RandomState(0).normal(0, 25 / 255))
    assert not np.array_equal(first.lq, next(iter(denoising_pairs(tmp_path, 50))).lq)


def test_grey_denoising_takes_full_range_luma(tmp_path):
    save(tmp_path / "HR" / "a.png", 12, 10)
    (pair,) = denoising_pairs(tmp_path, 15, channels=1)
    assert pair.lq.shape == pair.hq.shape == (12, 10, 1)
    assert np.array_equal(pair.hq, read_pixels(tmp_path / "HR" / "a.png", 1))


def test_grey_jpeg_takes_the_rounded_studio_luma_of_colour_and_grey_as_it_is(tmp_path):
    colour = save(tmp_path / "a.png", 12, 10)
    grey = save(tmp_path / "b.png", 12, 10, 1)
    of_colour, of_grey = jpeg_pairs(tmp_path, 20, channels=1)
    assert np.array_equal(of_colour.hq[:, :, 0], np.round(imaging.rgb_to_y(colour)))
    assert of_colour.hq.dtype == np.uint8
    assert np.array_equal(of_grey.hq, grey)
    assert np.array_equal(of_grey.lq, compress_jpeg(grey, 20))


def test_colour_jpeg_spoils_the_picture_itself(tmp_path):
    colour = save(tmp_path / "a.png", 12, 10)
    (pair,) = jpeg_pairs(tmp_path, 40)
    assert np.array_equal(pair.hq, colour)
    assert np.array_equal(pair.lq, compress_jpeg(colour, 40))
