"""Images through the Restorer, with the small recorded networks."""

import copy
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from networks import watch_network
from recordings import read_recording, tame
from swinir import imaging
from swinir.engine import Restorer, ensemble, memory, pixels, tiling
from swinir.engine.budget import Budget, TileBatch
from swinir.errors import (
    ImageError,
    ImageReadError,
    ImageWriteError,
    RestoreError,
    UnknownModelError,
    UsageError,
)
from swinir.imaging import Image, Metadata
from swinir.jobs import Outcome, plan_jobs, restore_files
from swinir.ops import select_backend
from swinir.weights import catalog, save_checkpoint

MakeRestorer = Callable[..., Restorer]


@pytest.fixture(scope="session")
def make(golden: Path) -> MakeRestorer:
    def make_restorer(name: str = "lightweight_x2", *, is_tame: bool = True, **options: Any) -> Restorer:
        config, state_dict, _ = read_recording(golden / "network" / f"{name}.safetensors")
        if is_tame:
            state_dict = tame(state_dict)
        return Restorer(config, state_dict, **{"device": "cpu", "precision": "fp32", **options})

    return make_restorer


@pytest.fixture(scope="session")
def x2(make: MakeRestorer) -> Restorer:
    return make()


def picture(
    height: int, width: int, channels: int | None = 3, dtype: Any = np.uint8, seed: int = 0
) -> np.ndarray:
    """Soft shapes with some noise, [H, W] or [H, W, C], within the middle half of the range."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    count = channels or 1
    waves = np.stack([np.sin(x / (5 + c) + y / 9) + np.cos(y / (4 + c)) for c in range(count)], axis=-1)
    unit = 0.5 + waves / 10 + 0.02 * random.standard_normal(waves.shape)
    values = unit.astype(np.float32)
    if np.dtype(dtype) != np.float32:
        values = (unit * np.iinfo(dtype).max).astype(dtype)
    return values if channels else values[:, :, 0]


def test_network_gets_what_the_recording_got(make: MakeRestorer, golden: Path) -> None:
    lq, expected = read_recording(golden / "network" / "lightweight_x2.safetensors").pairs[0]
    restored = make(is_tame=False).restore_batch(lq[:1])
    torch.testing.assert_close(restored, expected[:1].clamp(0, 1), atol=2e-5, rtol=0)


def test_borders_are_restored_as_if_the_image_went_on_by_reflection(x2: Restorer) -> None:
    image = picture(40, 50, 3, np.float32)
    around = np.pad(image, ((4, 4), (4, 10), (0, 0)), mode="reflect")
    lq = torch.from_numpy(around).permute(2, 0, 1)[None]
    expected = x2.restore_batch(lq)[0].permute(1, 2, 0)[8:88, 8:108]
    np.testing.assert_allclose(x2(image), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_array_keeps_its_type_and_channels(x2: Restorer, dtype: Any, channels: int | None) -> None:
    image = picture(9, 14, channels, dtype)
    restored = x2(image)
    assert restored.dtype == image.dtype
    assert restored.shape == (18, 28, *image.shape[2:])


@pytest.mark.parametrize("has_alpha", [False, True])
def test_grey_that_is_stored_as_colours_stays_grey(x2: Restorer, *, has_alpha: bool) -> None:
    grey = picture(21, 30, 1)
    alpha = [picture(21, 30, 1, seed=1)] * has_alpha
    restored = x2(np.concatenate([grey, grey, grey, *alpha], axis=2))
    assert np.array_equal(restored[:, :, :3], x2(grey).repeat(3, axis=2))
    # One pixel of colour makes a coloured picture of it, whose channels the network decides on.
    coloured = grey.repeat(3, axis=2)
    coloured[7, 7, 0] += 1
    assert np.ptp(x2(coloured), axis=2).max() > 0


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (8, 8), (9, 1), (13, 41)])
def test_any_size_is_restored(x2: Restorer, size: tuple[int, int]) -> None:
    assert x2(picture(*size)).shape == (2 * size[0], 2 * size[1], 3)


def test_depths_agree(x2: Restorer) -> None:
    image = picture(20, 20)
    from_8_bit = x2(image).astype(int)
    from_16_bit = x2(image.astype(np.uint16) * 257)
    from_float = x2(image.astype(np.float32) / 255)
    assert np.abs(from_16_bit / 257 - from_8_bit).max() <= 0.51
    assert np.abs(from_float * 255 - from_8_bit).max() <= 0.51


def test_result_stays_within_the_range(make: MakeRestorer) -> None:
    stripes = np.zeros((16, 16, 3), np.float32)
    stripes[::2] = 1
    restored = make(is_tame=False)(stripes)
    assert restored.min() == 0
    assert restored.max() == 1


def test_input_is_left_as_it_was_even_where_it_may_not_be_written(x2: Restorer) -> None:
    image = picture(12, 12)
    image.flags.writeable = False
    before = image.copy()
    x2(image)
    assert np.array_equal(image, before)


def test_memory_layout_of_the_input_does_not_matter(x2: Restorer) -> None:
    image = picture(12, 17)
    turned = np.asfortranarray(image)[::-1, :, ::-1]
    assert np.array_equal(x2(turned), x2(np.ascontiguousarray(turned)))


def test_alpha_is_enlarged_beside_the_colours(x2: Restorer) -> None:
    image = picture(12, 14, 4)
    restored = x2(image)
    assert np.array_equal(restored[:, :, :3], x2(np.ascontiguousarray(image[:, :, :3])))
    assert np.array_equal(restored[:, :, 3], imaging.resize_bicubic(image[:, :, 3], 2))


def test_gray_through_an_rgb_network_is_the_luma_of_three_equal_channels(x2: Restorer) -> None:
    gray = picture(12, 14, None, np.float32)
    expected = pixels.luma(x2(np.stack([gray] * 3, axis=-1)))[:, :, 0]
    np.testing.assert_allclose(x2(gray), expected, atol=1e-6)


def test_rgb_through_a_gray_network_keeps_its_colours(make: MakeRestorer) -> None:
    denoise = make("gray_denoise")
    image = picture(12, 14, 3, np.float32)
    restored = denoise(image)
    luma = pixels.luma(image)
    np.testing.assert_allclose(pixels.luma(restored), denoise(luma), atol=1e-6)
    np.testing.assert_allclose(restored - pixels.luma(restored), image - luma, atol=1e-6)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((0, 4, 3), np.uint8), r"at least one pixel.*\(0, 4, 3\)"),
        (np.zeros((3, 16, 16), np.uint8), r"\(3, 16, 16\)"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (np.full((4, 4, 3), 200, np.float32), "200"),
        (np.full((4, 4, 3), np.nan, np.float32), "NaN"),
    ],
)
def test_array_that_is_no_image_is_a_value_error(x2: Restorer, image: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        x2(image)


def test_something_else_is_a_type_error(x2: Restorer) -> None:
    with pytest.raises(TypeError, match="list"):
        x2([[1, 2], [3, 4]])  # type: ignore[call-overload]


def test_image_keeps_profile_metadata_and_notes(x2: Restorer) -> None:
    image = Image(
        pixels=picture(10, 12, 3, np.uint16),
        alpha=picture(10, 12, None, np.uint16),
        profile=b"profile",
        metadata=Metadata(xmp=b"<x/>", resolution=(3.0, 4.0)),
        notes=("first of 2 frames",),
    )
    restored = x2(image)
    assert np.array_equal(restored.pixels, x2(image.pixels))
    assert restored.alpha is not None
    assert restored.alpha.shape == (20, 24)
    assert restored.alpha.dtype == np.uint16
    assert replace(restored, pixels=image.pixels, alpha=image.alpha).metadata is image.metadata
    assert (restored.profile, restored.notes) == (image.profile, image.notes)


def test_values_of_a_file_beyond_0_to_1_are_scaled_to_it_and_back(x2: Restorer) -> None:
    unit = np.random.default_rng(0).random((6, 7, 3), np.float32)
    unit[0, 0, 0], unit[5, 6, 2] = 0, 1
    wanted = x2(Image(pixels=unit)).pixels
    for low, high in ((0, 254), (-3, 1), (0, 2e9)):
        restored = x2(Image(pixels=unit * np.float32(high - low) + np.float32(low)))
        np.testing.assert_allclose((restored.pixels - low) / (high - low), wanted, atol=1e-4)
        assert restored.notes == ("Values beyond 0 to 1 were scaled to it for the network, and back.",)


def test_a_file_with_values_that_are_not_finite_is_an_image_error(x2: Restorer) -> None:
    for value in (np.inf, np.nan):
        with pytest.raises(ImageError, match="finite"):
            x2(Image(pixels=np.full((4, 4, 1), value, np.float32)))


@pytest.mark.parametrize("tile", [32, 56])
@pytest.mark.parametrize("name", ["lightweight_x2", "lightweight_x3", "gray_denoise", "color_jpeg"])
def test_tiled_is_whole(make: MakeRestorer, name: str, tile: int) -> None:
    image = picture(90, 131, make(name).config.in_channels, np.float32)
    difference = make(name, tile=tile)(image) - make(name, tile=None)(image)
    assert -10 * np.log10(np.mean(difference**2)) > 70


def test_ensemble_is_the_mean_of_eight(make: MakeRestorer, x2: Restorer) -> None:
    image = picture(16, 24, 3, np.float32)
    lq = torch.from_numpy(image).permute(2, 0, 1)[None]
    turned = [ensemble.turn(lq, symmetry)[0].permute(1, 2, 0).numpy() for symmetry in range(8)]
    restored = [torch.from_numpy(x2(each)).permute(2, 0, 1)[None] for each in turned]
    mean = sum(ensemble.turn_back(each, symmetry) for symmetry, each in enumerate(restored))
    expected = (mean / 8)[0].permute(1, 2, 0).numpy()  # type: ignore[operator]
    assert np.abs(make(ensemble=True)(image) - expected).max() < 1e-5
    assert np.abs(x2(image) - expected).max() > 1e-3


@pytest.mark.parametrize("options", [{"tile": None}, {"tile": 32}, {"tile": 32, "ensemble": True}])
def test_progress_begins_at_nothing_and_ends_with_all(make: MakeRestorer, options: dict[str, Any]) -> None:
    told: list[tuple[int, int]] = []
    make(**options)(picture(50, 60), lambda done, total: told.append((done, total)))
    done, totals = zip(*told, strict=True)
    assert done[0] == 0
    assert done[-1] == totals[0]
    assert list(done) == sorted(done)
    assert len(set(totals)) == 1
    assert len(told) > 2


def test_error_in_progress_stops_and_leaves_the_restorer_usable(x2: Restorer) -> None:
    def stop(done: int, _total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        x2(picture(20, 20), stop)
    assert x2(picture(20, 20)).shape == (40, 40, 3)


def test_eight_threads_get_what_one_gets(make: MakeRestorer) -> None:
    restorer = make(tile=32)
    images = [picture(40 + 3 * index, 50 + index, seed=index) for index in range(8)]
    expected = [restorer(image) for image in images]
    results: dict[int, list[np.ndarray]] = {}

    def work(index: int) -> None:
        results[index] = [restorer(images[index]) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, each in results.items():
        assert all(np.array_equal(restored, expected[index]) for restored in each)
    assert len(results) == 8


def test_nothing_global_is_touched(make: MakeRestorer) -> None:
    def settings() -> tuple[Any, ...]:
        return (
            torch.random.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # type: ignore[index,union-attr]  # noqa: NPY002
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.is_autocast_enabled("cpu"),
        )

    before = settings()
    make(precision="bf16")(picture(60, 60))
    assert settings() == before


def test_images_can_be_restored_while_gradients_are_wanted(x2: Restorer) -> None:
    with torch.enable_grad():
        assert x2(picture(9, 9)).shape == (18, 18, 3)


def test_bf16_is_close_to_fp32(make: MakeRestorer, x2: Restorer) -> None:
    image = picture(40, 40, 3, np.float32)
    difference = make(precision="bf16", backend="reference")(image) - x2(image)
    assert np.abs(difference).max() > 0
    assert -10 * np.log10(np.mean(difference**2)) > 50


def test_default_type_of_pytorch_does_not_matter(make: MakeRestorer, x2: Restorer) -> None:
    image = picture(40, 40)
    expected = x2(image)
    # Tiles that are measured first, and layers that are made then.
    for dtype in (torch.float64, torch.float16):
        torch.set_default_dtype(dtype)
        try:
            for backend in ("auto", "reference"):
                restorer = make(backend=backend)
                assert restorer.forward_pass.network.model.mean.dtype is torch.float32
                restorer.budget.choose(1000, 1000)
                assert np.abs(restorer(image).astype(int) - expected).max() <= 1
        finally:
            torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_a_copy_restores_the_same_with_the_same_options(
    make: MakeRestorer, copied: Callable[[Restorer], Restorer]
) -> None:
    restorer = make(tile=32, ensemble=True)
    twin = copied(restorer)
    assert twin.describe() == restorer.describe()
    assert np.array_equal(twin(picture(40, 40)), restorer(picture(40, 40)))


def test_a_batch_is_restored_as_images_are(make: MakeRestorer) -> None:
    restorer = make(tile=None)
    images = [picture(12, 20, 3, np.float32, seed) for seed in range(3)]
    lq = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    restored = restorer.restore_batch(lq)
    assert (restored.dtype, restored.requires_grad) == (torch.float32, False)
    for index, image in enumerate(images):
        alone = restorer.restore_batch(torch.from_numpy(image).permute(2, 0, 1)[None])[0]
        torch.testing.assert_close(restored[index], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "lq",
    [torch.rand(3, 8, 8), torch.rand(1, 1, 8, 8), torch.rand(0, 3, 8, 8), torch.zeros(1, 3, 8, 8).byte()],
)
def test_a_tensor_that_is_no_batch_is_a_usage_error(x2: Restorer, lq: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"a batch is \[B, 3, H, W\] of floats"):
        x2.restore_batch(lq)


def test_many_images_are_restored_one_by_one_in_order(x2: Restorer) -> None:
    images = [
        picture(9, 14),
        picture(9, 14, 4, seed=1),
        picture(20, 8, None, np.uint16),
        Image(pixels=picture(9, 14)),
    ]
    results = list(x2.restore_many(iter(images)))
    for image, result in zip(images, results, strict=True):
        assert type(result) is type(image)
        if isinstance(image, Image):
            assert np.array_equal(result.pixels, x2(image).pixels)
        else:
            assert np.array_equal(result, x2(image))


def test_no_image_is_taken_before_it_is_asked_for(x2: Restorer) -> None:
    taken: list[int] = []

    def frames() -> Iterator[np.ndarray]:
        for number in range(4):
            taken.append(number)
            yield picture(8, 8, seed=number)

    results = x2.restore_many(frames())
    assert taken == []
    next(results)
    # The next one shows whether it has the same size.
    assert taken in ([0], [0, 1])


def fail_beyond(restorer: Restorer, most_px: int) -> list[tuple[int, ...]]:
    """Make the network run out of memory on inputs of more pixels; returns the list of shapes it was given."""
    shapes: list[tuple[int, ...]] = []

    def check(lq: torch.Tensor) -> None:
        shapes.append(tuple(lq.shape))
        if lq.shape[0] * lq.shape[-1] * lq.shape[-2] > most_px:
            raise torch.OutOfMemoryError("CUDA out of memory")

    watch_network(restorer).checks.append(check)
    return shapes


def test_auto_tiles_shrink_until_they_fit(make: MakeRestorer) -> None:
    restorer = make()
    image = picture(200, 230)
    expected = make(tile=120)(image)
    shapes = fail_beyond(restorer, 130 * 130)
    assert np.array_equal(restorer(image), expected)
    assert shapes[-1][-1] <= 120


def test_image_too_large_for_the_tile_asked_for_is_an_error(make: MakeRestorer) -> None:
    restorer = make(tile=None)
    fail_beyond(restorer, 100)
    with pytest.raises(RestoreError, match="not enough memory"):
        restorer(picture(20, 20))


def test_auto_tiles_fit_the_memory_that_is_free(make: MakeRestorer, monkeypatch: pytest.MonkeyPatch) -> None:
    restorer = make()
    shapes = fail_beyond(restorer, 10**9)
    restorer(picture(200, 230))
    assert shapes[-1][-2:] == (208, 240)
    monkeypatch.setattr(memory, "available_bytes", lambda _: 4 * 2**20)
    restorer(picture(200, 230))
    assert shapes[-1][-1] < 200
    assert restorer.budget.cost is not None
    assert (
        restorer.budget.cost.bytes_for(shapes[-1][-1] * shapes[-1][-2])
        < memory.FREE_MEMORY_FRACTION * 20 * 2**20
    )


def choose_batches_of(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every Restorer begin with so many tiles of 32 pixels at once."""

    def choose(_budget: Budget, height: int, width: int, **_: Any) -> TileBatch:
        cut = tiling.plan(height, width, window_size=8, tile_px=32, context_px=4)
        return TileBatch(plan=cut, batch=batch)

    monkeypatch.setattr(Budget, "choose", choose)


