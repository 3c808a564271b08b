"""Borders of a picture are restored like the rest of it, by every bundled model."""

import numpy as np
import pytest

from swinir.engine import Restorer
from swinir.weights import catalog

COLOURS = [(255, 0, 0), (0, 0, 255), (255, 255, 0), (255, 255, 255), (128, 128, 128)]
# Levels of 255 between the corners and the middle of a flat picture.
MOST_UNEVEN = 4


@pytest.fixture(scope="module", params=sorted(catalog.bundled_models()))
def restorer(request: pytest.FixtureRequest) -> Restorer:
    return Restorer.from_pretrained(request.param, device="cpu", precision="fp32")


@pytest.mark.parametrize("colour", COLOURS)
def test_a_flat_picture_stays_flat_to_its_corners(restorer: Restorer, colour: tuple[int, int, int]) -> None:
    flat = np.broadcast_to(np.array(colour, np.uint8), (20, 23, 3)).copy()
    restored = restorer(flat).astype(int)
    middle = restored[restored.shape[0] // 2, restored.shape[1] // 2]
    assert np.abs(restored - middle).max() <= MOST_UNEVEN
