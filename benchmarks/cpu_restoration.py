"""Measure restoration on a CPU: against the published code's manner, other runtimes and RCAN, and photos end to end.

    python benchmarks/cpu_restoration.py [--rounds 5] [--results FILE.jsonl]
    python benchmarks/cpu_restoration.py --smoke    # tiny sizes, written only where asked

Needs the extra "export" (pip install --constraint constraints.txt --editable '.[export]'), g++ for torch.compile,
and a machine with nothing else to do. Each case appends a line to benchmarks/results/cpu.jsonl.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import end_to_end
import torch
from extra_baselines import ALL_BASELINES

from swinir.bench import BASELINES, Comparison, Row, Workload, check_names, compare, find_network, prepare
from swinir.bench.workload import draw_image
from swinir.engine import Restorer

RESULTS = Path(__file__).resolve().parent / "results" / "cpu.jsonl"
RUNTIMES = ("onnxruntime", "openvino")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network, the side of its square input, its precision and the methods to compare with."""

    model: str
    side_px: int
    precision: str = "auto"
    against: tuple[str, ...]
    gemm_size: int | None = None


CASES = (
    Case(model="lightweight-x4", side_px=256, against=("reference", "original", "compile", *RUNTIMES)),
    Case(model="lightweight-x2", side_px=512, against=("reference", "original", *RUNTIMES)),
    Case(model="classical-x4", side_px=128, against=("reference", "original", "compile", *RUNTIMES, "rcan")),
    Case(
        model="lightweight-x4",
        side_px=256,
        precision="fp32",
        against=("reference", "original", "openvino"),
    ),
)
SMOKE = (Case(model="lightweight-x4", side_px=8, against=("original-kept-masks",), gemm_size=64),)


def measure(case: Case, rounds: int) -> Comparison:
    """Time all methods of a case on the same pixels."""
    config, state_dict, name, weights = find_network(case.model)
    restorer = Restorer(config, state_dict, name=name, device="cpu", precision=case.precision)
    size = (case.side_px, case.side_px)
    image = draw_image(config.in_channels, size, torch.Generator().manual_seed(0))
    workload = Workload(
        restorer=restorer, state_dict=state_dict, image=image, threads=torch.get_num_threads()
    )
    prepared = prepare(workload, {method: ALL_BASELINES[method] for method in case.against})
    return compare(workload, prepared, weights=weights, rounds=rounds, gemm_size=case.gemm_size)


def write_line(row: Row) -> str:
    """Write what was measured of one method."""
    agreement = "" if row.difference is None else f"  {row.difference.psnr_db:5.1f} dB from fp32"
    return (
        f"  {row.method:20} {row.precision} {row.quantiles.p50:8.3f} s  {row.times_ours:6.2f} × ours"
        f"  {100 * row.fraction_of_gemm_peak:4.0f} % of GEMM{agreement}{'' if row.agrees else '  WRONG'}"
    )


def main(cases: tuple[Case, ...], *, rounds: int, results: Path | None) -> int:
    """Measure every case, write each as soon as it is known, and return 1 where an output is wrong or missing."""
    check_names(
        sorted({name for case in cases for name in case.against} & set(BASELINES)), torch.device("cpu")
    )
    all_right = True
    for case in cases:
        print(f"{case.model} on {case.side_px}×{case.side_px}, {case.precision}", flush=True)
        comparison = measure(case, rounds)
        print("\n".join(write_line(row) for row in comparison.rows), flush=True)
        for name, why in comparison.failed.items():
            print(f"  {name:20} {why}")
        all_right &= not comparison.failed and all(row.agrees for row in comparison.rows)
        if results is not None:
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(comparison.to_dict()) + "\n")
    return 0 if all_right else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to try this script")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, metavar="FILE.jsonl")
    arguments = parser.parse_args()
    destination = arguments.results or (None if arguments.smoke else RESULTS)
    num_rounds = 1 if arguments.smoke else arguments.rounds
    status = main(SMOKE if arguments.smoke else CASES, rounds=num_rounds, results=destination)
    photo = end_to_end.SMOKE if arguments.smoke else end_to_end.Photo()
    end_to_end.main(photo, model="lightweight-x4", precision="auto", rounds=num_rounds, results=destination)
    raise SystemExit(status)
