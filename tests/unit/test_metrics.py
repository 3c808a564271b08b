from math import inf

import numpy as np
import pytest

from swinir.metrics import psnr, psnr_b, ssim

METRICS = [psnr, ssim, psnr_b]


def noisy_pair(seed: int = 0, shape: tuple[int, ...] = (48, 40, 3)):
    generator = np.random.default_rng(seed)
    reference = generator.integers(0, 256, shape, dtype=np.uint8)
    noise = generator.integers(-20, 21, shape)
    return np.clip(reference + noise, 0, 255).astype(np.uint8), reference


def test_equal_images_have_infinite_psnr_and_full_similarity():
    _, image = noisy_pair()
    assert psnr(image, image) == inf
    assert ssim(image, image) == pytest.approx(1.0)


def test_an_error_of_one_everywhere_is_48_decibel():
    black = np.zeros((20, 20, 3), np.uint8)
    # 20 · log10(255)
    assert psnr(black + 1, black) == pytest.approx(48.1308, abs=1e-4)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("channel", ["rgb", "y"])
def test_depth_of_the_same_picture_changes_nothing(metric, channel):
    restored, reference = noisy_pair()
    of_8_bit = metric(restored, reference, 2, channel)
    of_16_bit = metric(restored.astype(np.uint16) * 257, reference.astype(np.uint16) * 257, 2, channel)
    of_float = metric(restored / 255, reference / 255, 2, channel)
    assert of_16_bit == pytest.approx(of_8_bit, abs=1e-9)
    assert of_float == pytest.approx(of_8_bit, abs=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_what_happens_in_the_border_does_not_count(metric):
    restored, reference = noisy_pair()
    spoiled = restored.copy()
    spoiled[:3], spoiled[-3:], spoiled[:, :3], spoiled[:, -3:] = 0, 255, 0, 255
    assert metric(spoiled, reference, 3) == metric(restored, reference, 3)
    assert metric(spoiled, reference, 0) != metric(restored, reference, 0)


@pytest.mark.parametrize("metric", METRICS)
def test_gray_is_measured_alike_with_and_without_a_channel_axis_and_on_y(metric):
    restored, reference = noisy_pair(shape=(30, 30, 1))
    expected = metric(restored, reference)
    assert metric(restored[:, :, 0], reference[:, :, 0]) == expected
    assert metric(restored, reference, 0, "y") == expected


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("rows", [63, 64, 65, 74, 75, 139])
def test_a_tall_image_is_measured_like_its_transpose(metric, rows):
    restored, reference = noisy_pair(shape=(rows, 20, 3))
    sideways = metric(restored.transpose(1, 0, 2), reference.transpose(1, 0, 2))
    assert metric(restored, reference) == pytest.approx(sideways, rel=1e-12)


def test_psnr_b_charges_steps_at_block_borders_only():
    reference = np.full((32, 32), 128, np.uint8)
    blocky = reference.copy()
    blocky[:, 8:16] += 4
    shifted = reference.copy()
    shifted[:, 4:12] += 4
    assert psnr(blocky, reference) == psnr(shifted, reference)
    assert psnr_b(blocky, reference) < psnr(blocky, reference)
    assert psnr_b(shifted, reference) == psnr(shifted, reference)


def test_ssim_of_opposite_images_is_negative():
    _, image = noisy_pair()
    assert ssim(255 - image, image) < 0


@pytest.mark.parametrize("metric", METRICS)
def test_images_that_differ_in_shape_or_type_are_refused(metric):
    image = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match="one shape and type"):
        metric(image, image[:31])
    with pytest.raises(ValueError, match="one shape and type"):
        metric(image, image.astype(np.float32))


@pytest.mark.parametrize(("metric", "least_px"), [(psnr, 1), (ssim, 11), (psnr_b, 16)])
def test_an_image_smaller_than_the_metric_needs_is_refused(metric, least_px):
    image = np.zeros((least_px + 4, least_px + 4, 3), np.uint8)
    metric(image, image, 2)
    with pytest.raises(ValueError, match=f"at least {least_px} pixels"):
        metric(image, image, 3)


@pytest.mark.parametrize("metric", METRICS)
def test_wrong_arguments_are_refused(metric):
    image = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match="border_px"):
        metric(image, image, -1)
    with pytest.raises(ValueError, match="channel"):
        metric(image, image, 0, "Y")
    with pytest.raises(ValueError, match="shape"):
        metric(image[:, :, :2], image[:, :, :2])
    with pytest.raises(ValueError, match="int64"):
        metric(image.astype(np.int64), image.astype(np.int64))