def test_tiles_go_through_a_gpu_in_batches(make: MakeRestorer, monkeypatch: pytest.MonkeyPatch) -> None:
    restorer = make(tile=32)
    image = picture(100, 130)
    expected = restorer(image)
    choose_batches_of(5, monkeypatch)
    shapes = fail_beyond(restorer, 10**9)
    np.testing.assert_allclose(restorer(image).astype(int), expected, atol=1)
    assert {shape[0] for shape in shapes[:-1]} == {5}


def test_batches_shrink_until_they_fit(make: MakeRestorer, monkeypatch: pytest.MonkeyPatch) -> None:
    restorer = make(tile=32)
    choose_batches_of(8, monkeypatch)
    shapes = fail_beyond(restorer, 3 * 32 * 32)
    assert restorer(picture(100, 130)).shape == (200, 260, 3)
    assert [shape[0] for shape in shapes[:3]] == [8, 4, 2]


def test_overflow_is_an_error_that_names_the_precision(golden: Path) -> None:
    config, state_dict, _ = read_recording(golden / "network" / "lightweight_x2.safetensors")
    state_dict["conv_first.weight"].fill_(torch.inf)
    restorer = Restorer(config, state_dict, device="cpu", precision="fp32")
    with pytest.raises(RestoreError, match="overflows in fp32"):
        restorer(picture(10, 10))


