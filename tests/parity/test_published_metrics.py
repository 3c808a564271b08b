"""PSNR, SSIM and PSNR-B equal those of the evaluation code published with SwinIR."""

import json
from pathlib import Path

import pytest

from swinir.imaging import read
from swinir.metrics import psnr, psnr_b, ssim

FUNCTIONS = {"psnr": psnr, "ssim": ssim, "psnrb": psnr_b}
RECORDS = json.loads((Path(__file__).parent.parent / "golden" / "metrics" / "expected.json").read_text())


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["name"])
def test_metrics_equal_the_published_ones(golden: Path, record: dict[str, float]):
    name = record["name"]
    restored = read(golden / "metrics" / f"{name}_distorted.png").pixels
    reference = read(golden / "metrics" / f"{name}_reference.png").pixels
    expected = {key: value for key, value in record.items() if key != "name"}
    measured = {}
    for key in expected:
        function, channel, border = key.split("_")
        measured[key] = FUNCTIONS[function](
            restored, reference, int(border.removeprefix("b")), "y" if channel == "y" else "rgb"
        )
    assert measured == pytest.approx(expected, abs=1e-4)
