"""Flat pictures stay what they are, to their borders, by every bundled model, in fp32 and by default."""

from itertools import product

import numpy as np
import pytest

from swinir.engine import Restorer
from swinir.weights import catalog

# Levels of 255 that any pixel of a flat picture may move by.
MOST_MOVED = 2


@pytest.mark.parametrize("precision", ["fp32", "auto"])
@pytest.mark.parametrize("name", sorted(catalog.bundled_models()))
def test_a_flat_picture_keeps_its_colour_to_its_corners(name: str, precision: str) -> None:
    restorer = Restorer.from_pretrained(name, device="cpu", precision=precision)
    moved: dict[tuple[int, ...], int] = {}
    for colour in product((0, 128, 255), repeat=3):
        flat = np.broadcast_to(np.array(colour, np.uint8), (20, 23, 3)).copy()
        moved[colour] = np.abs(restorer(flat).astype(int) - colour).max()
    assert max(moved.values()) <= MOST_MOVED, moved
