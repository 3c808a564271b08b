"""Time a photo from file to file, and the network alone on the same pixels, in interleaved rounds.

    python benchmarks/end_to_end.py [--model lightweight-x4] [--threads N] [--rounds N] [--results FILE.jsonl]
    python benchmarks/end_to_end.py --smoke    # one round of a tiny photo

The photo is the sample photo, enlarged by bicubic to the size asked for, once as JPEG and once as PNG; each is
read, restored and written in its own format. The last line is one JSON document.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from swinir import Restorer, imaging
from swinir.bench import measure, meter
from swinir.provenance import read_provenance

SAMPLE = Path(__file__).resolve().parents[1] / "examples" / "chelsea.png"
SUFFIXES = (".jpg", ".png")
# End to end may take this many times as long as the network alone.
TARGET = 1.15


@dataclass(frozen=True, kw_only=True)
class Photo:
    """Size of the photo."""

    width: int = 1000
    height: int = 750


SMOKE = Photo(width=40, height=30)


def make_photo(size: Photo) -> imaging.Image:
    """Cut the sample photo to the shape asked for and enlarge it to that size."""
    pixels = imaging.read(SAMPLE).pixels
    scale = max(size.width / pixels.shape[1], size.height / pixels.shape[0])
    resized = imaging.resize_bicubic(pixels, scale)
    return imaging.Image(pixels=np.ascontiguousarray(resized[: size.height, : size.width]))


def time_rounds(
    restorer: Restorer, photo: imaging.Image, folder: Path, rounds: int
) -> dict[str, list[float]]:
    """Return the seconds of the network and of each format, one for each round."""
    image = torch.from_numpy(photo.pixels).permute(2, 0, 1)[None].float() / 255
    # The network whole, as the engine runs it where the image fits the memory.
    runs: dict[str, Callable[[], object]] = {"network": partial(restorer.executor.run, image)}
    for suffix in SUFFIXES:
        source, destination = folder / f"photo{suffix}", folder / f"restored{suffix}"
        imaging.write(photo, source)
        runs[suffix] = partial(restorer.restore_file, source, destination)
    for run in runs.values():
        run()
    return measure.time_interleaved(runs, rounds=rounds, measure_seconds=meter.CpuMeter().measure_seconds)


def make_row(name: str, seconds: list[float], network_s: list[float]) -> dict[str, Any]:
    """Sum up one way through."""
    times_network = [own / alone for own, alone in zip(seconds, network_s, strict=True)]
    return {
        "what": name,
        **{f"{key}_s": value for key, value in measure.quantiles(seconds)._asdict().items()},
        "times_network": measure.quantiles(times_network).p50,
        "seconds": seconds,
    }


def main(size: Photo, *, model: str, precision: str, rounds: int, results: Path | None) -> None:
    """Measure and print."""
    restorer = Restorer.from_pretrained(model, device="cpu", precision=precision)
    with tempfile.TemporaryDirectory() as folder:
        samples = time_rounds(restorer, make_photo(size), Path(folder), rounds)
    rows = [make_row(name, seconds, samples["network"]) for name, seconds in samples.items()]
    for row in rows:
        print(f"{row['what']:<8} {row['p50_s']:8.3f} s  {row['times_network']:6.3f} × the network")
    document = {
        "kind": "end to end",
        **read_provenance().to_dict(),
        **restorer.describe(),
        "size": [size.height, size.width],
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "target": TARGET,
        "is_reached": all(row["times_network"] <= TARGET for row in rows),
        "rows": rows,
    }
    line = json.dumps(document)
    if results is not None:
        with results.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    print(line)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="lightweight-x4")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--width", type=int, default=Photo.width)
    parser.add_argument("--height", type=int, default=Photo.height)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, metavar="FILE.jsonl")
    parser.add_argument("--smoke", action="store_true", help="one round of a tiny photo, to try this script")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    main(
        SMOKE if arguments.smoke else Photo(width=arguments.width, height=arguments.height),
        model=arguments.model,
        precision=arguments.precision,
        rounds=1 if arguments.smoke else arguments.rounds,
        results=arguments.results,
    )
