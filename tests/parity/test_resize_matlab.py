"""The benchmark's low-resolution files, which MATLAB made, are reproduced to the pixel."""

from pathlib import Path

import numpy as np
import pytest

from swinir.imaging import modcrop, read, resize_bicubic
from swinir.metrics import psnr

SCALES = [2, 3, 4, 8]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("corner", ["top_left", "bottom_right"])
def test_corners_of_a_picture_shrink_as_in_matlab(golden: Path, corner: str, scale: int):
    folder = golden / "resize"
    small = resize_bicubic(read(folder / f"{corner}.png").pixels, 1 / scale)
    expected = read(folder / f"{corner}_x{scale}.png").pixels
    # Where the corner was cut out of the picture, two pixels see what MATLAB saw and we do not.
    inside = slice(None, -2) if corner == "top_left" else slice(2, None)
    assert small.shape == expected.shape
    np.testing.assert_array_equal(small[inside, inside], expected[inside, inside])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ["baby", "bird", "butterfly", "head", "woman"])
def test_low_resolution_files_of_set5_are_reproduced_to_the_pixel(shared: Path, name: str, scale: int):
    set5 = shared / "testsets" / "Set5"
    high = modcrop(read(set5 / "HR" / f"{name}.png").pixels, scale)
    low = read(set5 / "LR_bicubic" / f"X{scale}" / f"{name}x{scale}.png").pixels
    np.testing.assert_array_equal(resize_bicubic(high, 1 / scale), low)


@pytest.mark.parametrize(("scale", "literature_db"), [(2, 33.66), (3, 30.39), (4, 28.42)])
def test_bicubic_reaches_the_figure_of_the_literature_on_set5(shared: Path, scale: int, literature_db: float):
    set5 = shared / "testsets" / "Set5"
    figures = []
    for path in sorted((set5 / "HR").glob("*.png")):
        high = modcrop(read(path).pixels, scale)
        low = read(set5 / "LR_bicubic" / f"X{scale}" / f"{path.stem}x{scale}.png").pixels
        figures.append(psnr(resize_bicubic(low, scale), high, border_px=scale, channel="y"))
    assert len(figures) == 5
    # The literature's bicubic enlarged a luma that was rounded; ours is not.
    assert np.mean(figures) == pytest.approx(literature_db, abs=0.02)