def test_description_tells_what_computes_where(make: MakeRestorer) -> None:
    described = make(name="lightweight_x3", tile=64).describe()
    assert described["scale"] == 3
    assert described["device"] == "cpu"
    assert described["precision"] == "fp32"
    backend = select_backend(torch.device("cpu"), torch.float32, ())
    assert (described["backend"], described["reason"]) == (backend.name, backend.reason)
    assert described["tile"] == 64
    assert json.loads(json.dumps(described)) == described


@pytest.mark.parametrize("tile", [0, -1, 16, 31, "none", 64.0, True])
def test_tile_that_cannot_be_is_named(make: MakeRestorer, tile: Any) -> None:
    with pytest.raises(ValueError, match=rf"tile (is|of) {tile!r}"):
        make(tile=tile)


def test_parameters_of_another_network_are_an_error(golden: Path) -> None:
    config, state_dict, _ = read_recording(golden / "network" / "lightweight_x2.safetensors")
    with pytest.raises(ValueError, match="parameters are not those"):
        Restorer(replace(config, embed_dim=24), state_dict)


def test_model_is_loaded_from_a_file(golden: Path, tmp_path: Path, make: MakeRestorer) -> None:
    config, state_dict, _ = read_recording(golden / "network" / "lightweight_x2.safetensors")
    path = tmp_path / "mine.safetensors"
    save_checkpoint(path, config, state_dict)
    restorer = Restorer.from_pretrained(path, device="cpu", precision="fp32")
    assert restorer.describe()["model"] == "mine"
    assert np.array_equal(restorer(picture(9, 9)), make(is_tame=False)(picture(9, 9)))


