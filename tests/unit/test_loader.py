"""Training crops: aligned, in all eight symmetries, from every place, and a pure function of seed and step."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from swinir import imaging
from swinir.data import CropLoader, PixelStore, Sampling
from swinir.data.store import CropIndices, mix_seed, open_store, turn
from swinir.errors import DataError

CPU = torch.device("cpu")


def coded(height: int, width: int, picture: int = 0) -> np.ndarray:
    """Make a picture whose pixels say which picture, row and column they are."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([np.full_like(rows, picture), rows, columns], axis=2).astype(np.uint8)


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(0.2 * rows * (c + 1) + 0.3 * columns + seed) for c in range(3)]
    return (127 + 120 * np.stack(waves, axis=2)).astype(np.uint8)


def loader_of(pictures, *, scale=2, crop_px=4, batch_size=8, seed=0) -> CropLoader:
    store = PixelStore.of(pictures)
    return CropLoader(store, scale=scale, crop_px=crop_px, batch_size=batch_size, seed=seed, device=CPU)


def eight(square: np.ndarray) -> list[np.ndarray]:
    """Turn and mirror a square [p, p, c] in every way."""
    turned = [np.rot90(square, quarter) for quarter in range(4)]
    return turned + [np.flipud(view) for view in turned]


def as_uint8(crops: torch.Tensor) -> np.ndarray:
    return (crops * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def test_the_symmetries_are_the_eight_of_a_square():
    square = np.arange(25).reshape(5, 5, 1)
    index = torch.arange(5)
    seen = []
    for symmetry in range(8):
        rows, columns = turn(index[:, None], index[None, :], torch.tensor([[[symmetry]]]), 5)
        seen.append(square[rows[0].numpy(), columns[0].numpy()].tobytes())
    assert len(set(seen)) == 8
    assert set(seen) == {view.tobytes() for view in eight(square)}


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_crops_of_both_qualities_show_the_same_place(scale):
    pictures = [smooth(12 * scale, 17 * scale, 1), smooth(9 * scale, 8 * scale, 2)]
    twins = [imaging.resize_bicubic(picture, 1 / scale) for picture in pictures]
    loader = loader_of(pictures, scale=scale, crop_px=5, batch_size=32)
    drawn, batch = loader.draw(3), loader.batch(3)
    assert batch.lq.shape == (32, 3, 5, 5)
    assert batch.hq.shape == (32, 3, 5 * scale, 5 * scale)
    lq, hq = as_uint8(batch.lq), as_uint8(batch.hq)
    way_of: dict[int, int] = {}
    for n in range(32):
        image, top, left, symmetry = (
            int(value[n]) for value in (drawn.image, drawn.top, drawn.left, drawn.symmetry)
        )
        low = twins[image][top : top + 5, left : left + 5]
        high = pictures[image][top * scale : (top + 5) * scale, left * scale : (left + 5) * scale]
        ways = [
            way
            for way, (a, b) in enumerate(zip(eight(low), eight(high), strict=True))
            if np.array_equal(a, lq[n]) and np.array_equal(b, hq[n])
        ]
        # One and the same way fits both qualities, and one drawn symmetry always means one way.
        assert ways == [way_of.setdefault(symmetry, ways[0])]
    assert len(set(way_of.values())) == len(way_of)


def test_a_crop_never_leaves_its_picture():
    pictures = [coded(8, 30, 1), coded(30, 8, 2), coded(8, 8, 3)]
    loader = loader_of(pictures, scale=2, crop_px=4, batch_size=256)
    crops = as_uint8(loader.batch(0).hq)
    for crop in crops:
        assert len(set(crop[:, :, 0].ravel())) == 1
        rows, columns = np.unique(crop[:, :, 1]), np.unique(crop[:, :, 2])
        assert np.array_equal(rows, np.arange(rows[0], rows[0] + 8))
        assert np.array_equal(columns, np.arange(columns[0], columns[0] + 8))


def test_every_place_in_every_symmetry_is_drawn_equally_often():
    # 3·5 + 1·2 places of 4×4 low-quality pixels.
    loader = loader_of([coded(12, 16), coded(8, 10)], batch_size=17 * 8 * 40)
    drawn = loader.draw(0)
    keys = torch.stack([drawn.image, drawn.top, drawn.left, drawn.symmetry], dim=1)
    places, counts = torch.unique(keys, dim=0, return_counts=True)
    assert len(places) == 17 * 8
    assert places.amax(0).tolist() == [1, 2, 4, 7]
    # 40 expected each; beyond 6 standard deviations is no chance.
    assert 40 - 6 * 40**0.5 < counts.min() <= counts.max() < 40 + 6 * 40**0.5


def test_pictures_are_drawn_equally_often_where_that_is_asked_for():
    store = PixelStore.of([coded(12, 16), coded(64, 64)])
    loader = CropLoader(
        store,
        scale=2,
        crop_px=4,
        batch_size=2000,
        seed=0,
        device=CPU,
        sampling=Sampling.UNIFORM_OVER_IMAGES,
    )
    drawn = loader.draw(0)
    # 1000 expected; beyond 6 standard deviations is no chance.
    assert abs((drawn.image == 0).sum() - 1000) < 6 * 500**0.5
    first = drawn.image == 0
    assert drawn.top[first].unique().tolist() == [0, 1, 2]
    assert drawn.left[first].unique().tolist() == [0, 1, 2, 3, 4]


def same(a: CropIndices, b: CropIndices) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in vars(a))


