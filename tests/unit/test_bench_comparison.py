"""What a comparison reports of each method."""

import json
from collections.abc import Callable
from math import inf

import pytest
import torch

from swinir import Restorer, SwinIR, SwinIRConfig
from swinir.bench import BASELINES, Comparison, Method, Row, WarmedUp, Workload, baselines, prepare
from swinir.bench.comparison import Difference, compute_difference, make_row, oom_as_restore_error, warm_up
from swinir.bench.meter import CpuMeter
from swinir.bench.workload import draw_image
from swinir.cli.bench import HEADINGS, cells, table
from swinir.errors import RestoreError
from swinir.options import Precision


def make_method(**changes: object) -> Method:
    values = {
        "name": "openvino",
        "settings": "fast",
        "precision": Precision.BF16,
        "multiply_adds": 5_000_000_000,
        "restore": lambda image: image,
    }
    return Method(**{**values, **changes})


def measured_row(**changes: object) -> Row:
    values = {
        "peak_bytes": 12_345_678,
        "difference": Difference(max_abs_error=0.01, psnr_db=54.32, relative_error=0.004),
    }
    ready = WarmedUp(method=make_method(), **{**values, **changes})
    return make_row(ready, [2.0, 1.0, 4.0], [1.0, 0.5, 1.0], gemm_gflop_per_s=20.0)


def make_comparison(*rows: Row) -> Comparison:
    return Comparison(
        provenance={"version": "1.2.3", "commit": None, "cpu": "Fast Chip"},
        model="lightweight-x4",
        weights="random",
        scale=4,
        batch=1,
        size=(48, 64),
        precision="bf16",
        backend="reference",
        reason="plain PyTorch",
        threads=2,
        rounds=3,
        gemm_gflop_per_s={"fp32": 10.0, "bf16": 20.0},
        rows=rows,
        failed={},
        device="cpu",
    )


def test_rates_are_those_of_the_median_round() -> None:
    found = measured_row()
    assert found.gflop == 10.0
    assert found.gflop_per_s == 5.0
    assert found.fraction_of_gemm_peak == 0.25


def test_times_ours_is_the_median_of_each_rounds_ratio() -> None:
    assert measured_row().times_ours == 2.0


@pytest.mark.parametrize(("relative_error", "agrees"), [(0.004, True), (0.2, False)])
def test_a_method_that_restores_something_else_does_not_agree(relative_error: float, agrees: bool) -> None:
    found = measured_row(
        difference=Difference(max_abs_error=0.1, psnr_db=30.0, relative_error=relative_error)
    )
    assert found.agrees is agrees
    assert cells(found)[-1].endswith("WRONG") is not agrees


def test_another_network_has_nothing_to_agree_with() -> None:
    found = measured_row(difference=None)
    assert found.agrees
    assert cells(found)[-1] == "other network"
    assert found.to_dict()["psnr_db"] is None


def test_difference_of_equal_pictures_is_none() -> None:
    picture = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert compute_difference(picture, picture) == (0.0, inf, 0.0)


def test_difference_is_a_share_of_the_deviation() -> None:
    right = torch.tensor([0.0, 1.0])
    found = compute_difference(right + 0.05, right)
    assert found.max_abs_error == pytest.approx(0.05)
    assert found.psnr_db == pytest.approx(26.02, abs=0.01)
    assert found.relative_error == pytest.approx(0.1)


def test_the_table_has_a_cell_for_each_heading() -> None:
    grid = table(make_comparison(measured_row()))
    assert [column.header for column in grid.columns] == list(HEADINGS)
    assert cells(measured_row()) == (
        "openvino",
        "bf16",
        "1.400",
        "2.000",
        "3.200",
        "5",
        "25 %",
        "12",
        "2.00",
        "54.3 dB",
    )


def test_times_of_a_gpu_have_their_digits() -> None:
    found = make_row(WarmedUp(make_method(), None, None), [0.00123456] * 2, [1.0] * 2, gemm_gflop_per_s=20.0)
    assert cells(found)[2:5] == ("0.001235",) * 3


