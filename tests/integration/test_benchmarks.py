"""Scripts of the folder benchmarks: each runs, at sizes that take no time."""

import json
import runpy
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from swinir import SwinIRConfig
from swinir.bench import BASELINES, original
from swinir.bench.comparison import LARGEST_RELATIVE_ERROR, compute_difference
from swinir.model import flops
from unit.test_bench_baselines import TINY, make_workload

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a script of the folder in this process, which has PyTorch already, and return its status."""
    monkeypatch.syspath_prepend(FOLDER)

    def run_script(name: str, *words: object) -> int:
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        try:
            runpy.run_path(str(FOLDER / name), run_name="__main__")
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else 0
        return 0

    return run_script


@pytest.fixture
def extra(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    import extra_baselines

    return extra_baselines


@pytest.fixture
def rcan(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    import rcan

    return rcan


@pytest.mark.parametrize(
    "name", ["cpu_restoration.py", "cpu_training.py", "bundle_model.py", "list_test_set.py"]
)
def test_the_script_runs(name: str, run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        assert run(name, "--smoke") == 0
    finally:
        torch.set_num_threads(threads)
    assert capsys.readouterr().out


def test_script_of_giants_runs(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("giants.py", "scan", "--smoke") == 0
    assert json.loads(capsys.readouterr().out)["peak_bytes"] > 0


def test_results_of_a_smoke_run_are_written_where_asked(run: Callable[..., int], tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    assert run("end_to_end.py", "--smoke", "--results", results) == 0
    assert '"kind": "end to end"' in results.read_text()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["original-kept-masks", "swinir-no-graphs"])
def test_variants_of_the_same_network_give_the_same_picture(
    name: str, precision: str, extra: ModuleType
) -> None:
    workload = make_workload(TINY, precision)
    expected = BASELINES["reference"](replace(workload)).restore(workload.image)
    found = extra.ALL_BASELINES[name](workload).restore(workload.image)
    assert compute_difference(found, expected).relative_error <= LARGEST_RELATIVE_ERROR


def test_kept_masks_are_built_once_for_a_size(monkeypatch: pytest.MonkeyPatch, extra: ModuleType) -> None:
    built: list[tuple[int, int]] = []
    attention_mask = original.attention_mask

    def build(height: int, width: int, *rest: object) -> torch.Tensor:
        built.append((height, width))
        return attention_mask(height, width, *rest)

    monkeypatch.setattr(original, "attention_mask", build)
    extra.keep_mask.cache_clear()
    workload = make_workload(replace(TINY, depths=(4,)))
    for _ in range(2):
        BASELINES["original"](workload).restore(workload.image)
    assert built == [(24, 24)] * 4
    built.clear()
    for _ in range(2):
        extra.ALL_BASELINES["original-kept-masks"](workload).restore(workload.image)
    assert built == [(24, 24)]


def test_rcan_is_refused_where_nothing_is_enlarged(extra: ModuleType) -> None:
    config = SwinIRConfig(
        scale=1, in_channels=1, embed_dim=12, depths=(1,), num_heads=(2,), upsampler="", window_size=7
    )
    with pytest.raises(ValueError, match="leave rcan out"):
        extra.ALL_BASELINES["rcan"](make_workload(config))


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_the_count_of_rcan_is_what_pytorch_counts_in_a_pass(scale: int, rcan: ModuleType) -> None:
    config = rcan.RCANConfig(scale=scale, num_groups=2, blocks_per_group=2)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        restored = rcan.RCAN(config)(torch.zeros(1, 3, 6, 5))
    assert counter.get_total_flops() == flops.FLOPS_PER_MULTIPLY_ADD * rcan.multiply_adds(config, 6, 5)
    assert restored.shape == (1, 3, 6 * scale, 5 * scale)


def test_rcan_has_the_parameters_that_the_literature_quotes(rcan: ModuleType) -> None:
    with torch.device("meta"):
        network = rcan.RCAN(rcan.RCANConfig(scale=4))
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert millions == pytest.approx(15.6, abs=0.05)


def test_a_worker_of_a_cluster_is_killed_and_every_output_is_there(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray", reason="needs Ray")
    try:
        status = run("cluster.py", "kill", "--smoke")
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        pytest.skip("Ray does not start in its half a minute on a machine this busy")
    assert status == 0
    measured = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert measured["outcomes"] == {"done": 9}
    assert measured["killed"] is not None
