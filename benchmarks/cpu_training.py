"""Time a CPU training step of SwinIR-S ×2 against plain PyTorch in the published code's manner, and its memory.

    python benchmarks/cpu_training.py [--rounds 5] [--threads 2]
    python benchmarks/cpu_training.py --smoke    # one round of tiny crops, nothing written

Every manner has a process of its own, so that its peak of memory is its own, and is timed once in every round.
Appends one line to benchmarks/results/cpu_training.jsonl and prints the ratios' medians.
"""

import argparse
import json
import multiprocessing
import resource
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from swinir.bench.original import ORIGINAL_MANNER
from swinir.data import Batch
from swinir.model import VARIANTS
from swinir.ops import REFERENCE, Backend
from swinir.provenance import read_provenance
from swinir.training.losses import l1
from swinir.training.recipe import OptimizerRecipe
from swinir.training.state import TrainState
from swinir.training.step import Objective, StepOptions, train_step

RESULTS = Path(__file__).resolve().parent / "results" / "cpu_training.jsonl"
MANNERS: dict[str, tuple[Backend, torch.dtype]] = {
    "original, fp32": (ORIGINAL_MANNER, torch.float32),
    "swinir, fp32": (REFERENCE, torch.float32),
    "swinir, bf16": (REFERENCE, torch.bfloat16),
}
SCALE = 2
# They fill caches and pools.
WARM_UP_ROUNDS = 2


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is trained on in a step."""

    batch_size: int = 8
    crop_px: int = 32


SMOKE = Size(batch_size=1, crop_px=8)


# The two ends of a pipe have types of their own on each system.
def work(manner: str, threads: int, size: Size, pipe: Any) -> None:
    """Do a step whenever True is received, and send its seconds; at the end send the peak of memory, in KiB."""
    torch.set_num_threads(threads)
    backend, dtype = MANNERS[manner]
    optimizer = OptimizerRecipe(steps=1000, learning_rate=1e-4)
    state = TrainState.create(
        VARIANTS["lightweight-x2"], optimizer, seed=0, device=torch.device("cpu"), dtype=torch.float32
    )
    state.model.use_backend(backend)
    state.set_learning_rate(1e-4)
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


def main(size: Size, *, rounds: int, threads: int, results: Path | None, in_threads: bool = False) -> None:
    """Time a step of every manner once in every round.

    Args:
        size: of a step.
        rounds: that are timed.
        threads: of each manner.
        results: file to append to.
        in_threads: of this process instead of a process for each manner: starts at once, and peaks mean nothing.
    """
    spawn = multiprocessing.get_context("spawn")
    start = threading.Thread if in_threads else spawn.Process
    pipes: dict[str, Any] = {}
    for manner in MANNERS:
        pipes[manner], theirs = spawn.Pipe()
        start(target=work, args=(manner, threads, size, theirs), daemon=True).start()
    samples: dict[str, list[float]] = {manner: [] for manner in MANNERS}
    for done in range(rounds + WARM_UP_ROUNDS):
        for manner, pipe in pipes.items():
            pipe.send(True)
            seconds = pipe.recv()
            if done >= WARM_UP_ROUNDS:
                samples[manner].append(seconds)
    peaks = {}
    for manner, pipe in pipes.items():
        pipe.send(False)
        peaks[manner] = pipe.recv() / 1024
    first = samples["original, fp32"]
    for manner, seconds in samples.items():
        ratio = median(theirs / ours for theirs, ours in zip(first, seconds, strict=True))
        print(
            f"{manner:15} {median(seconds):6.3f} s  {size.batch_size / median(seconds):5.1f} crops/s  "
            f"{ratio:4.2f} x as fast  {peaks[manner]:5.0f} MiB more at the peak"
        )
    line = {
        **read_provenance().to_dict(),
        "threads": threads,
        "batch": [size.batch_size, size.crop_px, size.crop_px],
        "seconds": samples,
        "peak_mib": peaks,
    }
    if results is not None:
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--smoke", action="store_true", help="one round of tiny crops, to try this script")
    arguments = parser.parse_args()
    if arguments.smoke:
        main(SMOKE, rounds=1, threads=arguments.threads, results=None, in_threads=True)
    else:
        main(Size(), rounds=arguments.rounds, threads=arguments.threads, results=RESULTS)
