"""Evaluation: the paper's padding, borders, colours and means, against figures worked out by hand."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from swinir import imaging, metrics
from swinir.data.degradations import add_gaussian_noise
from swinir.engine import Restorer
from swinir.errors import DataError
from swinir.evaluation import METRICS, PROTOCOLS, ImageFigures, Padding, Report, Sample, measure_samples
from swinir.evaluation.evaluate import pad_as_published
from swinir.evaluation.known_sets import CopyCheck
from swinir.evaluation.measures import measure
from swinir.evaluation.report import describe_model
from swinir.model import SwinIR, SwinIRConfig, Upsampler

CONFIG = SwinIRConfig(
    scale=2,
    in_channels=3,
    embed_dim=8,
    depths=(2,),
    num_heads=(2,),
    window_size=8,
    upsampler=Upsampler.PIXEL_SHUFFLE_DIRECT,
)


def restorer_of(*, tile=None, precision="fp32", **changes) -> Restorer:
    config = SwinIRConfig(**{**vars(CONFIG), **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state_dict = SwinIR(config).state_dict()
    return Restorer(config, state_dict, name="tiny", device="cpu", precision=precision, tile=tile)


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    layers = [np.sin(0.2 * rows * (c + 1) + 0.3 * columns + seed) for c in range(channels)]
    return (127 + 120 * np.stack(layers, axis=2)).astype(np.uint8)


def pair_of(height: int, width: int, channels: int = 3, name: str = "a", seed: int = 0) -> Sample:
    hq = picture(height, width, channels, seed)
    return Sample(name=name, lq=imaging.resize_bicubic(hq, 1 / 2), hq=hq)


def restore_padded(restorer: Restorer, lq: np.ndarray) -> np.ndarray:
    """Restore by the published padding, as the network does it alone."""
    height, width = (side * restorer.scale for side in lq.shape[:2])
    batch = torch.from_numpy(pad_as_published(lq, 8).astype(np.float32) / 255).permute(2, 0, 1)[None]
    unit = restorer.restore_batch(batch)[0].permute(1, 2, 0)[:height, :width].numpy()
    return np.floor(unit * np.float32(255) + np.float32(0.5)).astype(np.uint8)


SUPER_RESOLUTION, DENOISING = PROTOCOLS["lightweight-sr"], PROTOCOLS["color-denoising"]
AS_USERS_DO = replace(SUPER_RESOLUTION, padding=Padding.ENGINE)


def report_of(restorer: Restorer, *samples: Sample, protocol=SUPER_RESOLUTION) -> Report:
    images = measure_samples(restorer, samples, data="Set", protocol=protocol)
    return make_report(*images, protocol=protocol, model=describe_model(restorer))


def make_report(*images: ImageFigures, protocol=SUPER_RESOLUTION, model=None, **changes) -> Report:
    values = {
        "model": model or describe_model(restorer_of()),
        "data": "Set",
        "task": "bicubic ×2",
        "level": 2,
        "protocol": protocol,
        "images": images,
        "copy": CopyCheck(),
    }
    return Report(**{**values, **changes})


@pytest.mark.parametrize(("side_px", "padded_px"), [(57, 64), (63, 64), (64, 72), (65, 72), (1, 8), (8, 16)])
def test_the_papers_padding_reaches_the_next_multiple_always(side_px, padded_px):
    assert pad_as_published(np.zeros((side_px, 3, 1)), 8).shape == (padded_px, 8, 1)
    assert pad_as_published(np.zeros((3, side_px, 1)), 8).shape == (8, padded_px, 1)


def test_the_papers_padding_mirrors_with_the_edge():
    lq = np.arange(12).reshape(3, 4, 1)
    padded = pad_as_published(lq, 8)[..., 0]
    assert padded[0].tolist() == [0, 1, 2, 3, 3, 2, 1, 0]
    assert padded[:, 0].tolist() == [0, 4, 8, 8, 4, 0, 0, 4]


def test_the_papers_padding_is_that_of_flipped_copies():
    lq = np.random.default_rng(0).integers(0, 256, (20, 33, 3))
    flipped = np.concatenate([lq, lq[::-1]], axis=0)[:24]
    flipped = np.concatenate([flipped, flipped[:, ::-1]], axis=1)[:, :40]
    assert np.array_equal(pad_as_published(lq, 8), flipped)


def test_figures_are_those_of_the_metrics_inside_a_border_of_the_scale():
    restorer, pair = restorer_of(), pair_of(50, 44)
    restored = restore_padded(restorer, pair.lq)
    (figures,) = report_of(restorer, pair).images
    inside = (slice(2, -2), slice(2, -2))
    error = imaging.rgb_to_y(restored)[inside] - imaging.rgb_to_y(pair.hq)[inside]
    assert figures["psnr_y_db"] == pytest.approx(10 * math.log10(255**2 / np.mean(error**2)))
    colours = restored[inside].astype(float) - pair.hq[inside]
    assert figures["psnr_rgb_db"] == pytest.approx(10 * math.log10(255**2 / np.mean(colours**2)))
    assert figures["ssim_y"] == metrics.ssim(restored, pair.hq, 2, "y")
    assert figures["ssim_rgb"] == metrics.ssim(restored, pair.hq, 2)
    assert figures["psnr_b_db"] == metrics.psnr_b(restored, pair.hq, 2, "y")
    assert figures["psnr_b_rgb_db"] == metrics.psnr_b(restored, pair.hq, 2)


def test_without_enlarging_no_border_is_cut():
    restorer = restorer_of(scale=1, upsampler=Upsampler.NONE)
    hq = picture(24, 20)
    lq = hq.copy()
    lq[0, 0] = 255 - lq[0, 0]
    (figures,) = report_of(restorer, Sample(name="a", lq=lq, hq=hq), protocol=DENOISING).images
    restored = restore_padded(restorer, lq)
    assert figures["psnr_rgb_db"] == metrics.psnr(restored, hq)


def test_grey_pictures_are_measured_by_their_values():
    restorer, pair = restorer_of(in_channels=1), pair_of(40, 48, 1)
    (figures,) = report_of(restorer, pair).images
    assert figures["psnr_y_db"] == figures["psnr_rgb_db"]
    assert figures["ssim_y"] == figures["ssim_rgb"]
    restored = restore_padded(restorer, pair.lq)
    assert figures["psnr_y_db"] == metrics.psnr(restored, pair.hq, 2)


def test_identical_pictures_are_infinitely_alike_and_json_says_null():
    # Flat, since PSNR-B charges a picture for the steps that it has itself.
    image = np.full((20, 20, 3), 77, np.uint8)
    figures = make_figures("a", **measure(image, image, border_px=0))
    assert figures["psnr_y_db"] == figures["psnr_rgb_db"] == figures["psnr_b_db"] == math.inf
    assert figures["ssim_y"] == pytest.approx(1)
    report = make_report(figures)
    assert report.psnr_db == math.inf
    written = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert written["images"][0]["psnr_y_db"] is None
    assert written["means"]["psnr_rgb_db"] is None
    assert written["means"]["seconds"] == 0.5


def make_figures(name: str, seconds: float = 0.5, **figures: float) -> ImageFigures:
    return ImageFigures(name=name, width=48, height=32, figures=figures, seconds=seconds)


def figures_of(name: str, base: float) -> ImageFigures:
    figures = {"psnr_y_db": base, "ssim_y": base / 100, "psnr_rgb_db": base + 1, "ssim_rgb": base / 200}
    return make_figures(name, seconds=base / 10, **figures)


@pytest.mark.parametrize(
    ("protocol", "psnr_db", "ssim"), [("lightweight-sr", 31.0, 0.31), ("gray-jpeg", 32.0, 0.155)]
)
def test_a_report_quotes_what_the_literature_quotes_for_its_task(protocol, psnr_db, ssim):
    report = make_report(figures_of("a", 30.0), figures_of("b", 32.0), protocol=PROTOCOLS[protocol])
    assert report.psnr_db == pytest.approx(psnr_db)
    assert report.ssim == pytest.approx(ssim)
    assert report.means["seconds"] == pytest.approx(3.1)


def test_a_report_survives_json_with_every_figure():
    restorer = restorer_of()
    report = report_of(restorer, pair_of(40, 40), pair_of(32, 48, name="b", seed=1))
    written = json.loads(json.dumps(report.to_dict()))
    assert [image["name"] for image in written["images"]] == ["a", "b"]
    assert {
        key: written[key] for key in ("model", "data", "task", "scale", "protocol", "num_images", "border_px")
    } == {
        "model": "tiny",
        "data": "Set",
        "task": "bicubic ×2",
        "scale": 2,
        "protocol": "lightweight-sr",
        "num_images": 2,
        "border_px": 2,
    }
    mean = (report.images[0]["psnr_y_db"] + report.images[1]["psnr_y_db"]) / 2
    assert written["means"]["psnr_y_db"] == pytest.approx(mean)


def test_every_picture_is_handed_over_with_what_was_restored_of_it():
    seen = []
    pairs = [pair_of(32, 32), pair_of(32, 40, name="b")]
    measure_samples(restorer_of(), pairs, data="d", protocol=SUPER_RESOLUTION, observe=seen.append)
    assert [found.sample for found in seen] == pairs
    assert [found.restored.shape for found in seen] == [(32, 32, 3), (32, 40, 3)]
    assert [found.figures.name for found in seen] == ["a", "b"]


def test_both_paddings_agree_closely():
    pair = pair_of(90, 74)
    paper = report_of(restorer_of(), pair)
    engine = report_of(restorer_of(tile="auto"), pair, protocol=AS_USERS_DO)
    assert paper.to_dict()["padding"] == "published"
    assert engine.to_dict()["padding"] == "engine"
    assert paper.psnr_db == pytest.approx(engine.psnr_db, abs=0.1)


def test_noise_that_no_integer_holds_is_restored_and_measured():
    restorer = restorer_of(scale=1, upsampler=Upsampler.NONE)
    hq = picture(40, 48)
    hq[:8], hq[-8:] = 0, 255
    lq = add_gaussian_noise(hq, 50, np.random.RandomState(0))
    assert lq.min() < -0.5
    (figures,) = report_of(restorer, Sample(name="a", lq=lq, hq=hq), protocol=DENOISING).images
    batch = torch.from_numpy(pad_as_published(lq, 8)).permute(2, 0, 1)[None]
    restored = restorer.restore_batch(batch)[0].permute(1, 2, 0)[:40, :48].numpy()
    expected = (restored.clip(0, 1) * 255).round().astype(np.uint8)
    assert figures["psnr_rgb_db"] == metrics.psnr(expected, hq)


def test_no_pictures_are_an_error_that_names_the_set():
    with pytest.raises(DataError, match="Set holds no pictures"):
        report_of(restorer_of())


def test_a_picture_too_small_to_be_measured_is_named():
    with pytest.raises(DataError, match=r"tiny_one in Set is 18×40 pixels.*20 a side"):
        report_of(restorer_of(), pair_of(40, 18, name="tiny_one"))


def test_the_papers_protocol_never_tiles():
    pair = pair_of(160, 140)
    assert report_of(restorer_of(tile=32), pair).psnr_db == report_of(restorer_of(), pair).psnr_db


def test_every_protocol_quotes_metrics_that_there_are():
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert set(protocol.quoted) <= set(METRICS)
        assert protocol.source
