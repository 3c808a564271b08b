"""Pixels without torch: reading and writing files, colour, MATLAB's bicubic."""

from swinir.imaging.color import rgb_to_gray, rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb
from swinir.imaging.resize import Rounding, modcrop, resize_bicubic

__all__ = [
    "Rounding",
    "modcrop",
    "resize_bicubic",
    "rgb_to_gray",
    "rgb_to_y",
    "rgb_to_ycbcr",
    "ycbcr_to_rgb",
]
