"""Time a photo from file to file, and the network alone on the same pixels, in turn.

    python benchmarks/end_to_end.py [--model lightweight-x4] [--threads N] [--rounds N] [--output FILE.jsonl]

The photo is the sample photo, enlarged by bicubic to the size asked for, once as JPEG and once as PNG; each is
read, restored and written in its own format. The last line is one JSON document.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from swinir import Restorer, imaging
from swinir.bench import machine, measure

SAMPLE = Path(__file__).parents[1] / "examples" / "chelsea.png"
SUFFIXES = (".jpg", ".png")
# End to end may take this many times as long as the network alone.
TARGET = 1.15


def make_photo(width: int, height: int) -> imaging.Image:
    """Cut the sample photo to the shape asked for and enlarge it to that size."""
    pixels = imaging.read(SAMPLE).pixels
    scale = max(width / pixels.shape[1], height / pixels.shape[0])
    enlarged = imaging.resize_bicubic(pixels, scale)
    return imaging.Image(pixels=np.ascontiguousarray(enlarged[:height, :width]))


def time_rounds(
    restorer: Restorer, photo: imaging.Image, folder: Path, rounds: int
) -> dict[str, list[float]]:
    """Return the seconds of the network and of each format, one for each round."""
    image = torch.from_numpy(photo.pixels).permute(2, 0, 1)[None].float() / 255
    # The network whole, as the engine runs it where the image fits the memory.
    runs: dict[str, Any] = {"network": lambda: restorer._forward(image)}
    for suffix in SUFFIXES:
        source, destination = folder / f"photo{suffix}", folder / f"restored{suffix}"
        imaging.write(photo, source)
        runs[suffix] = lambda src=source, dst=destination: restorer.restore_file(src, dst)
    for run in runs.values():
        run()
    return measure.interleaved(runs, rounds=rounds)


def row(name: str, seconds: list[float], network_s: list[float]) -> dict[str, Any]:
    """Sum up one way through."""
    times_network = [own / alone for own, alone in zip(seconds, network_s, strict=True)]
    return {
        "what": name,
        **{f"{key}_s": value for key, value in measure.quantiles(seconds)._asdict().items()},
        "times_network": measure.quantiles(times_network).p50,
        "seconds": seconds,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="lightweight-x4")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--height", type=int, default=750)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    restorer = Restorer.from_pretrained(options.model, device="cpu", precision=options.precision)
    photo = make_photo(options.width, options.height)
    with tempfile.TemporaryDirectory() as folder:
        samples = time_rounds(restorer, photo, Path(folder), options.rounds)
    rows = [row(name, seconds, samples["network"]) for name, seconds in samples.items()]
    for found in rows:
        print(f"{found['what']:<8} {found['p50_s']:8.3f} s  {found['times_network']:6.3f} × the network")
    document = {
        "kind": "end to end",
        **machine.describe(),
        **restorer.describe(),
        "size": [options.height, options.width],
        "threads": torch.get_num_threads(),
        "rounds": options.rounds,
        "target": TARGET,
        "is_reached": all(found["times_network"] <= TARGET for found in rows),
        "rows": rows,
    }
    line = json.dumps(document)
    if options.output:
        with options.output.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