def test_model_that_is_not_there_is_an_error() -> None:
    with pytest.raises(UnknownModelError):
        Restorer.from_pretrained("lightweight-x5")


def test_a_model_with_a_name_keeps_it_whatever_its_file_is_called(golden: Path, tmp_path: Path) -> None:
    config, state_dict, _ = read_recording(golden / "network" / "lightweight_x2.safetensors")
    path = tmp_path / "001_classicalSR_DF2K_s64w8_SwinIR-M_x4.safetensors"
    save_checkpoint(path, config, state_dict)
    file = catalog.ModelFile(name="classical-x4-df2k", path=path)
    assert Restorer.from_pretrained(file, device="cpu").describe()["model"] == "classical-x4-df2k"


def test_file_is_restored_into_a_file(x2: Restorer, tmp_path: Path) -> None:
    source, destination = tmp_path / "a.png", tmp_path / "b.tif"
    imaging.write(Image(pixels=picture(10, 12, 3, np.uint16)), source)
    assert x2.restore_file(str(source), destination) == ()
    assert np.array_equal(imaging.read(destination).pixels, x2(picture(10, 12, 3, np.uint16)))


def test_the_folder_of_an_output_is_made(x2: Restorer, tmp_path: Path) -> None:
    source, destination = tmp_path / "a.png", tmp_path / "new" / "folder" / "b.png"
    imaging.write(Image(pixels=picture(10, 12)), source)
    x2.restore_file(source, destination)
    assert imaging.read(destination).height == 20


