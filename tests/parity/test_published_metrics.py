"""PSNR, SSIM and PSNR-B equal those of the evaluation code published with SwinIR."""

import json
from pathlib import Path
from statistics import fmean

import pytest

from swinir.imaging import modcrop, read
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


def test_outputs_of_the_published_model_have_the_papers_figures(shared: Path):
    """Table 2 prints 38.35 / 0.9620 for SwinIR trained on DIV2K, ×2, Set5."""
    outputs = sorted((shared / "golden" / "published_outputs_set5_x2").glob("*_SwinIR.png"))
    figures = []
    for path in outputs:
        original = read(shared / "testsets" / "Set5" / "HR" / path.name.replace("_SwinIR", "")).pixels
        hq = modcrop(original, 2)
        restored = read(path).pixels
        figures.append((psnr(restored, hq, 2, "y"), ssim(restored, hq, 2, "y")))
    assert len(figures) == 5
    psnr_db, similarity = (fmean(values) for values in zip(*figures, strict=True))
    assert round(psnr_db, 2) == 38.35
    assert round(similarity, 4) == 0.9620
