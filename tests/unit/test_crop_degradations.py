"""How training crops lose quality: noise of the drawn level, JPEG in its place, and no matter by how many."""

from collections import Counter

import numpy as np
import pytest
import torch

from swinir import imaging
from swinir.data import Bicubic, CropLoader, Degradation, GaussianNoise, Jpeg, PixelStore, RealWorld, Shard
from swinir.data.crop_degradations import JPEG_MARGIN_PX, jpeg_pair, margin_px, store_channels
from swinir.data.degradations import compress_jpeg

CPU = torch.device("cpu")


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(0.2 * rows * (c + 1) + 0.3 * columns + seed) for c in range(3)]
    return (127 + 100 * np.stack(waves, axis=2)).astype(np.uint8)


def flat(level: int, side: int = 48, channels: int = 3) -> np.ndarray:
    return np.full((side, side, channels), level, np.uint8)


def loader_of(
    degradation: Degradation,
    pictures=None,
    *,
    scale=1,
    crop_px=16,
    batch_size=8,
    seed=0,
    channels=3,
    shard=None,
    workers=1,
) -> CropLoader:
    return CropLoader(
        PixelStore.of([smooth(64, 80), smooth(56, 48, 2)] if pictures is None else pictures),
        scale=scale,
        crop_px=crop_px,
        batch_size=batch_size,
        seed=seed,
        device=CPU,
        degradation=degradation,
        channels=channels,
        shard=shard,
        workers=workers,
    )


def noise_of(loader: CropLoader, step: int = 0) -> torch.Tensor:
    """Return what was added, of 255."""
    batch = loader.batch(step)
    return 255 * (batch.lq - batch.hq)


def test_noise_of_one_level_has_that_level_in_every_crop():
    noise = noise_of(loader_of(GaussianNoise(sigma=(25, 25)), crop_px=32, batch_size=16))
    # 3,072 values a crop: their deviation is known to 1.3 %.
    assert noise.std(dim=(1, 2, 3)).numpy() == pytest.approx(np.full(16, 25), rel=0.07)
    assert noise.mean().item() == pytest.approx(0, abs=5 * 25 / noise.numel() ** 0.5)


def test_levels_are_drawn_evenly_from_the_whole_range_crop_by_crop():
    noise = noise_of(loader_of(GaussianNoise(sigma=(10, 50)), crop_px=32, batch_size=256))
    levels = noise.std(dim=(1, 2, 3))
    assert 10 * 0.93 < levels.min() < 12
    assert 48 < levels.max() < 50 * 1.07
    quarters = torch.histc(levels, bins=4, min=10, max=50)
    # 64 expected, deviation 7.
    assert 64 - 5 * 7 < quarters.min() <= quarters.max() < 64 + 5 * 7


def test_noise_is_normal_white_and_different_in_every_channel_and_crop():
    noise = noise_of(loader_of(GaussianNoise(sigma=(20, 20)), crop_px=32, batch_size=16)) / 20
    assert noise.pow(4).mean().item() == pytest.approx(3, abs=0.2)
    neighbours = (noise[..., 1:] * noise[..., :-1], noise[..., 1:, :] * noise[..., :-1, :])
    strangers = (noise[:, 1:] * noise[:, :-1], noise[1:] * noise[:-1])
    for products in (*neighbours, *strangers):
        assert abs(products.mean().item()) < 5 / products.numel() ** 0.5


def test_noise_is_neither_clipped_nor_rounded():
    batch = loader_of(GaussianNoise(sigma=(25, 25)), [flat(255), flat(0)]).batch(0)
    assert batch.lq.max() > 1.1
    assert batch.lq.min() < -0.1
    assert (255 * batch.lq - (255 * batch.lq).round()).abs().max() > 0.3
    assert set(batch.hq.unique().tolist()) == {0.0, 1.0}


def test_noise_is_a_pure_function_of_seed_and_step():
    noise = GaussianNoise(sigma=(0, 50))
    loader = loader_of(noise)
    again = noise_of(loader, 3)
    torch.rand(7)
    loader.batch(9)
    assert torch.equal(noise_of(loader, 3), again)
    assert torch.equal(noise_of(loader_of(noise), 3), again)
    for other in (noise_of(loader, 4), noise_of(loader_of(noise, seed=1), 3)):
        correlation = torch.corrcoef(torch.stack([again.flatten(), other.flatten()]))[0, 1]
        assert abs(correlation) < 0.1