def test_file_is_not_restored_onto_itself(x2: Restorer, tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    imaging.write(Image(pixels=picture(10, 12)), source)
    before = source.read_bytes()
    with pytest.raises(ImageWriteError, match="is the input itself"):
        x2.restore_file(source, tmp_path / "." / "a.png")
    assert source.read_bytes() == before


def test_format_that_cannot_be_written_is_refused_before_the_work(x2: Restorer, tmp_path: Path) -> None:
    with pytest.raises(ImageWriteError, match=r"\.bmp"):
        x2.restore_file(tmp_path / "missing.png", tmp_path / "out.bmp")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two good images and a damaged one between them."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a.png", "c.png"):
        imaging.write(Image(pixels=picture(10, 12)), folder / name)
    (folder / "b.png").write_bytes(b"this is no image")
    return folder


def test_one_bad_file_stops_nothing(x2: Restorer, scans: Path, tmp_path: Path) -> None:
    results = list(restore_files(x2, plan_jobs([scans], output=tmp_path / "out", label="x2")))
    assert [result.outcome for result in results] == [Outcome.DONE, Outcome.FAILED, Outcome.DONE]
    assert isinstance(results[1].error, ImageReadError)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_x2.png", "c_x2.png"]


def test_stopped_job_goes_on_where_it_was(x2: Restorer, scans: Path) -> None:
    (scans / "b.png").unlink()
    next(restore_files(x2, plan_jobs([scans], label="x2")))
    first = (scans / "a_x2.png").stat().st_mtime_ns
    results = list(restore_files(x2, plan_jobs([scans], label="x2")))
    assert [result.outcome for result in results] == [Outcome.SKIPPED, Outcome.DONE]
    assert (scans / "a_x2.png").stat().st_mtime_ns == first


