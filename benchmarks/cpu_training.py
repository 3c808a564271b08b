"""Time a CPU training step by the native kernels against plain PyTorch and the published code's manner.

    python benchmarks/cpu_training.py [--workload S-32] [--rounds 5] [--threads 2]
    python benchmarks/cpu_training.py --workload S-64 --in-turn    # where all together do not fit the memory
    python benchmarks/cpu_training.py --smoke    # one round of tiny crops, nothing written

Every manner has a process of its own, so that its peak of memory is its own, and is timed once in every round, as is
a matrix product of fp32 (and of bf16, where the processor has it), by which the share of the limit is counted. In
turn, each manner has all of its rounds before the next one begins.
Appends one line to benchmarks/results/cpu_training.jsonl and prints the ratios' medians.
"""

import argparse
import json
import multiprocessing
import resource
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from swinir.bench.measure import count_gemm_flop, make_gemm
from swinir.bench.original import ORIGINAL_MANNER
from swinir.cores import share_cores
from swinir.data import Batch
from swinir.engine import multiplies_bf16
from swinir.model import VARIANTS
from swinir.model.flops import FLOPS_PER_MULTIPLY_ADD, multiply_adds
from swinir.ops import REFERENCE, Backend, select_training_backend
from swinir.provenance import read_provenance
from swinir.training.losses import l1
from swinir.training.recipe import OptimizerRecipe
from swinir.training.state import TrainState
from swinir.training.step import Objective, StepOptions, train_step

RESULTS = Path(__file__).resolve().parent / "results" / "cpu_training.jsonl"
CPU = torch.device("cpu")
# None: the best backend with gradients for the type.
MANNERS: dict[str, tuple[Backend | None, torch.dtype]] = {
    "original, fp32": (ORIGINAL_MANNER, torch.float32),
    "plain, fp32": (REFERENCE, torch.float32),
    "native, fp32": (None, torch.float32),
}
BF16_MANNERS: dict[str, tuple[Backend | None, torch.dtype]] = {
    "plain, bf16": (REFERENCE, torch.bfloat16),
    "native, bf16": (None, torch.bfloat16),
}
SCALE = 2
GEMM_SIDE = 1024
# A forward pass, and twice as much for the gradients of what goes in and of the parameters.
PASSES_OF_STEP = 3
# They fill caches and pools.
WARM_UP_ROUNDS = 2


@dataclass(frozen=True, kw_only=True)
class Size:
    """What is trained, and on how much in a step."""

    variant: str = "lightweight-x2"
    batch_size: int = 8
    crop_px: int = 32

    @property
    def flop(self) -> int:
        """Useful floating-point operations of a step."""
        config = VARIANTS[self.variant]
        forward = FLOPS_PER_MULTIPLY_ADD * multiply_adds(config, self.crop_px, self.crop_px)
        return PASSES_OF_STEP * self.batch_size * forward


WORKLOADS = {
    "S-32": Size(),
    "S-64": Size(batch_size=16, crop_px=64),
    "M-48": Size(variant="classical-x2", batch_size=4, crop_px=48),
}
SMOKE = Size(batch_size=1, crop_px=8)


