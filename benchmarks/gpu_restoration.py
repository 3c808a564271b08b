"""Measure restoration on a GPU in one sitting: against the published code's manner, torch.compile and RCAN.

    python benchmarks/gpu_restoration.py            # some minutes; appends to benchmarks/results/gpu.jsonl
    python benchmarks/gpu_restoration.py --smoke    # the same at tiny sizes on the CPU, written nowhere

For each network: seconds, share of the card's own matrix products, peak memory, and how far bf16 is from fp32.
Exits with 1 where an output is wrong or ours is not within 55 dB of fp32. Speeds stand beside what is hoped for.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import torch

from swinir.bench import Report, Task, compare, prepare
from swinir.bench.sitting import random_image
from swinir.cli.bench import find_network
from swinir.engine import Restorer, choose_device

RESULTS = Path(__file__).resolve().parent / "results" / "gpu.jsonl"
LEAST_DB = 55.0
# The compiler's best settings may take minutes to find.
EVERYBODY = ("original", "original-kept-masks", "compile")


class Case(NamedTuple):
    """A network, its input, who else restores it, and how many times as long they are hoped to take."""

    model: str
    side_px: int
    against: tuple[str, ...]
    hoped: dict[str, float]


CASES = (
    Case("classical-x4", 256, (*EVERYBODY, "rcan"), {"original": 10, "compile": 2, "rcan": 1}),
    Case("lightweight-x4", 256, EVERYBODY, {"original": 12, "compile": 2}),
    Case("lightweight-x2", 1024, EVERYBODY, {"original": 15, "compile": 2}),
)
# Tiny, and nobody who takes long to build.
SMOKE = (Case("lightweight-x4", 16, ("original", "original-kept-masks"), {"original": 1}),)


def measure(case: Case, device: torch.device, rounds: int) -> Report:
    """Hold one sitting."""
    config, state_dict, name, weights = find_network(case.model)
    restorer = Restorer(config, state_dict, name=name, device=device)
    size = (case.side_px, case.side_px)
    image = random_image(config.in_channels, size, torch.Generator().manual_seed(0)).to(device)
    task = Task(restorer=restorer, state_dict=state_dict, image=image, threads=torch.get_num_threads())
    prepared = prepare(task, case.against, notice=lambda who: print(f"  preparing {who}", flush=True))
    return compare(task, prepared, weights=weights, rounds=rounds)


def tell(case: Case, report: Report) -> bool:
    """Print what was found; return whether every output is right and ours near enough to fp32."""
    print(
        f"{case.model} on {case.side_px}×{case.side_px}: {report.backend}, {report.precision}, {report.reason}"
    )
    for row in report.rows:
        peak = "      -" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:7.0f}"
        hope = case.hoped.get(row.contender)
        print(
            f"  {row.contender:20} {row.precision}  {1e3 * row.quantiles.p50:9.2f} ms  {row.times_ours:6.2f} x ours"
            f"{'' if hope is None else f' (hoped {hope:g})'}  {100 * row.share_of_limit:3.0f} % of limit  {peak} MiB"
        )
    for name, why in report.failed.items():
        print(f"  {name:20} {why}")
    own = report.rows[0].difference
    return all(row.agrees for row in report.rows) and own is not None and own.psnr_db >= LEAST_DB


def main(*, smoke: bool, device: torch.device, rounds: int) -> int:
    """Hold every sitting."""
    all_right = True
    for case in SMOKE if smoke else CASES:
        report = measure(case, device, rounds)
        all_right &= tell(case, report)
        if not smoke:
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(report.to_dict()) + "\n")
    return 0 if all_right else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    chosen = torch.device("cpu") if arguments.smoke else choose_device("cuda")
    raise SystemExit(main(smoke=arguments.smoke, device=chosen, rounds=arguments.rounds))
