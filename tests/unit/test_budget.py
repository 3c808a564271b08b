"""How much of an image goes through the network at once, and what follows when it was too much."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from swinir.engine import memory, tiling
from swinir.engine.budget import (
    CPU_MEMORY_BYTES,
    RECOVERY_S,
    Budget,
    TileBatch,
    choose_batch,
    choose_tile,
    smaller_batches,
)
from swinir.engine.cost import Cost
from swinir.options import Tile

GIB = 2**30
COST = Cost(fixed_bytes=1000, bytes_per_px=10)


def test_image_within_the_budget_stays_whole() -> None:
    budget = 1000 + 10 * 104 * 104
    assert choose_tile(100, 100, window_size=8, cost=COST, budget_bytes=budget) is None


def test_image_one_byte_beyond_the_budget_is_cut() -> None:
    budget = 999 + 10 * 104 * 104
    assert choose_tile(100, 100, window_size=8, cost=COST, budget_bytes=budget) == 96


@given(st.floats(0, 1e9), st.integers(200, 5000))
def test_tiles_fit_the_budget_unless_they_are_the_least(budget: float, side: int) -> None:
    tile_px = choose_tile(side, side, window_size=8, cost=COST, budget_bytes=budget)
    if tile_px is not None and tile_px > 64:
        assert COST.bytes_for(tile_px**2) <= budget
        assert COST.bytes_for((tile_px + 8) ** 2) > budget


def test_batch_fills_the_budget() -> None:
    assert choose_batch(100, 64 * 64, cost=COST, budget_bytes=1000 + 10 * 64 * 64 * 3.9) == 3


def test_batch_is_no_larger_than_the_tiles_there_are() -> None:
    assert choose_batch(2, 64 * 64, cost=COST, budget_bytes=1e12) == 2


def test_batch_is_at_least_one() -> None:
    assert choose_batch(5, 64 * 64, cost=COST, budget_bytes=0) == 1


def load(side_px: int | None, batch: int = 1, *, height: int = 1000, width: int = 1000) -> TileBatch:
    return TileBatch(plan=cut(side_px, height=height, width=width), batch=batch)


def cut(tile_px: int | None, *, height: int = 1000, width: int = 1000) -> tiling.Plan:
    return tiling.plan(height, width, window_size=8, tile_px=tile_px)


def sides_and_batches(loads: Iterable[TileBatch]) -> list[tuple[int, int]]:
    return [(max(each.plan.rows.tile_px, each.plan.columns.tile_px), each.batch) for each in loads]


def test_batches_are_halved_and_then_tiles_down_to_eight_windows() -> None:
    loads = smaller_batches(load(256, 4), cut, window_size=8, may_cut=True)
    assert sides_and_batches(loads) == [(232, 4), (232, 2), (232, 1), (112, 1), (64, 1)]


def test_whole_image_is_cut_in_the_middle_of_its_longer_side() -> None:
    smaller = partial(cut, height=90, width=160)
    loads = smaller_batches(load(None, height=90, width=160), smaller, window_size=8, may_cut=True)
    assert [each.plan for each in loads] == [smaller(side) for side in (None, 80, 64)]


def test_tiles_that_were_asked_for_are_not_cut() -> None:
    loads = smaller_batches(load(256, 2), cut, window_size=8, may_cut=False)
    assert sides_and_batches(loads) == [(232, 2), (232, 1)]


class Executor:
    """Stands for a device that can give up memory ``spare`` times."""

    def __init__(self, spare: int = 0) -> None:
        self.spare = spare

    def exclusive(self) -> AbstractContextManager[None]:
        return nullcontext()

    def free_memory(self) -> bool:
        self.spare -= 1
        return self.spare >= 0


@pytest.fixture
def make_budget(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Budget]:
    """Make the budget of a GPU with 1 GiB free, where a pixel takes 4 KiB; so four tiles of 256 go at once.

    Images get four reflected pixels on every side.
    """
    monkeypatch.setattr(memory, "available_bytes", lambda _: GIB / memory.FREE_MEMORY_FRACTION)

    def make(
        *, tile: Tile = "auto", spare: int = 0, clock: Callable[[], float] = lambda: 0.0, **choices: Any
    ) -> Budget:
        config: Any = SimpleNamespace(window_size=8, window_px=8, in_channels=3, scale=2)
        executor: Any = Executor(spare)
        choices = {"device": torch.device("cuda"), **choices}
        budget = Budget(config, Never(), executor, tile=tile, clock=clock, **choices)
        budget.cost = Cost(fixed_bytes=0, bytes_per_px=4096)
        return budget

    return make


class Never:
    """A pass that is not run."""

    num_layers = 1

    def __call__(self, lq: torch.Tensor, on_layers: object = None) -> torch.Tensor:
        raise NotImplementedError


def test_the_same_is_tried_again_while_memory_can_be_given_up(make_budget: Callable[..., Budget]) -> None:
    attempts = make_budget(spare=2).attempts(504, 504)
    assert sides_and_batches(islice(attempts, 4)) == [*3 * [(512, 1)], (192, 1)]


def test_nothing_is_tried_beyond_the_least(make_budget: Callable[..., Budget]) -> None:
    assert sides_and_batches(make_budget().attempts(248, 248)) == [(256, 1), (112, 1), (64, 1)]


def test_what_fitted_is_the_limit_at_first_and_recovers_with_time(make_budget: Callable[..., Budget]) -> None:
    now_s = 0.0
    budget = make_budget(clock=lambda: now_s)
    assert sides_and_batches(islice(budget.attempts(504, 504), 3))[-1] == (96, 1)
    limit_px = 96 * 96
    for doublings in range(6):
        now_s = doublings * RECOVERY_S + 1
        (chosen,) = islice(budget.attempts(504, 504), 1)
        assert chosen.num_pixels <= min(limit_px << doublings, 512 * 512)
        assert chosen.num_pixels > (limit_px << doublings) / 2 or chosen.num_pixels == 512 * 512
    assert sides_and_batches([budget.choose(504, 504)]) == [(512, 1)]


def test_images_of_one_size_share_batches_on_a_gpu(make_budget: Callable[..., Budget]) -> None:
    budget = make_budget()
    assert budget.choose(120, 120).batch == 1
    assert budget.choose(120, 120, num_images=5).batch == 5
    assert budget.choose(248, 248, num_images=100).batch == 4


def test_memory_that_is_asked_for_limits_what_goes_through_a_gpu(make_budget: Callable[..., Budget]) -> None:
    assert sides_and_batches([make_budget().choose(504, 504)]) == [(512, 1)]
    assert sides_and_batches([make_budget(memory_bytes=GIB // 4).choose(504, 504)]) == [(192, 1)]


def test_process_on_a_cpu_stays_below_a_limit_whatever_is_free(make_budget: Callable[..., Budget]) -> None:
    cpu = torch.device("cpu")
    (chosen,) = [make_budget(device=cpu).choose(5_000, 5_000)]
    assert 4096 * chosen.num_pixels < CPU_MEMORY_BYTES - 400_000_000
    smaller = make_budget(device=cpu, memory_bytes=2**29).choose(5_000, 5_000)
    assert smaller.num_pixels < chosen.num_pixels / 4


def test_what_is_held_beside_a_pass_makes_tiles_smaller(make_budget: Callable[..., Budget]) -> None:
    budget = make_budget(device=torch.device("cpu"))
    assert (
        budget.choose(2_000, 2_000, output_bytes=GIB // 2).num_pixels < budget.choose(2_000, 2_000).num_pixels
    )
