"""Noise and JPEG are the published evaluation's, to the value and to the pixel."""

from pathlib import Path

import numpy as np
import pytest

from swinir.data.degradations import add_gaussian_noise, compress_jpeg
from swinir.data.pairs import read_pixels


def published_noise(rgb: np.ndarray, sigma: float) -> np.ndarray:
    """Add noise as the published evaluation reads: OpenCV's order of channels, the global seed 0, float64."""
    np.random.seed(0)  # noqa: NPY002  the published stream
    bgr = rgb[:, :, ::-1].astype(np.float32) / 255.0
    noisy = bgr + np.random.normal(0, sigma / 255.0, bgr.shape)  # noqa: NPY002
    return noisy[:, :, ::-1].astype(np.float32)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (9, 14, 3), dtype=np.uint8)


@pytest.mark.parametrize("sigma", [15, 25, 50])
def test_noise_of_seed_0_is_the_published_noise(picture, sigma):
    noisy = add_gaussian_noise(picture, sigma, np.random.RandomState(0))
    assert noisy.dtype == np.float32
    assert np.array_equal(noisy, published_noise(picture, sigma))


def test_noise_of_a_grey_picture_is_the_published_noise(picture):
    grey = picture[:, :, :1]
    assert np.array_equal(add_gaussian_noise(grey, 25, np.random.RandomState(0)), published_noise(grey, 25))


def test_noise_has_its_sigma_and_is_not_clipped():
    black = np.zeros((200, 200, 3), np.uint8)
    noisy = add_gaussian_noise(black, 50, np.random.RandomState(1))
    assert noisy.std() * 255 == pytest.approx(50, rel=0.01)
    assert noisy.mean() * 255 == pytest.approx(0, abs=1)
    assert noisy.min() < -0.5


@pytest.mark.parametrize(
    ("name", "channels", "quality"),
    [
        ("butterfly_gray_jpeg10", 1, 10),
        ("head_gray_jpeg10", 1, 10),
        ("butterfly_jpeg20", 3, 20),
        ("head_jpeg20", 3, 20),
    ],
)
def test_jpeg_is_opencvs_to_the_pixel(golden: Path, name, channels, quality):
    reference = read_pixels(golden / "metrics" / f"{name}_reference.png", channels)
    expected = read_pixels(golden / "metrics" / f"{name}_distorted.png", channels)
    assert np.array_equal(compress_jpeg(reference, quality), expected)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1, 1), (17, 9, 3), (9, 17, 1)])
def test_jpeg_keeps_any_size(shape):
    picture = np.full(shape, 130, np.uint8)
    compressed = compress_jpeg(picture, 90)
    assert compressed.shape == shape
    assert compressed.dtype == np.uint8
    assert np.abs(compressed.astype(int) - 130).max() <= 2


def test_jpeg_takes_a_turned_view_of_a_picture(picture):
    turned = picture.transpose(1, 0, 2)
    assert np.array_equal(compress_jpeg(turned, 50), compress_jpeg(turned.copy(), 50))


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_a_quality_that_does_not_exist_is_refused(picture, quality):
    with pytest.raises(ValueError, match=f"1 to 100, got {quality}"):
        compress_jpeg(picture, quality)
