"""Time a CPU training step of SwinIR-S ×2 against plain PyTorch in the published code's manner, and its memory.

    python benchmarks/cpu_training.py [--rounds 5] [--threads 2]

Every manner has a process of its own, so that peaks are its own, and a turn in every round. Appends one line to
benchmarks/results/cpu_training.jsonl and prints the ratios' medians.
"""

import argparse
import json
import multiprocessing
import platform
import resource
import subprocess
import time
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import torch

from swinir.bench.original import ORIGINAL_MANNER
from swinir.data import Batch
from swinir.model import VARIANTS
from swinir.ops import REFERENCE, Backend
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
BATCH_SIZE, CROP_PX, SCALE = 8, 32, 2


def work(manner: str, threads: int, wire: Connection) -> None:
    """Do a step whenever asked, and say how long it took; at the end, the most memory there ever was."""
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
    while wire.recv():
        batch = Batch(
            lq=torch.rand(BATCH_SIZE, 3, CROP_PX, CROP_PX, generator=generator),
            hq=torch.rand(BATCH_SIZE, 3, SCALE * CROP_PX, SCALE * CROP_PX, generator=generator),
        )
        began = time.perf_counter()
        train_step(state, batch, Objective(pixel=l1), options)
        wire.send(time.perf_counter() - began)
    wire.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def main(rounds: int, threads: int) -> None:
    """Run every manner in turn."""
    spawn = multiprocessing.get_context("spawn")
    wires: dict[str, Connection] = {}
    for manner in MANNERS:
        wires[manner], theirs = spawn.Pipe()
        spawn.Process(target=work, args=(manner, threads, theirs), daemon=True).start()
    samples: dict[str, list[float]] = {manner: [] for manner in MANNERS}
    # The first two rounds fill caches and pools.
    for done in range(rounds + 2):
        for manner, wire in wires.items():
            wire.send(True)
            seconds = wire.recv()
            if done >= 2:
                samples[manner].append(seconds)
    peaks = {}
    for manner, wire in wires.items():
        wire.send(False)
        peaks[manner] = wire.recv() / 1024
    first = samples["original, fp32"]
    for manner, seconds in samples.items():
        ratio = median(theirs / ours for theirs, ours in zip(first, seconds, strict=True))
        print(
            f"{manner:15} {median(seconds):6.3f} s  {BATCH_SIZE / median(seconds):5.1f} crops/s  "
            f"{ratio:4.2f} x as fast  {peaks[manner]:5.0f} MiB more at the peak"
        )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    )
    line = {
        "date": date.today().isoformat(),
        "commit": commit.stdout.strip(),
        "machine": f"{platform.processor() or platform.machine()}, {threads} threads, torch {torch.__version__}",
        "batch": [BATCH_SIZE, CROP_PX, CROP_PX],
        "seconds": samples,
        "peak_mib": peaks,
    }
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    main(arguments.rounds, arguments.threads)
