"""The script that restoration on a GPU is measured with: on a CPU, at sizes for that."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from swinir.bench import Comparison, Workload
from swinir.bench.comparison import Difference
from unit.test_bench_comparison import make_comparison, measured_row

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_restoration.py"
CPU = torch.device("cpu")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    spec = importlib.util.spec_from_file_location("gpu_restoration", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look for their module there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the script where there is no GPU; a warning ends it."""
    return subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), *words],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        timeout=300,
        check=False,
    )


def ours(psnr_db: float, relative_error: float = 0.001) -> Comparison:
    """Compare ours with nothing."""
    found = Difference(max_abs_error=0.1, psnr_db=psnr_db, relative_error=relative_error)
    return make_comparison(measured_row(difference=found))


def test_all_but_the_compiler_runs_on_a_processor(tmp_path: Path) -> None:
    results = tmp_path / "gpu.jsonl"
    done = run("--smoke", "--rounds", "1", "--results", str(results))
    assert done.returncode == 0, done.stdout + done.stderr
    first, tiles = (json.loads(line) for line in results.read_text().splitlines())
    assert [found["method"] for found in first["rows"]] == [
        "swinir",
        "original",
        "original-kept-masks",
        "rcan",
    ]
    assert [found["method"] for found in tiles["rows"]] == ["swinir", "swinir-no-graphs"]
    assert (first["batch"], tiles["batch"]) == (1, 3)
    assert "of its memory (at most 0.25)" in done.stdout


def test_without_a_gpu_there_is_nothing_to_measure() -> None:
    done = run()
    assert done.returncode == 2
    assert "device 'cuda' is not here" in done.stderr


def test_every_figure_that_is_hoped_for_has_its_case(script: ModuleType) -> None:
    hoped: dict[tuple[str, int], dict[str, float]] = {}
    for case in script.CASES:
        assert case.hoped.keys() <= set(case.against)
        hoped.setdefault((case.model, case.side_px), {}).update(case.hoped)
    assert {key: found for key, found in hoped.items() if found} == {
        ("classical-x4", 256): {"original": 10, "compile": 2, "rcan": 1},
        ("lightweight-x4", 256): {"original": 12, "compile": 2},
        ("lightweight-x2", 1024): {"original": 15, "compile": 2},
    }


def test_nothing_is_compiled_that_would_end_too_late(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[str] = []

    def measure(case: Any, device: torch.device, rounds: int) -> Comparison:
        measured.append(case.model)
        return ours(60.0)

    monkeypatch.setattr(script, "measure", measure)
    cases = (
        script.Case(model="lightweight-x4", side_px=8, against=("original",)),
        script.Case(model="classical-x4", side_px=8, against=("compile",)),
    )
    assert script.main(cases, CPU, rounds=1, minutes=2.9, results=None) == 0
    assert measured == ["lightweight-x4"]
    assert "classical-x4, 1 × 8×8, compiled: left out" in capsys.readouterr().out
    assert script.main(cases, CPU, rounds=1, minutes=3.1, results=None) == 0
    assert measured == ["lightweight-x4", "lightweight-x4", "classical-x4"]


def test_too_little_memory_for_one_case_leaves_the_others(
    script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def prepare(workload: Workload, *_: object, **__: object) -> None:
        if workload.image.shape[-1] == 16:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(script, "prepare", prepare)
    monkeypatch.setattr(script, "compare", lambda *_, **__: ours(60.0))
    cases = tuple(script.Case(model="lightweight-x4", side_px=side, against=()) for side in (16, 8))
    results = tmp_path / "gpu.jsonl"
    assert script.main(cases, CPU, rounds=1, minutes=1, results=results) == 1
    assert "too little memory for 1 × 16×16 pixels" in capsys.readouterr().out
    assert len(results.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("found", "is_right"),
    [(ours(55.1), True), (ours(54.9), False), (ours(60.0, relative_error=0.1), False)],
)
def test_ours_is_right_near_fp32_only(script: ModuleType, found: Comparison, is_right: bool) -> None:
    assert script.is_right(found) is is_right


def test_our_memory_stands_beside_the_originals(script: ModuleType) -> None:
    case = script.Case(model="lightweight-x4", side_px=8, against=("original",), hoped={"original": 12})
    own = measured_row(peak_bytes=10)
    original = script.write_line(case, replace(measured_row(peak_bytes=40), method="original"), own)
    assert "ours takes 0.25 of its memory" in original
    assert "× ours (at least 12)" in original
    assert "memory unknown" in script.write_line(
        case, replace(measured_row(peak_bytes=None), method="original"), own
    )


def test_a_method_that_fails_is_in_the_lines(script: ModuleType) -> None:
    case = script.Case(model="lightweight-x4", side_px=8, against=("compile",))
    found = replace(ours(60.0), failed={"compile": "out of memory"})
    assert script.write_lines(case, found)[-1].split(maxsplit=1) == ["compile", "out of memory"]