def test_making_crops_leaves_the_global_generators_alone():
    torch_before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    for degradation in (GaussianNoise(sigma=(0, 50)), Jpeg(quality=(10, 90))):
        loader_of(degradation).batch(0)
    assert torch.equal(torch.random.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


DEGRADATIONS = {
    "bicubic": (Bicubic(), {"scale": 2}),
    "noise": (GaussianNoise(sigma=(0, 50)), {}),
    "jpeg": (Jpeg(quality=(10, 90)), {}),
    "grey jpeg": (Jpeg(quality=(10, 90)), {"channels": 1}),
    "real world": (RealWorld(), {"scale": 2}),
}


@pytest.mark.parametrize("name", DEGRADATIONS)
@pytest.mark.parametrize("count", [2, 4])
def test_processes_make_together_what_one_makes(name, count):
    degradation, options = DEGRADATIONS[name]
    whole = loader_of(degradation, **options)
    shards = [loader_of(degradation, **options, shard=Shard(index=i, count=count)) for i in range(count)]
    for step in (5, 6):
        expected = whole.batch(step)
        for index, shard in enumerate(shards):
            batch = shard.batch(step)
            assert torch.equal(batch.lq, expected.lq[index::count])
            assert torch.equal(batch.hq, expected.hq[index::count])


@pytest.mark.parametrize("name", ["jpeg", "real world"])
def test_neither_the_number_of_threads_nor_the_order_of_steps_matters(name):
    degradation, options = DEGRADATIONS[name]
    one, many = loader_of(degradation, **options), loader_of(degradation, **options, workers=4)
    expected = {step: one.batch(step) for step in (-2, -1, 0, 1, 2)}
    for step in (0, 2, 1, -1, -2, 2):
        batch = many.batch(step)
        assert torch.equal(batch.lq, expected[step].lq)
        assert torch.equal(batch.hq, expected[step].hq)


def psnr_db(one: np.ndarray, other: np.ndarray) -> float:
    error = one.astype(np.float64) - other
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def jpeg_crop(generator, *, quality=(95, 95), picture=None, crop_px=24, is_gray=False):
    hq = smooth(crop_px + JPEG_MARGIN_PX, crop_px + JPEG_MARGIN_PX) if picture is None else picture
    return jpeg_pair(hq, generator, quality=quality, crop_px=crop_px, is_gray=is_gray)


@pytest.mark.parametrize("is_gray", [False, True])
def test_both_qualities_of_a_jpeg_pair_show_the_same_place(is_gray):
    generator = np.random.default_rng(0)
    for _ in range(20):
        lq, hq = jpeg_crop(generator, is_gray=is_gray)
        assert lq.shape == hq.shape == (24, 24, 1 if is_gray else 3)
        in_place = psnr_db(lq, hq)
        moved = [
            psnr_db(np.roll(lq, shift, axis)[2:-2, 2:-2], hq[2:-2, 2:-2])
            for shift in (-1, 1)
            for axis in (0, 1)
        ]
        assert in_place > max(moved) + 5


def test_jpeg_of_lower_quality_is_further_from_its_original():
    figures = [
        np.mean([psnr_db(*jpeg_crop(np.random.default_rng(n), quality=(q, q))) for n in range(5)])
        for q in (10, 30, 90)
    ]
    assert figures[0] + 2 < figures[1] < figures[2] - 2


def test_every_quality_of_the_range_is_drawn_both_ends_included():
    picture = smooth(32, 32)
    compressed = {quality: compress_jpeg(picture, quality) for quality in range(28, 35)}
    generator, drawn = np.random.default_rng(0), Counter()
    for _ in range(200):
        lq, hq = jpeg_crop(generator, quality=(30, 32), picture=picture)
        top, left = place_of(hq, picture)
        cut = np.s_[top : top + 24, left : left + 24]
        drawn.update(quality for quality, pixels in compressed.items() if np.array_equal(pixels[cut], lq))
    assert set(drawn) == {30, 31, 32}
    assert min(drawn.values()) > 40


def place_of(crop: np.ndarray, picture: np.ndarray) -> tuple[int, int]:
    """Find a crop in its picture."""
    windows = np.lib.stride_tricks.sliding_window_view(picture, crop.shape)[:, :, 0]
    ((top, left),) = np.argwhere((windows == crop).all(axis=(2, 3, 4)))
    return int(top), int(left)


def test_a_jpeg_crop_begins_at_the_corner_half_the_time_and_else_anywhere():
    picture = np.random.default_rng(1).integers(0, 256, (16 + JPEG_MARGIN_PX,) * 2 + (3,), np.uint8)
    generator, places = np.random.default_rng(0), Counter()
    for _ in range(1000):
        _, hq = jpeg_crop(generator, picture=picture, crop_px=16)
        places[place_of(hq, picture)] += 1
    # 1/2, and one of the 81 places that are drawn otherwise; the deviation of 1,000 draws is 16.
    assert abs(places[0, 0] - 1000 * (1 / 2 + 1 / 162)) < 5 * 16
    tops, lefts = Counter(), Counter()
    for (top, left), count in places.items():
        if (top, left) != (0, 0):
            tops[top] += count
            lefts[left] += count
    for counts in (tops, lefts):
        assert set(counts) == set(range(JPEG_MARGIN_PX + 1))
        # 55 expected of each, 49 of the first.
        assert 25 < min(counts.values()) <= max(counts.values()) < 90


def test_grey_jpeg_learns_both_lumas_half_and_half():
    picture = smooth(32, 32)
    studio = imaging.rgb_to_y(picture).round().astype(np.uint8)[:, :, None]
    full = imaging.rgb_to_gray(picture)
    generator, num_studio = np.random.default_rng(0), 0
    for _ in range(400):
        _, hq = jpeg_crop(generator, picture=picture, is_gray=True)
        is_studio, is_full = (
            bool((np.lib.stride_tricks.sliding_window_view(luma, hq.shape) == hq).all(axis=(3, 4, 5)).any())
            for luma in (studio, full)
        )
        assert is_studio != is_full
        num_studio += is_studio
    # The deviation of 400 draws is 10.
    assert abs(num_studio - 200) < 50


def test_crops_for_jpeg_are_made_of_larger_ones_in_colour():
    jpeg = Jpeg(quality=(10, 40))
    assert (margin_px(jpeg), store_channels(jpeg, 1)) == (8, 3)
    for other in (Bicubic(), GaussianNoise(sigma=(0, 50)), RealWorld()):
        assert (margin_px(other), store_channels(other, 1)) == (0, 1)
    with pytest.raises(ValueError, match="24×24 pixels"):
        loader_of(jpeg, [flat(0, side=23)])
    batch = loader_of(jpeg, [smooth(24, 24)], channels=1).batch(0)
    assert batch.lq.shape == batch.hq.shape == (8, 1, 16, 16)


def test_a_jpeg_crop_lies_in_what_was_drawn_for_it_symmetry_included():
    loader = loader_of(Jpeg(quality=(90, 90)), batch_size=32)
    drawn, hq = loader.draw(0), as_uint8(loader.batch(0).hq)
    around = PixelStore.of([smooth(64, 80), smooth(56, 48, 2)]).gather(drawn, 24).numpy()
    assert set(drawn.symmetry.tolist()) == set(range(8))
    for crop, larger in zip(hq, around, strict=True):
        place_of(crop, larger)


def as_uint8(crops: torch.Tensor) -> np.ndarray:
    return (crops * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("scale", [2, 4])
def test_the_real_world_keeps_the_place_and_loses_quality(scale):
    rows, columns = np.mgrid[:72, :80]
    ramp = np.stack([3 * rows, 3 * columns, 240 - 3 * rows], axis=2).astype(np.uint8)
    batch = loader_of(RealWorld(), [ramp], scale=scale, crop_px=16, batch_size=8).batch(0)
    assert batch.lq.shape == (8, 3, 16, 16)
    assert batch.hq.shape == (8, 3, 16 * scale, 16 * scale)
    shrunk = torch.nn.functional.avg_pool2d(batch.hq, scale)
    correlations = [
        torch.corrcoef(torch.stack([lq.flatten(), hq.flatten()]))[0, 1].item()
        for lq, hq in zip(batch.lq, shrunk, strict=True)
    ]
    assert np.median(correlations) > 0.7
    assert (batch.lq - shrunk).abs().mean() > 0.01
