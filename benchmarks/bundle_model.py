"""Put trained weights into the package: store them as fp16, measure what is stored, keep the figures with them.

    python benchmarks/bundle_model.py runs/lightweight_x2/last.safetensors lightweight-x2 super-resolution \
        Set5=testsets/Set5 Set14=testsets/Set14 BSD100=testsets/BSD100
    python benchmarks/bundle_model.py runs/denoise/last.safetensors denoise denoising \
        Kodak24=testsets/Kodak24 --noise 15 25 50

Writes src/swinir/weights/bundled/NAME.safetensors (figures in its metadata) and benchmarks/results/NAME.json, which
also has the PSNR of the pictures as they were, or enlarged by bicubic.
"""

import argparse
import json
import platform
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from swinir.data import Pair, denoising_pairs, jpeg_pairs, real_world_pairs, super_resolution_pairs
from swinir.data.bsrgan import REALISTIC
from swinir.engine import Restorer
from swinir.evaluation import Protocol, Report, evaluate
from swinir.evaluation.evaluate import measure
from swinir.evaluation.report import ImageFigures
from swinir.imaging import resize_bicubic
from swinir.weights import load_checkpoint, save_checkpoint
from swinir.weights.catalog import FIGURES_KEY, TASK_KEY
from swinir.weights.records import Task

REPOSITORY = Path(__file__).resolve().parent.parent


def main(arguments: argparse.Namespace) -> None:
    """Store, measure, store again with the figures."""
    config, state_dict = load_checkpoint(arguments.weights)
    bundled = REPOSITORY / "src" / "swinir" / "weights" / "bundled" / f"{arguments.name}.safetensors"
    metadata = {TASK_KEY: arguments.task}
    save_checkpoint(bundled, config, state_dict, dtype=torch.float16, metadata=metadata)
    restorer = Restorer.from_pretrained(bundled, device="cpu", precision="fp32", tile=None)
    figures: dict[str, tuple[float, float]] = {}
    reports: list[Report] = []
    untouched: dict[str, float] = {}
    for text in arguments.sets:
        name, _, folder = text.partition("=")
        for data, task, pairs in tests(name, Path(folder), arguments, config.scale):
            kept = list(pairs)
            report = evaluate(restorer, kept, data=data, task=task, protocol=Protocol.PAPER)
            figures[data] = (round(report.psnr_db, 2), round(report.ssim, 4))
            reports.append(report)
            untouched[data] = psnr_untouched_db(kept, config.scale)
            print(arguments.name, data, *figures[data], "untouched", round(untouched[data], 2), flush=True)
    metadata[FIGURES_KEY] = json.dumps(figures)
    save_checkpoint(bundled, config, state_dict, dtype=torch.float16, metadata=metadata)
    measured = {
        "model": arguments.name,
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()} CPU, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "untouched": untouched,
        "reports": [report.to_dict() for report in reports],
    }
    results = REPOSITORY / "benchmarks" / "results" / f"{arguments.name}.json"
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


def psnr_untouched_db(pairs: list[Pair], scale: int) -> float:
    """Measure the low quality itself, enlarged by bicubic where the model enlarges: on Y then, else on RGB."""
    figures: list[ImageFigures] = []
    for pair in pairs:
        lq = np.asarray(pair.lq, np.float32) / (255 if pair.lq.dtype == np.uint8 else 1)
        enlarged = resize_bicubic(lq, scale) if scale > 1 else lq
        pixels = (enlarged.clip(0, 1) * 255).round().astype(np.uint8)
        figures.append(measure(pair.name, pixels, pair.hq, border_px=scale if scale > 1 else 0, seconds=0))
    return fmean(figure.psnr_y_db if scale > 1 else figure.psnr_rgb_db for figure in figures)


def tests(
    name: str, folder: Path, arguments: argparse.Namespace, scale: int
) -> Iterator[tuple[str, str, Iterator[Pair]]]:
    """Yield what is measured on a test set: a name, the task in words, and the pairs."""
    for sigma in arguments.noise:
        yield f"{name}, noise {sigma}", f"denoising, sigma {sigma} of 255", denoising_pairs(folder, sigma)
    for quality in arguments.jpeg:
        yield f"{name}, quality {quality}", f"JPEG of quality {quality}", jpeg_pairs(folder, quality)
    if arguments.real_world:
        yield f"{name}, degraded", f"real-world ×{scale}", real_world_pairs(folder, scale, REALISTIC)
    elif not arguments.noise and not arguments.jpeg:
        yield name, f"bicubic ×{scale}", super_resolution_pairs(folder, scale)


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
    main(parser.parse_args())
