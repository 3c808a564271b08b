"""What is hidden under alpha 0 never shows, whole and in rows."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from swinir import imaging
from swinir.engine.pixels import Picture
from swinir.engine.transparency import REACH_PX, SpreadRows, spread_colours


def disc(dtype: Any, height: int = 60, width: int = 50) -> imaging.Image:
    """A white disc with a soft rim; what is transparent is black."""
    y, x = np.mgrid[:height, :width]
    white = imaging.Image(pixels=np.zeros((1, 1, 1), dtype)).white
    opacity = (15.5 - np.hypot(y - height / 2, x - width / 2)).clip(0, 1)
    alpha = (opacity * white).astype(dtype)
    colours = np.where(alpha[:, :, None] > 0, white, 0).astype(dtype).repeat(3, axis=2)
    return imaging.Image(pixels=colours, alpha=alpha)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_rim_of_a_white_disc_is_white_far_beyond_it(dtype: Any) -> None:
    image = disc(dtype)
    y, x = np.mgrid[:60, :50]
    is_near = np.hypot(y - 30, x - 25) < 15 + REACH_PX / 2

    colours = Picture.of(image).colours

    assert (colours[is_near] == image.white).all()


def test_visible_colours_stay_and_hidden_ones_are_the_mean_of_their_neighbours() -> None:
    colours = np.array([[10, 99, 21]], np.uint8)[:, :, None]

    spread = spread_colours(colours, np.array([[255, 2, 3]], np.uint8))

    assert spread[:, :, 0].tolist() == [[10, 16, 21]]


def test_what_is_hidden_far_away_is_gone() -> None:
    colours = np.full((1, 100, 1), 77, np.uint8)
    alpha = np.zeros((1, 100), np.uint8)
    alpha[0, 0] = 255

    spread = spread_colours(colours, alpha)[0, :, 0]

    assert (spread[: REACH_PX + 1] == 77).all()
    assert not spread[REACH_PX + 1 :].any()


def test_an_opaque_picture_is_not_copied() -> None:
    colours = np.zeros((4, 4, 3), np.uint8)
    assert spread_colours(colours, np.full((4, 4), 255, np.uint8)) is colours


class Rows:
    def __init__(self, image: imaging.Image) -> None:
        self.image = image
        self.position = 0
        self.header = imaging.Header(
            height=image.height,
            width=image.width,
            has_alpha=True,
            template=replace(image, pixels=image.pixels[:1, :1], alpha=None),
            value_range=(0, 255),
        )

    def rows(self, top: int, bottom: int) -> imaging.Band:
        assert self.position <= top < bottom <= self.image.height
        self.position = bottom
        assert self.image.alpha is not None
        return imaging.Band(self.image.pixels[top:bottom], self.image.alpha[top:bottom])


@pytest.mark.parametrize("steps", [[0, 1, 2, 90, 91, 300], [0, 300], [150, 160, 300], [40, 200, 201, 300]])
def test_rows_are_those_of_the_whole_picture(steps: list[int]) -> None:
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (300, 40, 3)).astype(np.uint8)
    alpha = np.where(random.random((300, 40)) < 0.01, 255, 0).astype(np.uint8)
    alpha[120:200] = 0
    whole = spread_colours(colours, alpha)
    source = SpreadRows(Rows(imaging.Image(pixels=colours, alpha=alpha)))

    bands = [source.rows(top, bottom) for top, bottom in pairwise(steps)]

    assert np.array_equal(np.concatenate([band.pixels for band in bands]), whole[steps[0] :])
    assert np.array_equal(np.concatenate([band.alpha for band in bands]), alpha[steps[0] :])
