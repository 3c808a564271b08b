"""Rounds, quantiles, limits and peaks of memory."""

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import pytest
import torch

from swinir.bench import measure
from swinir.bench.meter import CpuMeter

measure_seconds = CpuMeter().measure_seconds


def test_quantiles_leave_a_fifth_on_each_side() -> None:
    assert measure.quantiles([5.0, 1.0, 4.0, 2.0, 3.0, 6.0]) == (2.0, 3.5, 5.0)


def test_quantiles_of_one_sample_are_that_sample() -> None:
    assert measure.quantiles([0.25]) == (0.25, 0.25, 0.25)


def test_everybody_has_one_turn_in_each_round() -> None:
    turns: list[str] = []
    runs = {name: partial(turns.append, name) for name in "abc"}
    measure.time_interleaved(runs, rounds=2, pause_s=0, measure_seconds=measure_seconds)
    assert "".join(turns) == "abcabc"


def test_pauses_are_not_timed() -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    def timed(run: Callable[[], object]) -> float:
        began = now
        run()
        return now - began

    samples = measure.time_interleaved(
        {"slow": partial(sleep, 3.0), "fast": partial(sleep, 0.5)},
        rounds=2,
        pause_s=10.0,
        measure_seconds=timed,
        sleep=sleep,
    )
    assert samples == {"slow": [3.0, 3.0], "fast": [0.5, 0.5]}


def test_progress_counts_every_turn() -> None:
    heard: list[tuple[int, int]] = []
    measure.time_interleaved(
        {"a": int, "b": int},
        rounds=2,
        pause_s=0,
        measure_seconds=measure_seconds,
        progress=lambda done, total: heard.append((done, total)),
    )
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_product_of_matrices_is_two_operations_per_multiply_add() -> None:
    assert measure.count_gemm_flop(4) == measure.GEMMS_PER_SAMPLE * 2 * 4**3
    measure.make_gemm(torch.bfloat16, 16, torch.device("cpu"))()


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from Linux's /proc")
def test_the_peak_holds_what_a_run_took_and_gave_back() -> None:
    before = measure.read_resident_bytes()
    peak = measure.measure_peak(lambda: torch.ones(2**24))
    after = measure.read_resident_bytes()
    assert before is not None
    assert peak is not None
    assert after is not None
    assert peak - before > 0.9 * 2**26
    assert after - before < 0.5 * 2**26


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from Linux's /proc")
def test_an_old_peak_is_forgotten() -> None:
    torch.ones(2**25)
    start = measure.read_resident_bytes()
    peak = measure.measure_peak(lambda: torch.ones(2**20))
    assert start is not None
    assert peak is not None
    assert peak - start < 2**26


def test_where_peaks_cannot_be_reset_memory_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measure, "_CLEAR_PEAK", tmp_path / "missing" / "clear_refs")
    numbers = count(100)
    monkeypatch.setattr(measure, "_read_status_bytes", lambda _: next(numbers))
    ran: list[bool] = []
    peak = measure.measure_peak(lambda: ran.append(True))
    assert ran
    assert peak is not None
    assert peak >= 100


def test_where_nothing_tells_of_memory_there_is_no_peak(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measure, "_CLEAR_PEAK", tmp_path / "missing" / "clear_refs")
    monkeypatch.setattr(measure, "_STATUS", tmp_path / "missing")
    ran: list[bool] = []
    assert measure.measure_peak(lambda: ran.append(True)) is None
    assert measure.read_resident_bytes() is None
    assert ran
