"""Cutting an image into tiles and blending them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swinir.engine import tiling

SIDES = st.integers(1, 300)
WINDOWS = st.sampled_from([7, 8])
TILES = st.one_of(st.none(), st.integers(14, 120))
OVERLAPS = st.integers(0, 60)
CONTEXTS = st.integers(0, 6)


@st.composite
def plans(draw: st.DrawFn) -> tiling.Plan:
    return tiling.plan(
        draw(SIDES),
        draw(SIDES),
        window_size=draw(WINDOWS),
        tile_px=draw(TILES),
        overlap_px=draw(OVERLAPS),
        context_px=draw(CONTEXTS),
    )


@given(SIDES, WINDOWS, st.integers(14, 120), OVERLAPS)
def test_tiles_are_windows_of_the_whole_and_no_larger_than_asked(
    side: int, window: int, tile: int, overlap: int
) -> None:
    axis = tiling.plan(side, 1, window_size=window, tile_px=tile, overlap_px=overlap).rows
    assert axis.tile_px % window == 0
    assert axis.tile_px <= max(tile, 2 * window)
    assert all(origin % window == 0 for origin in axis.origins)


@given(SIDES, WINDOWS, st.integers(14, 120), OVERLAPS)
def test_tiles_cover_the_padded_side_and_end_with_it(side: int, window: int, tile: int, overlap: int) -> None:
    axis = tiling.plan(side, 1, window_size=window, tile_px=tile, overlap_px=overlap).rows
    covered = {px for origin in axis.origins for px in range(origin, origin + axis.tile_px)}
    assert covered == set(range(-(-side // window) * window))


@given(SIDES, WINDOWS, st.integers(14, 120), OVERLAPS)
def test_neighbours_overlap_as_asked_or_by_half_a_tile(
    side: int, window: int, tile: int, overlap: int
) -> None:
    axis = tiling.plan(side, 1, window_size=window, tile_px=tile, overlap_px=overlap).rows
    shared = [
        left + axis.tile_px - right for left, right in zip(axis.origins, axis.origins[1:], strict=False)
    ]
    half = max(tile // window, 2) // 2 * window
    assert all(px >= min(overlap, half) for px in shared)


@given(SIDES, WINDOWS, TILES, OVERLAPS, CONTEXTS)
def test_context_is_on_both_sides_and_tiles_lie_whole_windows_apart(
    side: int, window: int, tile: int | None, overlap: int, context: int
) -> None:
    axis = tiling.plan(side, 1, window_size=window, tile_px=tile, overlap_px=overlap, context_px=context).rows
    assert axis.origins[0] == -context
    assert all((origin + context) % window == 0 for origin in axis.origins)
    assert all(origin > 0 for origin in axis.origins[1:])
    assert context <= axis.origins[-1] + axis.tile_px - side < context + window


def test_image_that_fits_one_tile_is_not_cut() -> None:
    cut = tiling.plan(250, 256, window_size=8, tile_px=256)
    assert cut.num_tiles == 1
    assert (cut.rows.tile_px, cut.columns.tile_px) == (256, 256)


def test_equal_tiles_are_no_larger_than_needed() -> None:
    axis = tiling.plan(264, 8, window_size=8, tile_px=256, overlap_px=32).rows
    assert axis.origins == (0, 112)
    assert axis.tile_px == 152


@given(plans(), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_weights_sum_to_one_at_every_pixel(cut: tiling.Plan, scale: int) -> None:
    for axis in (cut.rows, cut.columns):
        first = axis.origins[0]
        total = np.zeros((axis.origins[-1] + axis.tile_px - first) * scale)
        for origin, weight in zip(axis.origins, tiling.weights(axis, scale), strict=True):
            total[(origin - first) * scale : (origin - first + axis.tile_px) * scale] += weight
        np.testing.assert_allclose(total, 1, atol=1e-6)


def test_tiles_fade_by_equal_steps_over_the_middle_of_their_overlap() -> None:
    axis = tiling.Axis(size_px=24, tile_px=16, origins=(0, 8))
    first, second = tiling.weights(axis, 1)
    np.testing.assert_allclose(first, [1] * 10 + [0.875, 0.625, 0.375, 0.125] + [0] * 2, atol=1e-6)
    np.testing.assert_allclose(second, first[::-1], atol=1e-6)


@given(plans(), st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_blend_of_pieces_of_an_image_is_that_image(cut: tiling.Plan, scale: int) -> None:
    height, width = cut.rows.size_px * scale, cut.columns.size_px * scale
    y, x = np.mgrid[: height + 300, : width + 300].astype(np.float32)
    image = np.stack([np.sin(y / 9 + x / 7), np.cos(x / 5)], axis=-1)
    before_y, before_x = (-axis.origins[0] * scale for axis in (cut.rows, cut.columns))
    around = np.pad(image, ((before_y, 0), (before_x, 0), (0, 0)), constant_values=9)
    tiles = (
        around[
            before_y + top * scale : before_y + (top + cut.rows.tile_px) * scale,
            before_x + left * scale : before_x + (left + cut.columns.tile_px) * scale,
        ]
        for top, left in cut.origins()
    )
    blended = np.zeros((height, width, 2), np.float32)
    for top, left, pixels in tiling.blend(cut, tiles, scale):
        # Every pixel is finished once.
        blended[top : top + len(pixels), left : left + pixels.shape[1]] += pixels
    np.testing.assert_allclose(blended, image[:height, :width], atol=1e-5)


@given(plans(), st.data())
@settings(max_examples=50, deadline=None)
def test_blend_of_some_rows_of_tiles_is_that_of_all_to_the_bit(cut: tiling.Plan, data: st.DataObject) -> None:
    num_rows = len(cut.rows.origins)
    first = data.draw(st.integers(0, num_rows - 1))
    wanted = range(first, data.draw(st.integers(first + 1, num_rows)))
    random = np.random.default_rng(0)
    shape = (cut.rows.tile_px, cut.columns.tile_px, 1)
    tiles = [random.random(shape, np.float32) for _ in cut.origins()]
    per_row = len(cut.columns.origins)
    whole = [(top, left, pixels.copy()) for top, left, pixels in tiling.blend(cut, tiles, 1)]
    needed = tiles[tiling.first_row_of_tiles(cut, first) * per_row :]
    some = [(top, left, pixels.copy()) for top, left, pixels in tiling.blend(cut, needed, 1, rows=wanted)]
    expected = whole[wanted.start * per_row : wanted.stop * per_row]
    assert [block[:2] for block in some] == [block[:2] for block in expected]
    assert all(np.array_equal(ours[2], theirs[2]) for ours, theirs in zip(some, expected, strict=True))


def test_blend_of_a_constant_is_that_constant() -> None:
    cut = tiling.plan(100, 90, window_size=8, tile_px=48)
    tiles = (np.full((cut.rows.tile_px, cut.columns.tile_px, 1), 0.7, np.float32) for _ in cut.origins())
    assert max(np.abs(block.pixels - 0.7).max() for block in tiling.blend(cut, tiles, 1)) < 1e-6


def test_blend_yields_a_block_as_soon_as_its_tile_is_there() -> None:
    cut = tiling.plan(100, 90, window_size=8, tile_px=48)
    taken = 0

    def tiles():
        nonlocal taken
        for _ in cut.origins():
            taken += 1
            yield np.zeros((cut.rows.tile_px, cut.columns.tile_px, 3), np.float32)

    next(tiling.blend(cut, tiles(), 1))
    assert taken == 1


@pytest.mark.parametrize(("side", "expected"), [(1, [0, 0, 0]), (3, [1, 0, 1])])
def test_positions_beyond_the_side_are_reflected(side: int, expected: list[int]) -> None:
    axis = tiling.plan(side, 1, window_size=8, tile_px=None).rows
    assert axis.positions(0)[3:6] == expected


def test_positions_before_the_side_are_reflected() -> None:
    axis = tiling.plan(4, 1, window_size=8, tile_px=None, context_px=3).rows
    assert axis.positions(-3)[:8] == [3, 2, 1, 0, 1, 2, 3, 2]
