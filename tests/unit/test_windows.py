"""Windows, padding, position index and shift masks, against what is written out by hand or by brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from swinir.ops import windows

sides = st.integers(1, 4)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 3), sides, sides, st.integers(1, 5), st.integers(1, 4))
def test_merge_undoes_partition(batch, rows, columns, window_size, channels):
    height, width = rows * window_size, columns * window_size
    image = torch.arange(batch * height * width * channels).reshape(batch, height, width, channels)
    cut = windows.partition(image, window_size)
    assert cut.shape == (batch * rows * columns, window_size**2, channels)
    assert torch.equal(windows.merge(cut, height, width), image)


def test_partition_goes_row_by_row_within_and_between_windows():
    image = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]])[None, :, :, None]
    assert windows.partition(image, 2)[..., 0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 200), st.integers(2, 12))
def test_padded_size_is_the_least_multiple_that_holds_the_side(size_px, window_size):
    padded_px = windows.padded_size(size_px, window_size)
    assert padded_px % window_size == 0
    assert size_px <= padded_px < size_px + window_size


@pytest.mark.parametrize(("height", "width"), [(5, 5), (5, 8), (8, 13), (7, 9), (16, 6)])
def test_padding_is_pytorchs_reflection_where_that_exists(height, width):
    image = torch.rand(2, 3, height, width)
    expected = functional.pad(image, (0, -width % 8, 0, -height % 8), mode="reflect")
    assert torch.equal(windows.pad_to_windows(image, 8), expected)


@pytest.mark.parametrize(
    ("size_px", "expected"),
    [
        (1, [0, 0, 0, 0, 0, 0, 0, 0]),
        (2, [0, 1, 0, 1, 0, 1, 0, 1]),
        (3, [0, 1, 2, 1, 0, 1, 2, 1]),
        (4, [0, 1, 2, 3, 2, 1, 0, 1]),
        (7, [0, 1, 2, 3, 4, 5, 6, 5]),
        (8, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_a_side_too_short_for_one_reflection_is_reflected_again(size_px, expected):
    assert windows.mirror_indices(size_px, 8) == expected
    image = torch.arange(float(size_px)).reshape(1, 1, 1, size_px)
    padded = windows.pad_to_windows(image, 8)
    assert padded.shape == (1, 1, 8, 8)
    assert padded[0, 0].tolist() == [expected] * 8


def test_an_image_of_whole_windows_is_not_copied():
    image = torch.rand(1, 3, 16, 8)
    assert windows.pad_to_windows(image, 8) is image


def test_position_index_of_the_smallest_window_is_the_published_one():
    assert windows.relative_position_index(2).tolist() == [
        [4, 3, 1, 0],
        [5, 4, 2, 1],
        [7, 6, 4, 3],
        [8, 7, 5, 4],
    ]


@pytest.mark.parametrize("window_size", [2, 3, 7, 8])
def test_position_index_counts_offsets(window_size):
    index = windows.relative_position_index(window_size)
    rows_of_table = (2 * window_size - 1) ** 2
    assert index.shape == (window_size**2, window_size**2)
    assert sorted(set(index.flatten().tolist())) == list(range(rows_of_table))
    # A token and itself: the middle row. A pair and the turned pair: mirrored about it.
    assert set(index.diagonal().tolist()) == {rows_of_table // 2}
    assert torch.equal(index + index.T, torch.full_like(index, rows_of_table - 1))


def regions_of_a_shifted_image(height, width, shift_size):
    """Number the parts of a rolled image that were torn apart: same number, same side of both tears."""
    labels = np.zeros((height, width), dtype=int)
    for y in range(height):
        for x in range(width):
            was_first_row = y >= height - shift_size
            was_first_column = x >= width - shift_size
            labels[y, x] = 2 * was_first_row + was_first_column
    return labels


@pytest.mark.parametrize(("window_size", "shift_size"), [(8, 4), (7, 3), (2, 1), (4, 1), (5, 4)])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 3), (2, 1), (3, 4)])
def test_four_masks_are_those_of_a_whole_image(window_size, shift_size, rows, columns):
    labels = regions_of_a_shifted_image(rows * window_size, columns * window_size, shift_size)
    masks = windows.shift_masks(window_size, shift_size)
    for row in range(rows):
        for column in range(columns):
            top, left = row * window_size, column * window_size
            tokens = labels[top : top + window_size, left : left + window_size].ravel()
            hidden = tokens[:, None] != tokens[None, :]
            mask = masks[int(row == rows - 1), int(column == columns - 1)]
            assert torch.equal(mask, torch.tensor(np.where(hidden, -100.0, 0.0), dtype=torch.float32))
