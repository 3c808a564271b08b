"""Make training pairs that teach a model flat colours and nothing else.

python examples/flat_pairs.py data/teacher/lq data/flat --model real-x4

No photo has flat, saturated colours, so a model may move them by some levels. Beside patches of such colours, which
are to stay what they are, the pairs have pictures with the model's own answers, so that it changes nowhere else.
Learn from `lq` and `hq` at a low rate: `swinir train recipes/real_x4.toml data.train_lq=data/flat/lq
data.train_hq=data/flat/hq optimizer.muon_learning_rate=1e-3 optimizer.learning_rate=1e-4`. Pairs are numbered, and a
second call goes on where the first stopped.
"""

import argparse
from pathlib import Path

import numpy as np
from teacher_pairs import Pixels, write_pairs

from swinir import Restorer, imaging
from swinir.data import image_files

LEVELS = (0, 128, 255)
# Of the patches' colours; the others are any.
EXTREME_SHARE = 0.6
PATCH_PX = 36


def draw_patches(generator: np.random.Generator, scale: int) -> tuple[Pixels, Pixels]:
    """Draw one or four patches of flat colours, [72, 72, 3], and enlarge them by repeating pixels."""
    across = int(generator.integers(1, 3))
    patches = np.empty((across, across, 3), np.uint8)
    for patch in patches.reshape(-1, 3):
        is_extreme = generator.random() < EXTREME_SHARE
        patch[:] = generator.choice(LEVELS, 3) if is_extreme else generator.integers(0, 256, 3)
    side = 2 * PATCH_PX // across
    lq, hq = (patches.repeat(side * times, axis=0).repeat(side * times, axis=1) for times in (1, scale))
    return lq, hq


def main() -> None:
    """Make the pairs that are not there yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", type=Path, help="of low quality, as the model is given them")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--flat", type=int, default=170, help="so many pairs of patches")
    parser.add_argument("--seed", type=int, default=9)
    options = parser.parse_args()
    files = image_files(options.pictures)
    restorer = Restorer.from_pretrained(options.model, precision="fp32")

    def make(number: int) -> tuple[Pixels, Pixels]:
        if number >= len(files):
            return draw_patches(np.random.default_rng([options.seed, number]), restorer.scale)
        pixels = imaging.read(files[number]).pixels
        return pixels, restorer(pixels)

    write_pairs(options.folder, len(files) + options.flat, ("lq", "hq"), make)


if __name__ == "__main__":
    main()
