"""What a forward pass costs, what there is, and what happens when it is not enough."""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from swinir.engine import memory
from swinir.engine.memory import Cost, Load
from swinir.errors import RestoreError

CPU = torch.device("cpu")
GIB = 2**30
COST = Cost(fixed_bytes=1000, bytes_per_px=10)


def test_trace_counts_what_is_alive_at_once() -> None:
    def forward(image: torch.Tensor) -> torch.Tensor:
        pair = torch.cat([image, image])
        four = torch.cat([pair, pair])
        del pair
        return four.sum()

    image_bytes = 4 * 3 * 16 * 16
    assert memory.trace(forward, channels=3, side_px=16, device=CPU) == (2 + 4) * image_bytes


def test_trace_counts_views_once() -> None:
    def forward(image: torch.Tensor) -> torch.Tensor:
        return (image + 1).flatten().reshape(3, -1).T

    assert memory.trace(forward, channels=3, side_px=16, device=CPU) == 4 * 3 * 16 * 16


def test_measured_cost_is_the_line_through_two_traces_with_its_safety() -> None:
    table = torch.ones(1000)

    def forward(image: torch.Tensor) -> torch.Tensor:
        fixed = table + 1
        return fixed[0] * (image + 1)

    cost = memory.measure(forward, channels=1, window_size=8, device=CPU)
    assert cost.bytes_per_px == pytest.approx(memory.SAFETY * 8, rel=0.01)
    assert cost.fixed_bytes == pytest.approx(memory.SAFETY * 4000, rel=0.01)


def test_free_memory_of_a_machine_is_what_the_kernel_offers(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       24000000 kB\nMemFree: 1 kB\nMemAvailable:   12000000 kB\n")
    assert memory.free_of_machine(meminfo) == 12_000_000 * 1024


@pytest.mark.parametrize(
    ("limit", "used", "cache"),
    [
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_free_memory_of_a_container_is_its_limit_less_use_plus_idle_cache(
    tmp_path: Path, limit: str, used: str, cache: str
) -> None:
    (tmp_path / limit).write_text(f"{4 * GIB}\n")
    (tmp_path / used).write_text(f"{3 * GIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\n{cache} {GIB}\n")
    assert memory.free_of_group(tmp_path) == 2 * GIB


def test_container_without_a_limit_limits_nothing(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_of_group(tmp_path) == sys.maxsize


def test_limits_of_the_groups_around_a_process_count(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("0::/outer/inner\n")
    groups = memory.groups_of_process(Path("/root"), membership)
    assert {Path("/root/outer/inner"), Path("/root/outer"), Path("/root")} <= set(groups)


def test_free_memory_of_this_machine_is_known() -> None:
    assert 0 < memory.available_bytes(CPU) < 2**50


def test_image_within_the_budget_stays_whole() -> None:
    load = memory.choose_load(
        100, 100, window_size=8, cost=COST, row_bytes=0, budget_bytes=1000 + 10 * 104 * 104
    )
    assert load == Load(tile_px=None)


def test_image_one_byte_beyond_the_budget_is_cut() -> None:
    load = memory.choose_load(
        100, 100, window_size=8, cost=COST, row_bytes=0, budget_bytes=999 + 10 * 104 * 104
    )
    assert load == Load(tile_px=96)


@given(st.floats(0, 1e9), st.integers(200, 5000))
def test_tiles_fit_the_budget_unless_they_are_the_least(budget: float, side: int) -> None:
    load = memory.choose_load(side, side, window_size=8, cost=COST, row_bytes=0, budget_bytes=budget)
    if load.tile_px is not None and load.tile_px > 64:
        assert COST.of(load.tile_px**2) <= budget
        assert COST.of((load.tile_px + 8) ** 2) > budget


def test_rows_that_wait_to_be_blended_count() -> None:
    budget = 1000 + 10 * 104 * 104 + 5 * 104
    options = {"window_size": 8, "cost": COST, "row_bytes": 5}
    assert memory.choose_load(100, 100, budget_bytes=budget, **options) == Load(tile_px=None)
    assert memory.choose_load(100, 100, budget_bytes=budget - 1, **options) == Load(tile_px=96)


def test_batch_fills_the_budget() -> None:
    assert memory.choose_batch(100, 64 * 64, cost=COST, budget_bytes=1000 + 10 * 64 * 64 * 3.9) == 3


def test_batch_is_no_larger_than_the_tiles_there_are() -> None:
    assert memory.choose_batch(2, 64 * 64, cost=COST, budget_bytes=1e12) == 2


def test_batch_is_at_least_one() -> None:
    assert memory.choose_batch(5, 64 * 64, cost=COST, budget_bytes=0) == 1


def test_loads_halve_the_batch_and_then_the_tile_down_to_eight_windows() -> None:
    loads = memory.smaller_loads(
        Load(tile_px=256, batch=4), height=999, width=999, window_size=8, may_cut=True
    )
    assert list(loads) == [
        Load(tile_px=256, batch=4),
        Load(tile_px=256, batch=2),
        Load(tile_px=256, batch=1),
        Load(tile_px=128),
        Load(tile_px=64),
    ]


def test_whole_image_is_cut_in_the_middle_of_its_longer_side() -> None:
    loads = memory.smaller_loads(Load(tile_px=None), height=90, width=200, window_size=8, may_cut=True)
    assert list(loads) == [Load(tile_px=None), Load(tile_px=96)]


def test_tiles_that_were_asked_for_are_not_cut() -> None:
    loads = memory.smaller_loads(
        Load(tile_px=256, batch=2), height=999, width=999, window_size=8, may_cut=False
    )
    assert list(loads) == [Load(tile_px=256, batch=2), Load(tile_px=256)]


@pytest.mark.parametrize(
    "shortage",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_first_load_that_fits_is_used(shortage: Exception) -> None:
    def attempt(load: Load) -> int | None:
        if load.tile_px != 1:
            raise shortage
        return load.tile_px

    assert memory.with_less_memory(attempt, iter([Load(tile_px=3), Load(tile_px=1), Load(tile_px=0)])) == 1


def test_image_that_never_fits_is_an_error_of_one_sentence() -> None:
    def attempt(_: Load) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(RestoreError, match="not enough memory"):
        memory.with_less_memory(attempt, iter([Load(tile_px=2), Load(tile_px=1)]))


def test_other_errors_are_not_taken_for_a_shortage() -> None:
    def attempt(_: Load) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        memory.with_less_memory(attempt, iter([Load(tile_px=2), Load(tile_px=1)]))


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: out of memory",
        "Triton Error [CUDA]: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_shortages_of_libraries_are_known_by_their_texts(text: str) -> None:
    assert memory.is_out_of_memory(RuntimeError(text))


def test_same_load_is_tried_again_when_something_could_be_given_up() -> None:
    tried: list[Load] = []
    spare = [True, False]

    def attempt(load: Load) -> int:
        tried.append(load)
        if len(tried) < 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 0

    memory.with_less_memory(
        attempt, iter([Load(tile_px=3), Load(tile_px=2)]), free=lambda: spare[len(tried) - 1]
    )
    assert tried == [Load(tile_px=3), Load(tile_px=3), Load(tile_px=2)]


def test_shortage_with_nothing_smaller_to_try_names_the_device() -> None:
    with (
        pytest.raises(RestoreError, match="not enough memory on cuda:1"),
        memory.shortage_told(torch.device("cuda:1")),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="mat1"), memory.shortage_told(CPU):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
