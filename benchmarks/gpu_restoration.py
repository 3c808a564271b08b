"""Measure restoration on a GPU in interleaved rounds: against the published code's manner, torch.compile and RCAN.

    python benchmarks/gpu_restoration.py            # under ten minutes; appends to benchmarks/results/gpu.jsonl
    python benchmarks/gpu_restoration.py --smoke    # the same at tiny sizes on the CPU, written only where asked

For each network: times, share of the card's own matrix products, peak memory, and how far ours is from fp32; beside
them what is hoped for on an H100 or H200. What compiles comes last, since that takes minutes, and is left out where
too few of them are left. A method that fails, as for want of memory, is named, and the rest goes on. Exits with 1
where an output is wrong, ours is not within 55 dB of fp32, or ours fails.
"""

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from extra_baselines import ALL_BASELINES

from swinir.bench import OURS, Comparison, Row, Workload, compare, find_network, prepare
from swinir.bench.comparison import oom_as_restore_error
from swinir.bench.workload import draw_image
from swinir.engine import Restorer, choose_device
from swinir.errors import RestoreError

RESULTS = Path(__file__).resolve().parent / "results" / "gpu.jsonl"
LEAST_DB = 55.0
MOST_OF_ORIGINALS_MEMORY = 0.25
# What the compiler may take to find its best settings for a network: a guess, until a card has been asked.
COMPILING_MINUTES = 3.0
MANNERS = ("original", "original-kept-masks")
# The same passes, launched kernel by kernel: what replaying them as CUDA graphs gains.
LAUNCHED = ("swinir-no-graphs",)
COMPILED = ("compile",)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network, its input, the other methods, and how many times as long they are hoped to take."""

    model: str
    side_px: int
    batch: int = 1
    against: tuple[str, ...]
    hoped: Mapping[str, float] = field(default_factory=dict[str, float])
    hoped_fraction: float | None = None
    gemm_size: int | None = None

    @property
    def compiles(self) -> bool:
        """Whether it takes minutes to build."""
        return "compile" in self.against


CASES = (
    Case(
        model="classical-x4",
        side_px=256,
        against=(*MANNERS, *LAUNCHED, "rcan"),
        hoped={"original": 10, "rcan": 1},
        hoped_fraction=0.25,
    ),
    Case(model="lightweight-x4", side_px=256, against=(*MANNERS, *LAUNCHED), hoped={"original": 12}),
    Case(model="lightweight-x2", side_px=1024, against=(*MANNERS, *LAUNCHED), hoped={"original": 15}),
    # Tiles, as images are cut into: alone and many at once.
    *(Case(model="lightweight-x4", side_px=64, batch=batch, against=LAUNCHED) for batch in (1, 16, 256)),
    *(Case(model="classical-x4", side_px=64, batch=batch, against=LAUNCHED) for batch in (1, 16)),
    Case(model="classical-x4", side_px=256, against=COMPILED, hoped={"compile": 2}),
    Case(model="lightweight-x4", side_px=256, against=COMPILED, hoped={"compile": 2}),
    Case(model="lightweight-x2", side_px=1024, against=COMPILED, hoped={"compile": 2}),
)
# Tiny, and no method that takes long to build.
SMOKE = (
    Case(model="lightweight-x4", side_px=16, against=(*MANNERS, "rcan"), hoped={"original": 1}, gemm_size=64),
    Case(model="lightweight-x4", side_px=8, batch=3, against=LAUNCHED, gemm_size=64),
)


def measure(case: Case, device: torch.device, rounds: int) -> Comparison:
    """Time all methods of a case on the same pixels.

    Raises:
        RestoreError: there is too little memory for ours.
    """
    config, state_dict, name, weights = find_network(case.model)
    restorer = Restorer(config, state_dict, name=name, device=device)
    size = (case.side_px, case.side_px)
    generator = torch.Generator().manual_seed(0)
    image = draw_image(config.in_channels, size, generator, batch=case.batch).to(device)
    workload = Workload(
        restorer=restorer, state_dict=state_dict, image=image, threads=torch.get_num_threads()
    )
    builders = {method: ALL_BASELINES[method] for method in case.against}
    with oom_as_restore_error(workload):
        prepared = prepare(
            workload, builders, notice=lambda method: print(f"  (preparing {method})", flush=True)
        )
        return compare(workload, prepared, weights=weights, rounds=rounds, gemm_size=case.gemm_size)


def write_lines(case: Case, report: Comparison) -> list[str]:
    """Write what was measured, beside what is hoped for."""
    own = report.rows[0]
    return [
        f"  {report.backend} in {report.precision}: {report.reason}; {report.weights} weights",
        *(write_line(case, row, own) for row in report.rows),
        *(f"  {name:20} {why}" for name, why in report.failed.items()),
    ]


def write_line(case: Case, row: Row, own: Row) -> str:
    """Write what was measured of one method."""
    is_own = row.method == OURS
    hoped_fraction = case.hoped_fraction if is_own else None
    words = [
        f"  {row.method:20} {row.precision} {1e3 * row.quantiles.p50:10.3f} ms",
        f"{row.times_ours:6.2f} × ours{hope(case.hoped.get(row.method))}",
        f"{100 * row.fraction_of_gemm_peak:3.0f} % of GEMM{hope(hoped_fraction and 100 * hoped_fraction)}",
        "memory unknown" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:6.0f} MiB",
    ]
    if row.method == "original" and row.peak_bytes and own.peak_bytes is not None:
        words.append(
            f"ours takes {own.peak_bytes / row.peak_bytes:.2f} of its memory (at most {MOST_OF_ORIGINALS_MEMORY:g})"
        )
    if row.difference is not None:
        words.append(f"{row.difference.psnr_db:.1f} dB from fp32{hope(LEAST_DB if is_own else None)}")
    if not row.agrees:
        words.append("WRONG")
    return ", ".join(words)


def hope(least: float | None) -> str:
    """Write the figure that is hoped for behind the one that was measured."""
    return "" if least is None else f" (at least {least:g})"


def is_right(report: Comparison) -> bool:
    """Tell whether every output is right, and ours near enough to fp32."""
    own = report.rows[0].difference
    return all(row.agrees for row in report.rows) and own is not None and own.psnr_db >= LEAST_DB


def main(
    cases: tuple[Case, ...], device: torch.device, *, rounds: int, minutes: float, results: Path | None
) -> int:
    """Measure every case, and write each as soon as it is known."""
    ends_s = time.monotonic() + 60 * minutes
    all_right = True
    for case in cases:
        title = f"{case.model}, {case.batch} × {case.side_px}×{case.side_px}"
        if case.compiles and time.monotonic() + 60 * COMPILING_MINUTES > ends_s:
            print(f"{title}, compiled: left out, for {minutes:g} minutes are nearly over (--minutes)")
            continue
        print(title, flush=True)
        try:
            report = measure(case, device, rounds)
        except RestoreError as error:
            print(f"  {error}")
            all_right = False
            continue
        print("\n".join(write_lines(case, report)), flush=True)
        all_right &= is_right(report)
        if results is not None:
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(report.to_dict()) + "\n")
        if case.compiles:
            # Or its graphs would keep their memory.
            torch.compiler.reset()
    return 0 if all_right else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, on the CPU")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=9.5, help="nothing is compiled that would end later")
    parser.add_argument("--results", type=Path, metavar="FILE.jsonl")
    arguments = parser.parse_args()
    try:
        chosen = choose_device("cpu" if arguments.smoke else "cuda")
    except ValueError as error:
        parser.error(str(error))
    raise SystemExit(
        main(
            SMOKE if arguments.smoke else CASES,
            chosen,
            rounds=arguments.rounds,
            minutes=arguments.minutes,
            results=arguments.results or (None if arguments.smoke else RESULTS),
        )
    )
