"""Pixels without torch: reading and writing files, colour, MATLAB's bicubic."""

from swinir.imaging.color import rgb_to_gray, rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb
from swinir.imaging.formats import READABLE_SUFFIXES, WRITABLE_SUFFIXES
from swinir.imaging.image import Image, Metadata
from swinir.imaging.io import encode, read, write
from swinir.imaging.limits import DEFAULT_LIMITS, Limits
from swinir.imaging.resize import Rounding, modcrop, resize_bicubic

__all__ = [
    "DEFAULT_LIMITS",
    "READABLE_SUFFIXES",
    "WRITABLE_SUFFIXES",
    "Image",
    "Limits",
    "Metadata",
    "Rounding",
    "encode",
    "modcrop",
    "read",
    "resize_bicubic",
    "rgb_to_gray",
    "rgb_to_y",
    "rgb_to_ycbcr",
    "write",
    "ycbcr_to_rgb",
]
