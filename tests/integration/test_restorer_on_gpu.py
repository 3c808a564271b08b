"""The Restorer beside a GPU: look-ahead, recorded passes and memory that runs out, on one that is played or real."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from networks import watch_network
from recordings import read_recording, tame
from streams import FakeGpu
from swinir.engine import Restorer, memory, tiling
from swinir.engine.budget import Budget, TileBatch
from swinir.engine.cost import Cost
from swinir.engine.cuda_graphs import CudaGraphCache
from swinir.engine.executor import OverlappedExecutor
from swinir.engine.forward import SelfEnsemble
from swinir.engine.tiled_network import TiledNetwork
from swinir.errors import RestoreError

MakeRestorer = Callable[..., Restorer]
MIB = 2**20
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(scope="module")
def make(golden: Path) -> MakeRestorer:
    def make_restorer(name: str = "lightweight_x2", **options: Any) -> Restorer:
        config, state_dict, _ = read_recording(golden / "network" / f"{name}.safetensors")
        return Restorer(config, tame(state_dict), **{"device": "cpu", "precision": "fp32", **options})

    return make_restorer


@pytest.fixture
def make_beside_gpu(make: MakeRestorer, monkeypatch: pytest.MonkeyPatch) -> MakeRestorer:
    """Make a Restorer that believes in a GPU of 64 MiB, where a pixel takes 4 KiB."""
    monkeypatch.setattr(memory, "available_bytes", lambda _: 64 * MIB)

    def make_restorer(**options: Any) -> Restorer:
        restorer = make(**options)
        gpu: Any = FakeGpu()
        graphs = CudaGraphCache(gpu, restorer.forward_pass)
        forward = SelfEnsemble(graphs) if restorer.options.ensemble else graphs
        restorer.executor = OverlappedExecutor(gpu, forward, graphs)
        restorer.budget = Budget(
            restorer.config,
            restorer.forward_pass,
            restorer.executor,
            device=torch.device("cuda"),
            tile=restorer.options.tile,
        )
        restorer.budget.cost = Cost(fixed_bytes=MIB, bytes_per_px=4096)
        restorer.tiled_network = TiledNetwork(
            restorer.config, restorer.executor, restorer.budget, restorer.precision
        )
        return restorer

    return make_restorer


def graphs_of(restorer: Restorer) -> CudaGraphCache:
    assert isinstance(restorer.executor, OverlappedExecutor)
    assert restorer.executor._graphs is not None
    return restorer.executor._graphs


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    noise = np.random.default_rng(seed).standard_normal((height, width, 3))
    unit = 0.5 + np.stack([np.sin(x / (5 + c) + y / 9) for c in range(3)], axis=-1) / 10 + 0.02 * noise
    return (255 * unit).astype(np.uint8)


def inputs_of(restorer: Restorer) -> list[tuple[int, ...]]:
    """List the shapes that the network is called with from now on."""
    shapes: list[tuple[int, ...]] = []
    watch_network(restorer).checks.append(lambda lq: shapes.append(tuple(lq.shape)))
    return shapes


def fail_when(restorer: Restorer, is_too_much: Callable[[torch.Tensor], bool]) -> None:
    """Make the network run out of memory."""

    def check(lq: torch.Tensor) -> None:
        if is_too_much(lq):
            raise torch.OutOfMemoryError("CUDA out of memory")

    watch_network(restorer).checks.append(check)


def num_pixels(lq: torch.Tensor) -> int:
    return lq.shape[0] * lq.shape[-1] * lq.shape[-2]


@pytest.mark.parametrize("options", [{"tile": 32}, {"tile": None}, {"tile": 48, "ensemble": True}])
def test_image_is_what_the_cpu_makes_of_it(
    make: MakeRestorer, make_beside_gpu: MakeRestorer, options: dict[str, Any]
) -> None:
    image = picture(100, 130)
    beside_gpu = make_beside_gpu(**options)(image).astype(int)
    assert np.abs(beside_gpu - make(**options)(image)).max() <= 1


def test_next_batch_is_on_its_way_before_the_last_is_used(
    make_beside_gpu: MakeRestorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    restorer = make_beside_gpu(tile=32)
    told: list[str] = []
    send = restorer.executor.send

    def watched(*given: Any) -> Callable[[], Any]:
        number = sum(word.startswith("send") for word in told)
        told.append(f"send {number}")
        result = send(*given)

        def watched_result() -> Any:
            told.append(f"result {number}")
            return result()

        return watched_result

    monkeypatch.setattr(restorer.executor, "send", watched)
    plan = tiling.plan(100, 130, window_size=8, tile_px=32)
    monkeypatch.setattr(restorer.budget, "choose", lambda *_, **__: TileBatch(plan=plan, batch=16))
    restorer(picture(100, 130))
    assert told == ["send 0", "send 1", "result 0", "send 2", "result 1", "result 2"]


@pytest.mark.parametrize("options", [{"tile": 32}, {"tile": 48, "ensemble": True}])
def test_progress_counts_replayed_tiles_too(make_beside_gpu: MakeRestorer, options: dict[str, Any]) -> None:
    restorer = make_beside_gpu(**options)
    for _ in range(3):
        told: list[tuple[int, int]] = []
        restorer(picture(100, 130), lambda done, total, told=told: told.append((done, total)))
        done, totals = zip(*told, strict=True)
        assert done[0] == 0
        assert done[-1] == totals[0]
        assert list(done) == sorted(done)
        assert len(set(totals)) == 1
    assert restorer.executor.free_memory()


def test_batches_fill_the_memory_that_is_free(make_beside_gpu: MakeRestorer) -> None:
    restorer = make_beside_gpu(tile=32)
    shapes = inputs_of(restorer)
    restorer(picture(100, 130))
    assert shapes[0][0] == 8
    restorer.budget.cost = Cost(fixed_bytes=MIB, bytes_per_px=8192)
    restorer(picture(100, 130))
    budget = memory.FREE_MEMORY_FRACTION * 64 * MIB
    assert shapes[-1][0] == int((budget - MIB) / (8192 * 32 * 32)) == 4


def test_memory_that_runs_out_halves_the_batch_for_this_image_and_the_next(
    make: MakeRestorer, make_beside_gpu: MakeRestorer
) -> None:
    restorer = make_beside_gpu(tile=32)
    shapes = inputs_of(restorer)
    fail_when(restorer, lambda lq: num_pixels(lq) > 3 * 32 * 32)
    expected = make(tile=32)(picture(100, 130)).astype(int)
    assert np.abs(restorer(picture(100, 130)) - expected).max() <= 1
    assert [shape[0] for shape in shapes[:3]] == [8, 4, 2]
    shapes.clear()
    assert np.abs(restorer(picture(100, 130)) - expected).max() <= 1
    assert {shape[0] for shape in shapes} <= {1, 2}
    assert shapes[0][0] == 2


def test_memory_that_runs_out_cuts_the_image_in_tiles_of_half_the_size(
    make: MakeRestorer, make_beside_gpu: MakeRestorer
) -> None:
    restorer = make_beside_gpu(tile="auto")
    restorer.budget.cost = Cost(fixed_bytes=MIB, bytes_per_px=256)
    shapes = inputs_of(restorer)
    fail_when(restorer, lambda lq: num_pixels(lq) > 130 * 130)
    image = picture(192, 224)
    expected = make(tile=112)(image).astype(int)
    assert np.abs(restorer(image) - expected).max() <= 1
    assert shapes[0][-2:] == (200, 232)
    shapes.clear()
    restorer(image)
    assert all(shape[0] * shape[-1] * shape[-2] <= 130 * 130 for shape in shapes)


def test_image_that_fails_half_way_starts_again_with_less(
    make: MakeRestorer, make_beside_gpu: MakeRestorer
) -> None:
    restorer = make_beside_gpu(tile=32)
    calls = inputs_of(restorer)
    fail_when(restorer, lambda _: len(calls) == 3)
    graphs_of(restorer)._paused_until_s = np.inf
    told: list[tuple[int, int]] = []
    restored = restorer(picture(100, 130), lambda done, total: told.append((done, total)))
    assert np.abs(restored - make(tile=32)(picture(100, 130)).astype(int)).max() <= 1
    assert [shape[0] for shape in calls[:4]] == [8, 8, 8, 4]
    restarts = [index for index, (done, _) in enumerate(told) if done == 0]
    assert len(restarts) == 2
    assert told[-1][0] == told[-1][1]


def test_recorded_passes_are_given_up_before_batches_are_made_smaller(
    make: MakeRestorer, make_beside_gpu: MakeRestorer
) -> None:
    restorer = make_beside_gpu(tile=32)
    image = picture(100, 130)
    restorer(image)
    assert graphs_of(restorer)._kept
    is_short = True

    def is_too_much(_: torch.Tensor) -> bool:
        return is_short and bool(graphs_of(restorer)._kept)

    fail_when(restorer, is_too_much)
    shapes = inputs_of(restorer)
    assert np.abs(restorer(image) - make(tile=32)(image).astype(int)).max() <= 1
    assert shapes[0][0] == 8
    assert restorer.budget._limit is None


def test_image_too_large_for_the_tile_asked_for_is_an_error(make_beside_gpu: MakeRestorer) -> None:
    restorer = make_beside_gpu(tile=32)
    fail_when(restorer, lambda _: True)
    with pytest.raises(RestoreError, match="not enough memory"):
        restorer(picture(100, 130))


def test_gpu_too_full_to_measure_on_is_an_error_of_one_sentence(
    make: MakeRestorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    restorer = make()
    fail_when(restorer, lambda _: True)
    with pytest.raises(RestoreError, match=r"not enough memory on cpu.*close other programs"):
        restorer(picture(100, 130))


def test_images_of_one_size_share_batches(make: MakeRestorer, make_beside_gpu: MakeRestorer) -> None:
    restorer, alone = make_beside_gpu(tile="auto"), make()
    images = [picture(16, 24, seed) for seed in range(10)] + [picture(24, 16)]
    shapes = inputs_of(restorer)
    results = list(restorer.restore_many(images))
    assert [shape[0] for shape in shapes] == [8, 2, 1]
    for image, result in zip(images, results, strict=True):
        assert np.abs(result.astype(int) - alone(image)).max() <= 1


def test_images_that_do_not_fit_together_are_restored_alone(
    make: MakeRestorer, make_beside_gpu: MakeRestorer
) -> None:
    restorer, alone = make_beside_gpu(tile="auto"), make()
    fail_when(restorer, lambda lq: len(lq) > 2)
    images = [picture(24, 32, seed) for seed in range(10)]
    results = list(restorer.restore_many(iter(images)))
    for image, result in zip(images, results, strict=True):
        assert np.abs(result.astype(int) - alone(image)).max() <= 1


def test_overflow_is_an_error_that_names_the_precision(make_beside_gpu: MakeRestorer) -> None:
    restorer = make_beside_gpu(tile=32)
    watch_network(restorer).changes.append(lambda restored: restored * torch.inf)
    with pytest.raises(RestoreError, match="overflows in fp32"):
        restorer(picture(100, 130))


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("options", [{"tile": 64}, {"tile": None}, {"tile": 64, "ensemble": True}])
def test_real_gpu_makes_of_an_image_what_the_cpu_does(
    make: MakeRestorer, precision: str, options: dict[str, Any]
) -> None:
    restorer = make(device="cuda", precision=precision, **options)
    image = picture(200, 230).astype(np.float32) / 255
    expected = make(**options)(image)
    for _ in range(4):
        difference = restorer(image) - expected
        assert -10 * np.log10(np.mean(difference**2)) > 50
    if options["tile"] is not None:
        assert graphs_of(restorer)._paused_until_s < 0
        assert graphs_of(restorer)._kept


@needs_gpu
@pytest.mark.gpu
def test_real_gpu_replays_what_it_computes(make: MakeRestorer) -> None:
    restorer = make(device="cuda", tile=None)
    images = [picture(64, 96, seed) for seed in range(6)]
    first = [restorer(image) for image in images]
    assert graphs_of(restorer)._kept
    restorer.executor.free_memory()
    for image, replayed in zip(images, first, strict=True):
        assert np.abs(restorer(image).astype(int) - replayed).max() <= 1


@needs_gpu
@pytest.mark.gpu
def test_real_gpu_that_is_full_makes_batches_smaller(make: MakeRestorer) -> None:
    restorer = make(device="cuda", tile=64)
    image = picture(300, 330)
    expected = restorer(image).astype(int)
    fail_when(restorer, lambda lq: num_pixels(lq) > 3 * 64 * 64)
    restorer.executor.free_memory()
    assert np.abs(restorer(image) - expected).max() <= 1
    assert restorer.budget._limit is not None
    assert restorer.budget._limit.num_pixels <= 3 * 64 * 64
