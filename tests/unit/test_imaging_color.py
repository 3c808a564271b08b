import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from swinir.imaging import rgb_to_gray, rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb

RGB_FLOATS = hnp.arrays(np.float64, (2, 3, 3), elements=st.floats(0, 1))


def color(*rgb: int, dtype: type = np.uint8):
    return np.array([[rgb]], dtype)


# From the documentation of BT.601: studio swing puts black at 16, white at 235, grey at 128 in both chromas.
@pytest.mark.parametrize(
    ("rgb", "ycbcr"),
    [
        ((0, 0, 0), (16, 128, 128)),
        ((255, 255, 255), (235, 128, 128)),
        ((255, 0, 0), (81.481, 90.203, 240)),
        ((0, 255, 0), (144.553, 53.797, 34.214)),
        ((0, 0, 255), (40.966, 240, 109.786)),
    ],
)
def test_corner_colours_have_the_values_of_the_standard(rgb, ycbcr):
    np.testing.assert_allclose(rgb_to_ycbcr(color(*rgb))[0, 0], ycbcr, atol=1e-9)
    np.testing.assert_allclose(rgb_to_y(color(*rgb))[0, 0], ycbcr[0], atol=1e-9)


@given(RGB_FLOATS)
def test_ycbcr_leads_back_to_rgb(rgb):
    np.testing.assert_allclose(ycbcr_to_rgb(rgb_to_ycbcr(rgb)), rgb, atol=1e-12)


@given(RGB_FLOATS)
def test_y_is_the_first_of_ycbcr(rgb):
    np.testing.assert_allclose(rgb_to_y(rgb), rgb_to_ycbcr(rgb)[:, :, 0], atol=1e-12)


def test_depth_of_the_same_colour_changes_nothing():
    pixels = color(12, 200, 99)
    expected = rgb_to_ycbcr(pixels)
    np.testing.assert_allclose(rgb_to_ycbcr(pixels.astype(np.uint16) * 257), expected, atol=1e-9)
    np.testing.assert_allclose(rgb_to_ycbcr(pixels / 255), expected, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("level", [0, 1, 127, 255])
def test_gray_of_gray_is_that_gray(dtype, level):
    gray = rgb_to_gray(color(level, level, level, dtype=dtype))
    assert gray.shape == (1, 1, 1)
    assert gray.dtype == dtype
    assert gray[0, 0, 0] == pytest.approx(level, rel=1e-6)


def test_gray_weighs_the_colours_and_rounds():
    # 0.299 · 255 = 76.2, 0.587 · 255 = 149.7, 0.114 · 255 = 29.1
    grays = [int(rgb_to_gray(color(*rgb))[0, 0, 0]) for rgb in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    assert grays == [76, 150, 29]


@pytest.mark.parametrize("function", [rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb, rgb_to_gray])
def test_other_than_three_channels_are_refused(function):
    with pytest.raises(ValueError, match="three channels"):
        function(np.zeros((4, 4), np.uint8))


@pytest.mark.parametrize("function", [rgb_to_y, rgb_to_ycbcr, rgb_to_gray])
def test_pixels_whose_white_is_unknown_are_refused(function):
    with pytest.raises(ValueError, match="int32"):
        function(np.zeros((4, 4, 3), np.int32))
