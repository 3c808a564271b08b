"""Put trained weights into the package: store them as fp16, measure what is stored, keep the figures with them.

    python benchmarks/bundle_model.py runs/lightweight_x2/last.safetensors lightweight-x2 \
        Set5=testsets/Set5 Set14=testsets/Set14 BSD100=testsets/BSD100

Writes src/swinir/weights/bundled/NAME.safetensors (figures in its metadata) and benchmarks/results/NAME.json.
"""

import json
import platform
import sys
from datetime import date
from pathlib import Path

import torch

from swinir.data import super_resolution_pairs
from swinir.engine import Restorer
from swinir.evaluation import evaluate
from swinir.weights import load_checkpoint, save_checkpoint

REPOSITORY = Path(__file__).resolve().parent.parent


def main(weights: Path, name: str, *sets: str) -> None:
    """Store, measure, store again with the figures."""
    config, state_dict = load_checkpoint(weights)
    bundled = REPOSITORY / "src" / "swinir" / "weights" / "bundled" / f"{name}.safetensors"
    save_checkpoint(bundled, config, state_dict, dtype=torch.float16)
    restorer = Restorer.from_pretrained(bundled, device="cpu", precision="fp32", tile=None)
    figures: dict[str, tuple[float, float]] = {}
    reports = []
    for text in sets:
        data, _, folder = text.partition("=")
        pairs = super_resolution_pairs(Path(folder), config.scale, config.in_channels)
        report = evaluate(restorer, pairs, data=data, task=f"bicubic ×{config.scale}")
        figures[data] = (round(report.psnr_db, 2), round(report.ssim, 4))
        reports.append(report.to_dict())
        print(name, data, *figures[data], flush=True)
    save_checkpoint(
        bundled, config, state_dict, dtype=torch.float16, metadata={"figures": json.dumps(figures)}
    )
    measured = {
        "model": name,
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()} CPU, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "reports": reports,
    }
    results = REPOSITORY / "benchmarks" / "results" / f"{name}.json"
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
