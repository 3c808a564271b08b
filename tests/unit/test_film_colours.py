"""Luma and chroma to RGB and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swinir.film.colours import BT601, BT709, BT2020, PQ, Colours, choose_matrix, from_rgb, to_rgb


def colours(matrix: int = BT709, *, is_full: bool = False) -> Colours:
    return Colours(primaries=1, transfer=1, matrix=matrix, is_full=is_full)


def plane(value: int, height: int = 2, width: int = 2) -> np.ndarray:
    return np.full((height, width), value, np.uint16)


@pytest.mark.parametrize(
    ("bits", "is_full", "values", "expected"),
    [
        (8, False, (235, 128, 128), (1, 1, 1)),
        (8, False, (16, 128, 128), (0, 0, 0)),
        (10, False, (940, 512, 512), (1, 1, 1)),
        (10, True, (1023, 512, 512), (1, 1, 1)),
        (8, False, (63, 102, 240), (1, 0, 0)),  # red of BT.709, rounded to 8 bits
        (8, False, (32, 240, 118), (0, 0, 1)),  # blue
    ],
)
def test_known_values_are_known_colours(
    bits: int, is_full: bool, values: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    rgb = to_rgb([plane(value) for value in values], bits, colours(is_full=is_full))
    assert np.abs(rgb[0, 0] / 65535 - expected).max() < 0.01
    if len(set(expected)) == 1:
        assert np.array_equal(rgb[0, 0], np.array(expected) * 65535)


@given(
    bits=st.sampled_from([8, 10, 12]),
    matrix=st.sampled_from([BT601, BT709, BT2020]),
    is_full=st.booleans(),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    chroma=st.sampled_from([(1, 1), (1, 2), (2, 2), (4, 4), (1, 4)]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_values_within_rgb_come_back(
    *, bits: int, matrix: int, is_full: bool, height: int, width: int, chroma: tuple[int, int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    step = 2 ** (bits - 8)
    luma = random.integers(100 * step, 150 * step, (height, width)).astype(np.uint16)
    tint = [
        plane(int(value) * step, -(-height // chroma[0]), -(-width // chroma[1]))
        for value in random.integers(118, 138, 2)
    ]
    given = [luma, *tint]
    back = from_rgb(
        to_rgb(given, bits, colours(matrix, is_full=is_full)), bits, colours(matrix, is_full=is_full), chroma
    )
    assert all(np.array_equal(old, new) for old, new in zip(given, back, strict=True))


def test_enlarged_chroma_follows_a_ramp_at_the_places_of_luma() -> None:
    chroma = np.arange(100, 164, 4, dtype=np.uint8)[None].repeat(4, axis=0)
    luma = np.full((8, 32), 126, np.uint8)
    rgb = to_rgb([luma, np.full_like(chroma, 128), chroma], 8, colours())
    red = rgb[4, 2:-4, 0].astype(int)
    assert np.ptp(np.diff(red)) <= 1  # two samples of luma for one of chroma, evenly


def test_grey_film_is_grey() -> None:
    rgb = to_rgb([np.arange(16, 236, dtype=np.uint8)[None]], 8, colours())
    assert np.array_equal(rgb[:, :, 0], rgb[:, :, 2])
    assert rgb[0, [0, -1], 1].tolist() == [0, 65535]


@pytest.mark.parametrize(
    ("stated", "primaries", "size", "expected"),
    [
        (2, 2, (720, 576), BT601),
        (2, 2, (1280, 720), BT709),
        (2, 9, (720, 576), BT2020),
        (5, 2, (1920, 1080), 5),
    ],
)
def test_matrix_that_is_missing_is_the_one_of_the_size(
    stated: int, primaries: int, size: tuple[int, int], expected: int
) -> None:
    assert choose_matrix(stated, primaries, *size) == expected


def test_pq_is_hdr() -> None:
    assert Colours(primaries=9, transfer=PQ, matrix=9, is_full=False).is_hdr
    assert not colours().is_hdr