def test_a_batch_is_a_pure_function_of_seed_and_step():
    pictures = [smooth(32, 40)]
    loader, twin = loader_of(pictures), loader_of(pictures)
    twin.draw(99)
    torch.rand(5)
    assert same(loader.draw(7), twin.draw(7))
    assert torch.equal(loader.batch(7).hq, twin.batch(7).hq)
    assert not same(loader.draw(7), loader.draw(8))
    assert not same(loader.draw(7), loader_of(pictures, seed=1).draw(7))


def test_drawing_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    loader_of([smooth(32, 40)]).batch(0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_steps_before_the_first_are_batches_of_their_own():
    loader = loader_of([smooth(64, 80)])
    assert same(loader.draw(-3), loader.draw(-3))
    drawn = {tuple(loader.draw(step).top.tolist()) for step in range(-50, 50)}
    assert len(drawn) == 100


def test_seed_and_step_are_mixed_into_distinct_seeds():
    seeds = {mix_seed(seed, step) for seed in range(-2, 30) for step in range(-200, 200)}
    assert len(seeds) == 32 * 400
    assert 0 <= min(seeds) <= max(seeds) < 2**63
    # Flipping one bit of the step flips about half of the bits.
    flips = [(mix_seed(0, step) ^ mix_seed(0, step ^ 1)).bit_count() for step in range(1000)]
    assert 28 < np.mean(flips) < 35


def test_batches_are_float32_of_1_and_channels_last():
    picture = np.full((16, 16, 3), 255, np.uint8)
    batch = loader_of([picture], batch_size=2).batch(0)
    assert batch.hq.dtype == batch.lq.dtype == torch.float32
    assert batch.hq.min() == batch.hq.max() == 1.0
    assert batch.hq.is_contiguous(memory_format=torch.channels_last)


def test_grey_pictures_keep_one_channel():
    batch = loader_of([smooth(16, 24)[:, :, :1]], batch_size=2).batch(0)
    assert batch.lq.shape == (2, 1, 4, 4)
    assert batch.hq.shape == (2, 1, 8, 8)


def test_pictures_that_may_not_be_written_to_are_taken():
    picture = smooth(16, 16)
    picture.flags.writeable = False
    assert loader_of([picture]).num_pixels == 256


def test_the_store_finds_pictures_of_different_sizes():
    pictures = [coded(4, 7, 1), coded(9, 4, 2), coded(5, 5, 3)]
    store = PixelStore.of(pictures)
    whole = torch.tensor([0, 0, 0])
    crops = store.crops(
        CropIndices(
            image=torch.tensor([2, 0, 1]),
            top=torch.tensor([1, 0, 5]),
            left=torch.tensor([1, 3, 0]),
            symmetry=whole,
        ),
        4,
    )
    expected = [pictures[2][1:5, 1:5], pictures[0][:4, 3:7], pictures[1][5:9, :4]]
    assert np.array_equal(as_uint8(crops), np.stack(expected))


def test_a_picture_that_holds_no_crop_is_refused():
    with pytest.raises(ValueError, match="8×8 pixels"):
        loader_of([smooth(16, 16), smooth(16, 6)])


def save(path: Path, pixels: np.ndarray) -> None:
    imaging.write(
        imaging.Image(pixels=pixels, alpha=None, profile=None, metadata=imaging.Metadata(), notes=()), path
    )


def test_a_picture_smaller_than_a_crop_is_named_and_left_out(tmp_path, caplog):
    save(tmp_path / "large.png", smooth(40, 40))
    save(tmp_path / "small.png", smooth(40, 15))
    with caplog.at_level(logging.WARNING):
        assert len(list(open_store(tmp_path, channels=3, scale=2, smallest_px=16).pictures())) == 1
    assert re.search(r"small\.png is 14×40, smaller than a crop of 16×16 pixels", caplog.text)


def test_a_corrupt_picture_is_named_and_left_out(tmp_path, caplog):
    save(tmp_path / "good.png", smooth(17, 19))
    (tmp_path / "bad.png").write_bytes((tmp_path / "good.png").read_bytes()[:200])
    with caplog.at_level(logging.WARNING):
        (picture,) = open_store(tmp_path, channels=3, scale=2, smallest_px=16).pictures()
    assert np.array_equal(picture, smooth(17, 19)[:16, :18])
    assert "bad.png" in caplog.text


def test_a_folder_of_nothing_readable_is_named(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=str(tmp_path)):
        open_store(tmp_path, channels=3, scale=2, smallest_px=16)


def test_a_folder_is_read_as_its_pictures(tmp_path):
    (tmp_path / "deep").mkdir()
    save(tmp_path / "a.png", smooth(20, 21, 1))
    save(tmp_path / "deep" / "b.png", smooth(19, 24, 2))
    options = {"scale": 2, "crop_px": 4, "batch_size": 4, "seed": 5, "device": CPU}
    read = CropLoader.from_folder(tmp_path, channels=3, **options)
    given = CropLoader(PixelStore.of([smooth(20, 21, 1)[:, :20], smooth(19, 24, 2)[:18]]), **options)
    assert torch.equal(read.batch(1).hq, given.batch(1).hq)
    assert torch.equal(read.batch(1).lq, given.batch(1).lq)
