"""Pixels into the network and out of it."""

import numpy as np
import pytest
from numpy.typing import DTypeLike

from swinir import imaging
from swinir.engine import pixels
from swinir.engine.tiling import Block

ALL = list(range(6))


def noise(shape: tuple[int, ...], dtype: DTypeLike = np.uint8, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).random(shape, np.float32)
    return values if np.dtype(dtype) == np.float32 else (values * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_pixels_come_back_as_they_went(dtype: DTypeLike) -> None:
    original = noise((40, 40, 3), dtype)
    unit = pixels.to_unit(original)
    assert unit.dtype == np.float32
    assert 0 <= unit.min() <= unit.max() <= 1
    assert np.array_equal(pixels.from_unit(unit, original.dtype), original)


def test_every_16_bit_value_survives() -> None:
    original = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    assert np.array_equal(pixels.from_unit(pixels.to_unit(original), original.dtype), original)


def test_values_beyond_the_range_are_clipped_and_halves_rounded_up() -> None:
    unit = np.array([[[-0.3], [1.4], [0.5], [2.5 / 255]]], np.float32)
    assert pixels.from_unit(unit, np.dtype(np.uint8)).ravel().tolist() == [0, 255, 128, 3]
    assert pixels.from_unit(unit, np.dtype(np.float32)).ravel()[:2].tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(5,), (3, 40, 40), (4, 4, 5), (1, 4, 4, 3)])
def test_shape_of_no_image_is_named(shape: tuple[int, ...]) -> None:
    problem = pixels.problem_with(np.zeros(shape, np.uint8))
    assert problem is not None
    assert str(shape) in problem


@pytest.mark.parametrize("shape", [(0, 4), (4, 0, 3), (0, 0, 1)])
def test_image_without_pixels_is_a_problem(shape: tuple[int, ...]) -> None:
    assert "at least one pixel" in (pixels.problem_with(np.zeros(shape, np.uint8)) or "")


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.bool_, np.float16])
def test_type_that_is_no_image_is_named(dtype: DTypeLike) -> None:
    problem = pixels.problem_with(np.zeros((4, 4, 3), dtype))
    assert problem is not None
    assert np.dtype(dtype).name in problem


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_float_that_is_not_finite_is_a_problem(value: float) -> None:
    image = np.zeros((4, 4, 3), np.float32)
    image[1, 2, 0] = value
    assert "finite" in (pixels.problem_with(image) or "")


def test_float_of_another_range_is_a_problem_that_names_the_values() -> None:
    problem = pixels.problem_with(np.array([[0, 254]], np.float32))
    assert problem is not None
    assert "254" in problem


def test_overshoot_of_bicubic_is_no_problem() -> None:
    assert pixels.problem_with(np.array([[-0.2, 1.2]], np.float32)) is None


def test_noise_of_the_published_test_sets_is_no_problem() -> None:
    noise_of_50 = np.random.RandomState(0).normal(0, 50 / 255, (512, 768, 3)).astype(np.float32)
    for level in (0, 1):
        assert pixels.problem_with(level + noise_of_50) is None


@pytest.mark.parametrize(("channels", "colours"), [(1, 1), (2, 1), (3, 3), (4, 3)])
def test_alpha_is_the_last_of_two_or_four_channels(channels: int, colours: int) -> None:
    image = noise((4, 5, channels))
    colour, alpha = pixels.split_alpha(image)
    assert colour.shape == (4, 5, colours)
    assert (alpha is None) == (channels in (1, 3))
    if alpha is not None:
        assert np.array_equal(alpha, image[:, :, -1])


def test_alpha_is_enlarged_within_its_range() -> None:
    alpha = np.zeros((6, 6), np.float32)
    alpha[2:4, 2:4] = 1
    enlarged = pixels.enlarge_alpha(alpha, 3)
    assert enlarged.shape == (18, 18)
    assert 0 <= enlarged.min() < enlarged.max() <= 1


def test_alpha_stays_as_it_is_where_nothing_is_enlarged() -> None:
    alpha = noise((6, 6))
    assert np.array_equal(pixels.enlarge_alpha(alpha, 1), alpha)


def test_gray_image_reaches_an_rgb_network_as_three_equal_channels() -> None:
    canvas = pixels.Canvas(noise((6, 6, 1)), in_channels=3, scale=1)
    tile = canvas.tile(ALL, ALL)
    assert tile.shape == (6, 6, 3)
    assert np.array_equal(tile[:, :, 0], tile[:, :, 2])


def test_gray_image_comes_back_gray_from_an_rgb_network() -> None:
    image = noise((6, 6, 1))
    canvas = pixels.Canvas(image, in_channels=3, scale=1)
    canvas.paint(Block(0, 0, canvas.tile(ALL, ALL)))
    assert np.array_equal(canvas.enlarged, image)


def test_colour_beside_a_restored_luma_stays() -> None:
    image = noise((6, 6, 3), np.float32) * 0.5 + 0.25
    canvas = pixels.Canvas(image, in_channels=1, scale=1)
    canvas.paint(Block(0, 0, canvas.tile(ALL, ALL) + np.float32(0.1)))
    np.testing.assert_allclose(canvas.enlarged, image + 0.1, atol=1e-6)


def test_colour_beside_an_enlarged_luma_is_bicubic() -> None:
    image = noise((6, 6, 3))
    canvas = pixels.Canvas(image, in_channels=1, scale=2)
    bicubic = imaging.resize_bicubic(image, 2)
    canvas.paint(Block(0, 0, pixels.luma(pixels.to_unit(bicubic))))
    assert np.array_equal(canvas.enlarged, bicubic)


def test_blocks_are_painted_in_their_places() -> None:
    image = noise((6, 6, 3))
    canvas = pixels.Canvas(image, in_channels=3, scale=1)
    tile = canvas.tile(ALL, ALL)
    canvas.paint(Block(4, 0, tile[4:]))
    canvas.paint(Block(0, 0, tile[:4, :5]))
    canvas.paint(Block(0, 5, tile[:4, 5:]))
    assert np.array_equal(canvas.enlarged, image)


def test_tile_shows_the_rows_and_columns_asked_for() -> None:
    image = noise((6, 6, 3), np.float32)
    canvas = pixels.Canvas(image, in_channels=3, scale=1)
    assert np.array_equal(canvas.tile([4, 5, 4], [0, 2]), image[[4, 5, 4]][:, [0, 2]])
