"""Tiles against the whole image, and the memory that was foretold against the memory that was taken."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recordings import read_recording, tame
from swinir import imaging, metrics
from swinir.engine import Restorer, tiling
from swinir.weights import catalog

REPOSITORY = Path(__file__).resolve().parents[2]
MODEL = "lightweight-x2"
TILE_PX = 96
# The bar of the product: nobody sees a difference that small.
LEAST_PSNR_DB = 55.0
# A line in the difference, averaged along it, in 8-bit steps. Blended tiles of a SwinIR-S leave 0.001, cuts 0.07.
MOST_STEP = 0.02 / 255


def restorer(golden: Path, *, tile: int | None, precision: str) -> Restorer:
    """Return the bundled model, or where a clone has none the recorded network of two layers, made tame."""
    if MODEL in catalog.bundled_models():
        return Restorer.from_pretrained(MODEL, device="cpu", precision=precision, tile=tile)
    config, state_dict, _ = read_recording(golden / "network" / "lightweight_x2.safetensors")
    return Restorer(config, tame(state_dict), device="cpu", precision=precision, tile=tile)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """The middle of the sample photo, of a size that is no multiple of the window."""
    pixels = imaging.read(REPOSITORY / "examples" / "chelsea.png").pixels
    return pixels[50:205, 100:290].astype(np.float32) / 255


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_tiled_equals_whole(golden: Path, photo: np.ndarray, precision: str) -> None:
    whole = restorer(golden, tile=None, precision=precision)(photo)
    tiled = restorer(golden, tile=TILE_PX, precision=precision)(photo)
    assert metrics.psnr(tiled, whole) >= LEAST_PSNR_DB
    assert np.abs(tiled - whole).max() <= 2 / 255


def test_difference_between_tiled_and_whole_has_no_grid(golden: Path, photo: np.ndarray) -> None:
    difference = restorer(golden, tile=TILE_PX, precision="fp32")(photo) - restorer(
        golden, tile=None, precision="fp32"
    )(photo)
    cut = tiling.plan(*photo.shape[:2], window_size=8, tile_px=TILE_PX)
    assert cut.num_tiles == 6
    across = np.diff(difference.mean(axis=(0, 2)))
    down = np.diff(difference.mean(axis=(1, 2)))
    assert np.abs(across).max() < MOST_STEP
    assert np.abs(down).max() < MOST_STEP


RESTORE_AND_TELL_MEMORY = """
import json
from pathlib import Path
import torch
from swinir import SwinIR
from swinir.engine import Restorer
from swinir.model import VARIANTS

def peak_bytes(name):
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(name + ":")[1].split()[0])

config = VARIANTS["lightweight-x4"]
restorer = Restorer(config, SwinIR(config).state_dict(), device="cpu", precision="fp32")
restorer.budget.choose(1000, 1000)
before = peak_bytes("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
restorer.forward_pass(torch.rand(1, 3, 256, 256))
print(json.dumps([peak_bytes("VmHWM") - before, restorer.budget.cost.bytes_for(256 * 256)]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_forward_takes_the_memory_that_was_foretold() -> None:
    run = subprocess.run(
        [sys.executable, "-c", RESTORE_AND_TELL_MEMORY], capture_output=True, text=True, check=True
    )
    taken, foretold = json.loads(run.stdout)
    assert taken <= foretold
    assert foretold <= 2.5 * taken
