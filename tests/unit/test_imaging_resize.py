from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swinir.imaging import Rounding, modcrop, resize_bicubic

SCALES = [
    Fraction(1, 8),
    Fraction(1, 3),
    Fraction(1, 2),
    Fraction(3, 7),
    Fraction(1),
    Fraction(5, 2),
    Fraction(4),
]


def noise(*shape: int, dtype: type = np.uint8, seed: int = 0):
    generator = np.random.default_rng(seed)
    if dtype is np.float32:
        return generator.random(shape, dtype=np.float32)
    return generator.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def slow_bicubic(row: np.ndarray, scale: float) -> np.ndarray:
    """One axis, pixel by pixel, from the definition: mirrored border, kernel stretched when shrinking."""

    def cubic(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0

    outputs = []
    for i in range(int(np.ceil(len(row) * scale))):
        centre = (i + 0.5) / scale - 0.5
        stretch = max(1.0, 1 / scale)
        reach = int(np.ceil(2 * stretch)) + 1
        total = weight_sum = 0.0
        for position in range(int(np.floor(centre)) - reach, int(np.floor(centre)) + reach + 1):
            weight = cubic((centre - position) / stretch)
            mirrored = position % (2 * len(row))
            mirrored = min(mirrored, 2 * len(row) - 1 - mirrored)
            total += weight * row[mirrored]
            weight_sum += weight
        outputs.append(total / weight_sum)
    return np.array(outputs)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 23), st.sampled_from(SCALES), st.integers(0, 99))
def test_each_axis_is_the_weighted_mean_of_the_definition(side, scale, seed):
    row = np.random.default_rng(seed).random(side)
    expected = slow_bicubic(row, float(scale))
    # A column of equal rows: the first pass must leave it alone.
    grid = np.broadcast_to(row, (5, side)).copy()
    np.testing.assert_allclose(resize_bicubic(grid, scale)[0], expected, atol=1e-12)
    np.testing.assert_allclose(resize_bicubic(grid.T.copy(), scale)[:, 0], expected, atol=1e-12)


@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from(SCALES), st.sampled_from([np.uint8, np.uint16])
)
@settings(deadline=None, max_examples=60)
def test_a_constant_stays_that_constant(height, width, scale, dtype):
    for value in (0, 77, np.iinfo(dtype).max):
        resized = resize_bicubic(np.full((height, width, 3), value, dtype), scale)
        assert resized.shape == (-(-height * scale // 1), -(-width * scale // 1), 3)
        assert resized.dtype == dtype
        assert (resized == value).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_scale_one_is_the_identity(dtype):
    image = noise(17, 13, 3, dtype=dtype)
    np.testing.assert_array_equal(resize_bicubic(image, 1), image)


@pytest.mark.parametrize("scale", [0.5, 1 / 3, 2, 4])
def test_channels_do_not_mix(scale):
    image = noise(31, 29, 3)
    together = resize_bicubic(image, scale)
    apart = [resize_bicubic(image[:, :, channel], scale) for channel in range(3)]
    np.testing.assert_array_equal(together, np.stack(apart, axis=2))


@pytest.mark.parametrize("scale", [0.5, 0.25, 3])
def test_bands_of_a_large_image_leave_no_trace(scale):
    image = noise(600, 530, 3)
    whole = resize_bicubic(image, scale)
    rows = int(8 / scale) if scale < 1 else 8
    cut = 304
    part = resize_bicubic(image[cut - rows :], scale)
    start, margin = int(cut * scale), int(rows * scale)
    np.testing.assert_array_equal(whole[start:], part[margin:])


def test_overshoot_is_clipped_for_integers_and_kept_for_floats():
    step = np.zeros((4, 16), np.uint8)
    step[:, 8:] = 255
    enlarged = resize_bicubic(step, 2)
    assert enlarged.min() == 0
    assert enlarged.max() == 255
    floats = resize_bicubic((step / 255).astype(np.float32), 2)
    assert floats.dtype == np.float32
    assert floats.max() > 1.01


def test_rounding_per_pass_and_at_the_end_differ_by_little():
    image = noise(64, 64)
    per_pass = resize_bicubic(image, 0.5, rounding=Rounding.PER_PASS).astype(int)
    at_end = resize_bicubic(image, 0.5, rounding=Rounding.AT_END).astype(int)
    assert 0 < np.abs(per_pass - at_end).max() <= 2


@pytest.mark.parametrize(
    ("scale", "expected"), [(1 / 4, Rounding.PER_PASS), (1 / 8, Rounding.AT_END), (2, Rounding.PER_PASS)]
)
def test_rounding_of_the_benchmark_depends_on_the_scale(scale, expected):
    image = noise(64, 64)
    other = Rounding.AT_END if expected is Rounding.PER_PASS else Rounding.PER_PASS
    resized = resize_bicubic(image, scale)
    assert (resized == resize_bicubic(image, scale, rounding=expected)).all()
    assert (resized != resize_bicubic(image, scale, rounding=other)).any()


@pytest.mark.parametrize(
    ("side", "scale", "expected"), [(30, 0.1, 3), (10, 1.1, 11), (49, 1 / 49, 1), (5, 0.5, 3)]
)
def test_sides_are_rounded_up_without_the_error_of_floats(side, scale, expected):
    assert resize_bicubic(np.zeros((side, side)), scale).shape == (expected, expected)


def test_float_and_fraction_mean_the_same_scale():
    image = noise(33, 27, 3)
    np.testing.assert_array_equal(resize_bicubic(image, 1 / 3), resize_bicubic(image, Fraction(1, 3)))


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_scales_that_are_no_scale_are_refused(scale):
    with pytest.raises(ValueError, match="scale"):
        resize_bicubic(np.zeros((4, 4)), scale)


@pytest.mark.parametrize(
    "array", [np.zeros((0, 4)), np.zeros(4), np.zeros((2, 2, 2, 2)), np.zeros((4, 4), np.int32)]
)
def test_arrays_that_are_no_picture_are_refused(array):
    with pytest.raises(ValueError, match="expected"):
        resize_bicubic(array, 2)


@given(st.integers(1, 50), st.integers(1, 50), st.data())
def test_modcrop_leaves_the_most_whole_multiples(height, width, data):
    scale = data.draw(st.integers(1, min(height, width)))
    cropped = modcrop(np.arange(height * width).reshape(height, width), scale)
    assert cropped.shape == (height // scale * scale, width // scale * scale)
    assert cropped[0, 0] == 0


@pytest.mark.parametrize("scale", [0, 6])
def test_modcrop_refuses_scales_that_leave_nothing(scale):
    with pytest.raises(ValueError, match="from 1 to the shorter side 5"):
        modcrop(np.zeros((5, 9)), scale)
