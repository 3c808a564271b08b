"""``swinir bench`` from outside."""

import json
from pathlib import Path

import pytest
import torch

from swinir.bench import BASELINES
from swinir.bench.meter import CpuMeter
from swinir.cli.main import main


@pytest.fixture(autouse=True)
def small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    # The limit of a machine that tests share is nobody's figure.
    monkeypatch.setattr(CpuMeter, "gemm_size", 64)


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_the_last_line_is_one_document(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "results.jsonl"
    words = ("--size", "16x16", "--rounds", 1, "--against", "reference,original", "--output", kept)
    assert run("bench", *words) == 0
    shown = capfd.readouterr().out
    document = json.loads(shown.splitlines()[-1])
    assert [row["method"] for row in document["rows"]] == ["swinir", "reference", "original"]
    assert all(len(row["seconds"]) == 1 for row in document["rows"])
    assert all(row["agrees"] for row in document["rows"])
    assert document["model"] == "lightweight-x4"
    assert document["size"] == [16, 16]
    assert document["batch"] == 1
    assert document["backend"]
    assert document["reason"]
    assert document["gemm_gflop_per_s"].keys() == {"fp32", "bf16"}
    assert "× ours" in shown
    assert f"swinir is {document['backend']}: {document['reason']}" in " ".join(shown.split())
    assert document["failed"] == {}
    assert run("bench", "--size", "8x9", "--rounds", 2, "--output", kept) == 0
    capfd.readouterr()
    first, second = (json.loads(line) for line in kept.read_text().splitlines())
    assert first == document
    assert second["size"] == [8, 9]


def test_a_variant_without_weights_is_measured_with_random_ones(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("bench", "--model", "gray-denoise", "--size", "8x8", "--rounds", 1, "--precision", "fp32") == 0
    document = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert document["weights"] == "random"
    assert document["precision"] == "fp32"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--size", "256"), "256x256"),
        (("--size", "0x8"), "0x8"),
        (("--model", "lightweigt-x4"), "lightweight-x4"),
        (("--against", "openvno"), "openvino"),
        (("--precision", "fp16"), "fp16"),
        (("--rounds", "0"), "--rounds"),
    ],
)
def test_wrong_usage_is_status_2_and_names_the_value(
    words: tuple[str, ...], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("bench", *words) == 2
    assert said in capfd.readouterr().err


def test_a_method_that_is_wrong_is_status_1(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("swinir.bench.comparison.LARGEST_RELATIVE_ERROR", -1.0)
    assert run("bench", "--size", "8x8", "--rounds", 1) == 1
    shown = capfd.readouterr()
    assert "something else" in shown.err
    assert json.loads(shown.out.splitlines()[-1])["rows"][0]["agrees"] is False


def test_a_method_that_lacks_memory_is_named_and_the_rest_is_measured(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def build(workload: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 6.00 GiB")

    monkeypatch.setattr("swinir.cli.bench.BASELINES", {**BASELINES, "original": build})
    words = ("--size", "8x8", "--batch", 2, "--rounds", 1, "--against", "original,reference")
    assert run("bench", *words) == 1
    shown = capfd.readouterr()
    assert "original failed and is left out: out of memory" in " ".join(shown.err.split())
    document = json.loads(shown.out.splitlines()[-1])
    assert [row["method"] for row in document["rows"]] == ["swinir", "reference"]
    assert document["failed"] == {"original": "out of memory"}
    assert document["batch"] == 2


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("bench", "--size", "8x8", "--rounds", 1, "-o", tmp_path / "missing" / "a.jsonl") == 1
    assert "cannot be written" in capfd.readouterr().err
