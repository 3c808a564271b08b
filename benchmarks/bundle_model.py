"""Put trained weights into the package: store them as fp16, measure what is stored, keep the figures with them.

    python benchmarks/bundle_model.py runs/lightweight_x2/last.safetensors lightweight-x2 super-resolution \
        Set5=testsets/Set5 Set14=testsets/Set14 BSD100=testsets/BSD100
    python benchmarks/bundle_model.py runs/denoise/last.safetensors denoise denoising \
        Kodak24=testsets/Kodak24 --noise 15 25 50
    python benchmarks/bundle_model.py --smoke    # a tiny network on the sample photo, written nowhere

Writes src/swinir/weights/bundled/NAME.safetensors (figures in its metadata) and benchmarks/results/NAME.json, which
also has the PSNR of the pictures as they were, or enlarged by bicubic.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from swinir import imaging
from swinir.data import Bicubic, GaussianNoise, Jpeg, RealWorld
from swinir.data.bsrgan import REALISTIC
from swinir.engine import Restorer
from swinir.evaluation import EvaluationSet, Report, choose_protocol, evaluate
from swinir.evaluation.evaluate import to_uint8
from swinir.evaluation.measures import COMPARISONS
from swinir.model import VARIANTS, SwinIR, SwinIRConfig
from swinir.provenance import read_provenance
from swinir.weights import load_checkpoint, save_checkpoint
from swinir.weights.catalog import FIGURES_KEY, TASK_KEY
from swinir.weights.records import Task

REPOSITORY = Path(__file__).resolve().parent.parent
BUNDLED = REPOSITORY / "src" / "swinir" / "weights" / "bundled"
RESULTS = REPOSITORY / "benchmarks" / "results"


def main(
    arguments: argparse.Namespace, *, weights_folder: Path = BUNDLED, results_folder: Path = RESULTS
) -> None:
    """Store, measure, store again with the figures."""
    config, state_dict = load_checkpoint(arguments.weights)
    bundled = weights_folder / f"{arguments.name}.safetensors"
    metadata = {TASK_KEY: arguments.task}
    save_checkpoint(bundled, config, state_dict, dtype=torch.float16, metadata=metadata)
    restorer = Restorer.from_pretrained(bundled, device="cpu", precision="fp32", tile=None)
    figures: dict[str, tuple[float, float]] = {}
    reports: list[Report] = []
    untouched: dict[str, float] = {}
    for test_set in list_sets(arguments):
        data = test_set.name
        report = evaluate(restorer, test_set)
        figures[data] = (round(report.psnr_db, 2), round(report.ssim, 4))
        reports.append(report)
        untouched[data] = measure_untouched_db(test_set, config)
        print(arguments.name, data, *figures[data], "untouched", round(untouched[data], 2), flush=True)
    metadata[FIGURES_KEY] = json.dumps(figures)
    save_checkpoint(bundled, config, state_dict, dtype=torch.float16, metadata=metadata)
    measured = {
        "model": arguments.name,
        **read_provenance().to_dict(),
        "threads": torch.get_num_threads(),
        "untouched": untouched,
        "reports": [report.to_dict() for report in reports],
    }
    results_folder.mkdir(exist_ok=True)
    results = results_folder / f"{arguments.name}.json"
    results.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


def try_out(parser: argparse.ArgumentParser) -> None:
    """Bundle a tiny network with random weights in a folder that is removed again."""
    config = replace(VARIANTS["lightweight-x2"], embed_dim=12, depths=(1,), num_heads=(2,))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        photo = imaging.read(REPOSITORY / "examples" / "chelsea.png")
        small = photo.with_pixels(np.ascontiguousarray(photo.pixels[:48, :40]), None)
        imaging.write(small, folder / "pictures" / "chelsea.png")
        save_checkpoint(folder / "weights.safetensors", config, SwinIR(config).state_dict())
        words = [
            str(folder / "weights.safetensors"),
            "tiny",
            "super-resolution",
            f"Set={folder / 'pictures'}",
        ]
        main(parser.parse_args(words), weights_folder=folder, results_folder=folder)


class TryOut(argparse.Action):
    """``--smoke``: needs none of the other arguments."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Try out and stop."""
        try_out(parser)
        parser.exit()


def measure_untouched_db(test_set: EvaluationSet, config: SwinIRConfig) -> float:
    """Measure the low quality itself, enlarged by bicubic where the model enlarges."""
    protocol = choose_protocol(config, test_set.degradation)
    compare = COMPARISONS[protocol.quoted[0]]
    figures: list[float] = []
    for pair in test_set.pairs(config):
        lq = np.asarray(pair.lq, np.float32) / (255 if pair.lq.dtype == np.uint8 else 1)
        enlarged = imaging.resize_bicubic(lq, config.scale) if config.scale > 1 else lq
        figures.append(compare(to_uint8(enlarged), pair.hq, protocol.border_px(config.scale)))
    return fmean(figures)


def list_sets(arguments: argparse.Namespace) -> Iterator[EvaluationSet]:
    """Yield what the model is measured on: every test set under every degradation asked for."""
    for text in arguments.sets:
        name, _, path = text.partition("=")
        folder = Path(path)
        for sigma in arguments.noise:
            noise = GaussianNoise(sigma=(sigma, sigma))
            yield EvaluationSet(name=f"{name}, noise {sigma}", folder=folder, degradation=noise)
        for quality in arguments.jpeg:
            jpeg = Jpeg(quality=(quality, quality))
            yield EvaluationSet(name=f"{name}, quality {quality}", folder=folder, degradation=jpeg)
        if arguments.real_world:
            chain = RealWorld(options=REALISTIC)
            yield EvaluationSet(name=f"{name}, degraded", folder=folder, degradation=chain)
        elif not arguments.noise and not arguments.jpeg:
            yield EvaluationSet(name=name, folder=folder, degradation=Bicubic())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("name")
    parser.add_argument("task", choices=[task.value for task in Task])
    parser.add_argument("sets", nargs="+", metavar="SET=FOLDER")
    parser.add_argument("--noise", type=int, nargs="+", default=[], help="levels, of 255")
    parser.add_argument("--jpeg", type=int, nargs="+", default=[], help="qualities")
    parser.add_argument("--real-world", action="store_true", help="degraded as real-x4 was trained")
    parser.add_argument("--smoke", action=TryOut, nargs=0, help="try this script, and write nothing")
    main(parser.parse_args())
