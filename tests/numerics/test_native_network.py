"""Whole networks on the native kernels: what they restore, and the memory they take."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from recordings import read_recording
from swinir import SwinIR, imaging, metrics
from swinir.engine import Restorer, cost
from swinir.engine.inference import InferenceNetwork
from swinir.imaging.resize import resize_bicubic
from swinir.model import VARIANTS
from swinir.ops import ISA_VARIABLE, Backend, native, reference

REPOSITORY = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
LIBRARY = native.load_library()
needs_library = pytest.mark.skipif(isinstance(LIBRARY, str), reason=str(LIBRARY))
RECORDINGS = ("color_jpeg", "gray_denoise", "gray_jpeg_3conv", "lightweight_x2", "lightweight_x3")
# The sample photo stands in where there are no test sets; of Set5 the two smallest.
SAMPLE = "chelsea"
PICTURES = [(SAMPLE, 2), (SAMPLE, 3), (SAMPLE, 4), ("butterfly", 2), ("butterfly", 4), ("head", 4)]


def backend_of(isa: native.Isa) -> Backend:
    return Backend(
        name=isa.name,
        reason="it is tested",
        transformer_layer=reference.transformer_layer,
        packer=native.Packer(LIBRARY, isa),
    )


def isas() -> list[native.Isa]:
    return [] if isinstance(LIBRARY, str) else [isa for isa in LIBRARY.isas() if isa.runs_here]


def read_unit(path: Path) -> np.ndarray:
    return imaging.read(path).pixels.astype(np.float32) / 255


@cache
def read_pair(picture: str, scale: int, set5: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Read a small image and its ground truth, float32 in [0, 1]."""
    if set5 is None:
        hq = read_unit(REPOSITORY / "examples" / f"{picture}.png")[40:184, 90:282]
        return resize_bicubic(hq, 1 / scale).clip(0, 1), hq
    [lq] = (set5 / "LR_bicubic" / f"X{scale}").glob(f"{picture}*")
    return read_unit(lq), read_unit(set5 / "HR" / f"{picture}.png")


@cache
def restore(picture: str, scale: int, set5: Path | None, precision: str, isa: str | None) -> np.ndarray:
    """Restore with the bundled model; ``isa`` None is what the Restorer chooses."""
    lq, _ = read_pair(picture, scale, set5)
    with pytest.MonkeyPatch.context() as patch:
        if isa is None:
            patch.delenv(ISA_VARIABLE, raising=False)
        else:
            patch.setenv(ISA_VARIABLE, isa)
        restorer = Restorer.from_pretrained(f"lightweight-x{scale}", device="cpu", precision=precision)
    return restorer(lq)


@pytest.fixture(params=PICTURES, ids=lambda pair: f"{pair[0]}-x{pair[1]}")
def picture(request) -> tuple[str, int, Path | None]:
    """Name a picture, its scale, and the folder of Set5 unless it is the sample."""
    name, scale = request.param
    if name == SAMPLE:
        return name, scale, None
    return name, scale, request.getfixturevalue("shared") / "testsets" / "Set5"


def test_bf16_restores_as_well_as_fp32(picture):
    _, hq = read_pair(*picture)
    scale = picture[1]
    quality = {
        precision: metrics.psnr(restore(*picture, precision, None), hq, border_px=scale, channel="y")
        for precision in ("fp32", "bf16")
    }
    assert quality["fp32"] > 20
    assert abs(quality["bf16"] - quality["fp32"]) <= 0.01


def test_nobody_sees_bf16_from_fp32(picture):
    assert metrics.psnr(restore(*picture, "bf16", None), restore(*picture, "fp32", None)) >= 55


@needs_library
def test_native_fp32_restores_what_the_reference_does(picture):
    ours, expected = restore(*picture, "fp32", None), restore(*picture, "fp32", "reference")
    assert metrics.psnr(ours, expected) >= 90
    assert np.abs(ours - expected).max() < 1e-4


@needs_library
@pytest.mark.parametrize("isa", isas(), ids=lambda isa: isa.name)
@pytest.mark.parametrize("name", RECORDINGS)
def test_a_network_on_the_native_kernels_is_the_published_one(golden, name, isa):
    config, state_dict, pairs = read_recording(golden / "network" / f"{name}.safetensors")
    network = SwinIR(config).eval()
    network.load_state_dict(state_dict)
    packed = InferenceNetwork(network, backend_of(isa))
    for image, expected in pairs:
        with torch.inference_mode():
            restored = packed(image)
        assert restored.shape == expected.shape
        limit = 0.03 if isa.is_bf16 else 2e-5
        assert (restored - expected).abs().max() <= limit


# What enlarges its features by more than two does so in bands, which count for less the larger the image is.
@needs_library
@pytest.mark.parametrize(
    ("name", "side_px"),
    [
        ("lightweight-x2", 64),
        ("lightweight-x4", 64),
        ("color-denoise", 32),
        ("color-jpeg", 35),
        ("classical-x2", 32),
        ("classical-x4", 192),
        ("real-m-x4", 192),
        ("real-l-x4", 192),
    ],
)
def test_a_forward_pass_takes_at_most_six_maps_of_features(name, side_px):
    # However many groups there are, one is at work at a time.
    config = replace(VARIANTS[name], depths=(2, 2), num_heads=VARIANTS[name].num_heads[:2])
    network = InferenceNetwork(SwinIR(config).eval(), backend_of(isas()[0]))
    with torch.no_grad():
        taken = cost.trace_peak(network, channels=config.in_channels, side_px=side_px, device=CPU)
    assert taken <= 6 * side_px**2 * config.embed_dim * 4
