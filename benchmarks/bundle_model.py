"""Put trained weights into the package: store them as fp16, measure what is stored, keep the figures with them.

    python benchmarks/bundle_model.py runs/lightweight_x2/last.safetensors lightweight-x2 super-resolution \
        Set5=testsets/Set5 Set14=testsets/Set14 BSD100=testsets/BSD100
    python benchmarks/bundle_model.py runs/denoise/last.safetensors denoise denoising \
        Kodak24=testsets/Kodak24 --noise 15 25 50

Writes src/swinir/weights/bundled/NAME.safetensors (figures in its metadata) and benchmarks/results/NAME.json.
"""

import argparse
import json
import platform
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import torch

from swinir.data import Pair, denoising_pairs, jpeg_pairs, real_world_pairs, super_resolution_pairs
from swinir.data.bsrgan import REALISTIC
from swinir.engine import Restorer
from swinir.evaluation import Protocol, Report, evaluate
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
    for text in arguments.sets:
        name, _, folder = text.partition("=")
        for data, task, pairs in tests(name, Path(folder), arguments, config.scale):
            report = evaluate(restorer, pairs, data=data, task=task, protocol=Protocol.PAPER)
            figures[data] = (round(report.psnr_db, 2), round(report.ssim, 4))
            reports.append(report)
            print(arguments.name, data, *figures[data], flush=True)
    metadata[FIGURES_KEY] = json.dumps(figures)
    save_checkpoint(bundled, config, state_dict, dtype=torch.float16, metadata=metadata)
    measured = {
        "model": arguments.name,
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()} CPU, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "reports": [report.to_dict() for report in reports],
    }
    results = REPOSITORY / "benchmarks" / "results" / f"{arguments.name}.json"
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


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
