"""Put real pictures beside what models make of them, in one sheet.

python examples/real_sheet.py testsets/RealSRSet sheet.webp --weights realesrgan-x4plus.bin

A detail of each picture, ×4: bicubic, each model and, where its weights are given, the teacher of
`teacher_pairs.py`. Also prints how far the mean of each channel is from that of the picture, in levels of 255.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
from teacher_pairs import Pixels, read_teacher, restore

from swinir import Restorer, imaging
from swinir.data import image_files

SCALE = 4
# Of a detail, in the picture itself; and what is restored around it.
DETAIL_PX, AROUND_PX = 40, 24
COLUMNS = 2
GAP_PX, TITLE_PX = 6, 18


def choose_detail(pixels: Pixels) -> Pixels:
    """Cut out the place with most contrast, and what lies around it."""
    side = min(DETAIL_PX + 2 * AROUND_PX, *pixels.shape[:2])
    grey = pixels.astype(np.float32).mean(axis=2)
    contrast = np.abs(np.diff(grey, axis=0))[:, 1:] + np.abs(np.diff(grey, axis=1))[1:]
    sums = np.pad(contrast.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    windows = sums[side - 1 :, side - 1 :] - sums[: 1 - side, side - 1 :]
    windows += sums[: 1 - side, : 1 - side] - sums[side - 1 :, : 1 - side]
    top, left = np.unravel_index(windows.argmax(), windows.shape)
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def middle(enlarged: Pixels) -> Pixels:
    """Cut off what lies around the detail."""
    side = min(DETAIL_PX * SCALE, *enlarged.shape[:2])
    top, left = ((length - side) // 2 for length in enlarged.shape[:2])
    return enlarged[top : top + side, left : left + side]


def main() -> None:
    """Restore a detail of each picture and write the sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--models", nargs="+", default=["lightweight-x4", "real-x4", "real-x4-sharp"])
    parser.add_argument("--weights", type=Path, help="of the teacher")
    options = parser.parse_args()
    ways: dict[str, Callable[[Pixels], Pixels]] = {"bicubic": lambda lq: imaging.resize_bicubic(lq, SCALE)}
    ways |= {Path(name).stem: Restorer.from_pretrained(name) for name in options.models}
    if options.weights:
        teacher = read_teacher(options.weights)
        ways["teacher"] = lambda lq: restore(teacher, lq)
    tile, files = DETAIL_PX * SCALE, image_files(options.pictures)
    width, height = len(ways) * (tile + GAP_PX) + GAP_PX, tile + TITLE_PX + GAP_PX
    sheet = PIL.Image.new("RGB", (COLUMNS * width, -(-len(files) // COLUMNS) * height), "white")
    draw = PIL.ImageDraw.Draw(sheet)
    for number, file in enumerate(files):
        pixels = imaging.read(file).pixels
        pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]
        detail = choose_detail(pixels)
        left, top = number % COLUMNS * width, number // COLUMNS * height
        for column, (name, enlarge) in enumerate(ways.items()):
            enlarged = enlarge(detail)
            moved = enlarged.mean(axis=(0, 1)) - detail.mean(axis=(0, 1))
            sys.stdout.write(f"{file.name} {name} {' '.join(f'{channel:+.1f}' for channel in moved)}\n")
            place = left + column * (tile + GAP_PX), top
            draw.text(place, f"{file.stem}: {name}", "black")
            sheet.paste(
                PIL.Image.fromarray(np.ascontiguousarray(middle(enlarged))), (place[0], top + TITLE_PX)
            )
    sheet.save(options.sheet, quality=60, method=6)


if __name__ == "__main__":
    main()