# The two ends of a pipe have types of their own on each system.
def work(manner: str, threads: int, size: Size, pipe: Any) -> None:
    """Do a step whenever True is received, and send its seconds; at the end send the peak of memory, in KiB."""
    torch.set_num_threads(threads)
    backend, dtype = (MANNERS | BF16_MANNERS)[manner]
    optimizer = OptimizerRecipe(steps=1000, learning_rate=1e-4)
    state = TrainState.create(VARIANTS[size.variant], optimizer, seed=0, device=CPU, dtype=torch.float32)
    state.model.use_backend(backend or select_training_backend(CPU, dtype, state.model.layer_shapes()))
    state.set_learning_rates(1e-4)
    options = StepOptions(dtype=dtype, gradient_clip=0.5, ema_decay=0.99)
    generator = torch.Generator().manual_seed(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while pipe.recv():
        batch = Batch(
            lq=torch.rand(size.batch_size, 3, size.crop_px, size.crop_px, generator=generator),
            hq=torch.rand(
                size.batch_size, 3, SCALE * size.crop_px, SCALE * size.crop_px, generator=generator
            ),
        )
        began = time.perf_counter()
        train_step(state, batch, Objective(pixel=l1), options)
        pipe.send(time.perf_counter() - began)
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


@dataclass(frozen=True)
class Timings:
    """Seconds of a step by manner, and of a product by type; peaks of memory by manner, in MiB."""

    step_s: dict[str, list[float]]
    gemm_s: dict[str, list[float]]
    peak_mib: dict[str, float]


def time_manners(
    manners: list[str], size: Size, timings: Timings, *, rounds: int, threads: int, in_threads: bool
) -> None:
    """Time a step of every manner once in every round."""
    pipes = start_workers(manners, size, threads, in_threads=in_threads)
    for done in range(rounds + WARM_UP_ROUNDS):
        for name, gemm in make_gemms(threads).items():
            gemm()
            began = time.perf_counter()
            gemm()
            timings.gemm_s.setdefault(name, []).append(time.perf_counter() - began)
        for manner, pipe in pipes.items():
            pipe.send(True)
            seconds = pipe.recv()
            if done >= WARM_UP_ROUNDS:
                timings.step_s.setdefault(manner, []).append(seconds)
    for manner, pipe in pipes.items():
        pipe.send(False)
        timings.peak_mib[manner] = pipe.recv() / 1024


def main(
    size: Size,
    *,
    rounds: int,
    threads: int,
    results: Path | None,
    in_turn: bool = False,
    in_threads: bool = False,
) -> None:
    """Time all manners, print their ratios and keep every sample.

    Args:
        size: of a step.
        rounds: that are timed.
        threads: of each manner.
        results: file to append to.
        in_turn: one manner after the other instead of all in every round.
        in_threads: of this process instead of a process for each manner: starts at once, and peaks mean nothing.
    """
    manners = [*MANNERS, *(BF16_MANNERS if multiplies_bf16(CPU) else ())]
    timings = Timings({}, {}, {})
    for group in [[manner] for manner in manners] if in_turn else [manners]:
        time_manners(group, size, timings, rounds=rounds, threads=threads, in_threads=in_threads)
    samples, gemm_s, peaks = timings.step_s, timings.gemm_s, timings.peak_mib
    limits = {name: count_gemm_flop(GEMM_SIDE) / min(seconds) for name, seconds in gemm_s.items()}
    for manner, seconds in samples.items():
        ratios = (
            f"{median(theirs / ours for theirs, ours in zip(samples[first], seconds, strict=True)):4.2f} x {first}"
            for first in samples
            if first != manner and not first.startswith("native")
        )
        share = size.flop / median(seconds) / limits[manner[-4:]]
        print(
            f"{manner:15} {median(seconds):6.3f} s  {size.batch_size / median(seconds):5.1f} crops/s  "
            f"{share:4.0%} of the product rate  {peaks[manner]:5.0f} MiB more at the peak  {', '.join(ratios)}"
        )
    line = {
        **read_provenance().to_dict(),
        "threads": threads,
        "in_turn": in_turn,
        "variant": size.variant,
        "batch": [size.batch_size, size.crop_px, size.crop_px],
        "seconds": samples,
        "gemm_flop_per_s": limits,
        "peak_mib": peaks,
    }
    if results is not None:
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def start_workers(manners: list[str], size: Size, threads: int, *, in_threads: bool) -> dict[str, Any]:
    """Start a process, or a thread, for each manner; return the pipes to them."""
    share_cores()  # as the command does
    spawn = multiprocessing.get_context("spawn")
    start = threading.Thread if in_threads else spawn.Process
    pipes: dict[str, Any] = {}
    for manner in manners:
        pipes[manner], theirs = spawn.Pipe()
        start(target=work, args=(manner, threads, size, theirs), daemon=True).start()
    return pipes


def make_gemms(threads: int) -> dict[str, Callable[[], object]]:
    """Make a matrix product of each type that the processor multiplies."""
    torch.set_num_threads(threads)
    gemms = {"fp32": make_gemm(torch.float32, GEMM_SIDE, CPU)}
    if multiplies_bf16(CPU):
        gemms["bf16"] = make_gemm(torch.bfloat16, GEMM_SIDE, CPU)
    return gemms


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workload", choices=WORKLOADS, default="S-32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--in-turn", action="store_true", help="one manner after the other, for less memory")
    parser.add_argument("--smoke", action="store_true", help="one round of tiny crops, to try this script")
    arguments = parser.parse_args()
    if arguments.smoke:
        main(SMOKE, rounds=1, threads=arguments.threads, results=None, in_threads=True)
    else:
        size = WORKLOADS[arguments.workload]
        main(
            size,
            rounds=arguments.rounds,
            threads=arguments.threads,
            results=RESULTS,
            in_turn=arguments.in_turn,
        )