def test_an_output_without_error_is_called_equal() -> None:
    assert (
        cells(measured_row(difference=Difference(max_abs_error=0.0, psnr_db=inf, relative_error=0.0)))[-1]
        == "equal"
    )


def test_unknown_memory_is_a_dash() -> None:
    assert "-" in cells(measured_row(peak_bytes=None))


def test_the_document_is_json_with_every_sample() -> None:
    infinite = Difference(max_abs_error=0.0, psnr_db=inf, relative_error=0.0)
    document = json.loads(
        json.dumps(make_comparison(measured_row(difference=infinite)).to_dict(), allow_nan=False)
    )
    assert document["kind"] == "bench"
    assert document["cpu"] == "Fast Chip"
    assert document["size"] == [48, 64]
    assert document["gemm_gflop_per_s"] == {"fp32": 10.0, "bf16": 20.0}
    (only,) = document["rows"]
    assert set(only) == {
        "method",
        "settings",
        "precision",
        "gflop",
        "p20_s",
        "p50_s",
        "p80_s",
        "gflop_per_s",
        "fraction_of_gemm_peak",
        "peak_bytes",
        "times_ours",
        "max_abs_error",
        "psnr_db",
        "relative_error",
        "agrees",
        "seconds",
    }
    assert only["seconds"] == [2.0, 1.0, 4.0]
    assert only["psnr_db"] is None


def test_warming_up_runs_twice_and_returns_the_output() -> None:
    calls: list[int] = []

    def restore(image: torch.Tensor) -> torch.Tensor:
        calls.append(len(calls))
        return image + 1

    _, restored = warm_up(make_method(restore=restore), torch.zeros(1, 1, 2, 2), CpuMeter())
    assert calls == [0, 1]
    assert restored.eq(1).all()


def tiny_workload(batch: int = 1) -> Workload:
    config = SwinIRConfig(
        scale=2,
        in_channels=3,
        embed_dim=12,
        depths=(1,),
        num_heads=(2,),
        upsampler="pixelshuffledirect",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state_dict = SwinIR(config).state_dict()
    return Workload(
        restorer=Restorer(config, state_dict, device="cpu", precision="fp32"),
        state_dict=state_dict,
        image=draw_image(3, (8, 16), torch.Generator().manual_seed(0), batch=batch),
        threads=1,
    )


def fails(error: Exception) -> Callable[[Workload], Method]:
    def build(workload: Workload) -> Method:
        def restore(image: torch.Tensor) -> torch.Tensor:
            raise error

        return make_method(restore=restore)

    return build


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 6.00 GiB"), "out of memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "out of memory"),
        (RuntimeError("CompilationError: at 3:5\nmuch more"), "CompilationError: at 3:5"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_a_method_that_fails_is_named_and_the_rest_goes_on(error: Exception, why: str) -> None:
    builders = {"original": fails(error), "reference": BASELINES["reference"]}
    methods, failed = prepare(tiny_workload(), builders)
    assert [warm.method.name for warm in methods] == ["swinir", "reference"]
    assert failed == {"original": why}


def test_a_mistake_in_a_method_is_not_hidden() -> None:
    with pytest.raises(AssertionError, match="wrong shape"):
        prepare(tiny_workload(), {"original": fails(AssertionError("wrong shape"))})


def test_too_little_memory_for_ours_names_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "ours", fails(torch.OutOfMemoryError("CUDA out of memory.")))
    workload = tiny_workload(batch=3)
    with (
        pytest.raises(RestoreError, match="too little memory for 3 × 8×16 pixels"),
        oom_as_restore_error(workload),
    ):
        prepare(workload, {})


def test_other_errors_of_ours_are_not_called_a_shortage() -> None:
    with pytest.raises(RuntimeError, match="illegal instruction"), oom_as_restore_error(tiny_workload()):
        raise RuntimeError("illegal instruction")


def test_a_batch_is_as_many_images_of_arithmetic() -> None:
    assert tiny_workload(batch=3).multiply_adds == 3 * tiny_workload().multiply_adds
