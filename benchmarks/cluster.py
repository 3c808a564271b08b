"""The same files through Ray as on one machine: to the byte, with a worker killed, and how fast it grows.

    python benchmarks/cluster.py kill grow [--smoke]

`kill` has three workers and one picture in pieces, and kills a worker in the middle. `grow` measures one worker and
two, of one core each. Each part prints a line of JSON, and the exit status is 1 where outputs are missing or
are not those of one process.
"""

import logging
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from parts import measure_parts

from swinir import imaging
from swinir.engine import Restorer
from swinir.jobs import ClusterOptions, JobPlan, plan_jobs, restore_files, restore_on_cluster
from swinir.options import TiffLayout

MODEL = "lightweight-x2"
# The least: a picture of some rows has many bands.
TILE_PX = 32
MOST_STARTS = 2
STORE_BYTES = 100 * 2**20


@dataclass(frozen=True)
class Work:
    """Pictures to restore.

    Attributes:
        number: of files.
        side_px: of each, about.
        long_px: rows of one more, which workers do in pieces; 0 for none.
    """

    number: int
    side_px: int
    long_px: int = 0


KILL, KILL_SMOKE = Work(60, 96, 2000), Work(8, 24, 200)
GROW, GROW_SMOKE = Work(24, 192), Work(4, 24)


def draw(folder: Path, work: Work) -> Path:
    """Write pictures of noise, of several sizes."""
    folder.mkdir()
    names = {f"{number:03}.png": work.side_px + 8 * (number % 3) for number in range(work.number)}
    if work.long_px:
        names["long.tif"] = work.long_px
    for number, (name, height) in enumerate(names.items()):
        size = (height, work.side_px, 3)
        pixels = np.random.default_rng(number).integers(0, 256, size, dtype=np.uint8)
        imaging.write(imaging.Image(pixels=pixels), folder / name)
    return folder


def restore_here(restorer: Restorer, folder: Path, scans: Path) -> Path:
    """Restore in this process, on one core."""
    torch.set_num_threads(1)
    out = folder / "here"
    list(restore_files(restorer, plan_jobs([scans], output=out, label="x2"), layout=TiffLayout.TILES))
    return out


def connect(num_cpus: int) -> Any:
    """Start Ray on this machine, with room for so many workers of one core."""
    import ray  # noqa: PLC0415  an extra of its own

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    for attempt in range(MOST_STARTS):
        try:
            ray.init(
                "local",
                num_cpus=num_cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=STORE_BYTES,
            )
        except Exception:
            # Ray waits half a minute for its own processes, which a busy machine may not start in time.
            if attempt + 1 == MOST_STARTS:
                raise
            ray.shutdown()
        else:
            break
    return ray


def restore_there(restorer: Restorer, plan: JobPlan, kill_after: int | None = None) -> dict[str, Any]:
    """Restore on the cluster that is connected; kill a worker when so many files are done."""
    outcomes: Counter[str] = Counter()
    ended_s: list[float] = []
    killed = None
    # With tiles, TIFF files go by bands, and so in pieces.
    cluster = ClusterOptions(cpus=1, whole_px=64 * TILE_PX)
    results = restore_on_cluster(restorer, plan, restorer.options, cluster, layout=TiffLayout.TILES)
    for result in results:
        outcomes[result.outcome] += 1
        ended_s.append(time.monotonic())
        if len(ended_s) == kill_after:
            # Children of this process's Ray, which call themselves so.
            workers = [
                each
                for each in psutil.Process().children(recursive=True)
                if each.name().startswith("ray::Worker")
            ]
            workers[0].kill()
            killed = workers[0].pid
    # From the first file that is done: starting is not what grows.
    seconds = ended_s[-1] - ended_s[0]
    return {
        "outcomes": dict(outcomes),
        "killed": killed,
        "files_per_s": round((len(ended_s) - 1) / max(seconds, 1e-9), 3),
    }


def differences(here: Path, there: Path) -> list[str]:
    """Return names whose content is not the same, or that are in one of both only."""
    names = {path.name for folder in (here, there) for path in folder.iterdir()}
    return sorted(
        name
        for name in names
        if not ((here / name).is_file() and (there / name).is_file())
        or (here / name).read_bytes() != (there / name).read_bytes()
    )


def measure_kill(folder: Path, *, is_smoke: bool) -> dict[str, Any]:
    """Kill one of three workers in the middle; every output is there, once and whole."""
    work = KILL_SMOKE if is_smoke else KILL
    scans, restorer = (
        draw(folder / "scans", work),
        Restorer.from_pretrained(MODEL, device="cpu", tile=TILE_PX),
    )
    here = restore_here(restorer, folder, scans)
    ray = connect(3)
    there = folder / "there"
    result = restore_there(restorer, plan_jobs([scans], output=there, label="x2"), work.number // 3)
    ray.shutdown()
    different = differences(here, there)
    number = work.number + bool(work.long_px)
    is_pass = not different and result["outcomes"] == {"done": number} and result["killed"] is not None
    return {"workers": 3, **result, "different": different, "is_pass": is_pass}


def measure_growth(folder: Path, *, is_smoke: bool) -> dict[str, Any]:
    """Time one worker and two."""
    work = GROW_SMOKE if is_smoke else GROW
    scans, restorer = draw(folder / "scans", work), Restorer.from_pretrained(MODEL, device="cpu")
    rates: dict[str, float] = {}
    for number in (1, 2):
        ray = connect(number)
        plan = plan_jobs([scans], output=folder / str(number), label="x2")
        rates[str(number)] = restore_there(restorer, plan)["files_per_s"]
        ray.shutdown()
    different = differences(folder / "1", folder / "2")
    return {
        "files": work.number,
        "side_px": work.side_px,
        "files_per_s": rates,
        "speedup": round(rates["2"] / rates["1"], 2),
        "different": different,
        "is_pass": not different,
    }


PARTS = {"kill": measure_kill, "grow": measure_growth}


if __name__ == "__main__":
    sys.exit(measure_parts("Restore files through Ray on this machine, within bounds.", PARTS))