def test_existing_output_of_a_named_file_is_refused(x2: Restorer, scans: Path) -> None:
    (scans / "a_x2.png").write_bytes(b"precious")
    (result,) = restore_files(x2, plan_jobs([scans / "a.png"], label="x2"))
    assert result.outcome is Outcome.FAILED
    assert (scans / "a_x2.png").read_bytes() == b"precious"


def test_existing_output_is_replaced_on_demand(x2: Restorer, scans: Path) -> None:
    (scans / "a_x2.png").write_bytes(b"old")
    (result,) = restore_files(x2, plan_jobs([scans / "a.png"], label="x2"), overwrite=True)
    assert result.outcome is Outcome.DONE
    assert imaging.read(scans / "a_x2.png").height == 20


def test_missing_file_fails_alone(x2: Restorer, scans: Path) -> None:
    jobs = plan_jobs([scans / "missing.png", scans / "a.png"], label="x2")
    assert [result.outcome for result in restore_files(x2, jobs)] == [Outcome.FAILED, Outcome.DONE]


def test_each_image_has_its_own_progress(x2: Restorer, scans: Path) -> None:
    told: dict[str, list[int]] = {}

    def progress_of(job: Any) -> Callable[[int, int], None]:
        return lambda done, _total: told.setdefault(job.source.name, []).append(done)

    list(restore_files(x2, plan_jobs([scans], label="x2"), progress_of=progress_of))
    assert set(told) == {"a.png", "c.png"}
    assert all(done[0] == 0 < done[-1] for done in told.values())
