"""The script that a GPU is measured with runs: on a CPU, in Triton's interpreter, at a size for that."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="the GPU kernels need Triton, which is not installed")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_training.py"


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script where there is no GPU; a warning ends it."""
    return subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), *words],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment},
        timeout=600,
        check=False,
    )


@pytest.mark.slow
def test_every_manner_trains_the_same_network(tmp_path):
    results = tmp_path / "results.jsonl"
    done = run("--smoke", "--results", str(results), TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert [line["manner"] for line in lines] == [
        "swinir, kernels, compiled",
        "swinir, kernels",
        "swinir, reference, compiled",
        "original, fp32",
        "original, compiled, bf16",
    ]
    losses = {line["manner"]: line["last_loss"] for line in lines}
    expected = losses.pop("original, fp32")
    assert losses == pytest.approx(dict.fromkeys(losses, expected), rel=2e-4)
    assert expected < lines[0]["first_loss"]
    assert all(line["crops_per_s"] > 0 for line in lines)


def test_what_is_asked_for_must_exist():
    done = run("--smoke", "--manners", "tensorrt", TRITON_INTERPRET="1")
    assert done.returncode == 2
    assert "no manner 'tensorrt'" in done.stderr


def test_a_smoke_run_wants_the_interpreter():
    done = run("--smoke", TRITON_INTERPRET="0")
    assert done.returncode == 2
    assert "set TRITON_INTERPRET=1" in done.stderr
