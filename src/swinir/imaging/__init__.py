"""Pixels without torch: reading and writing files, colour, MATLAB's bicubic."""

from swinir.imaging.color import rgb_to_gray, rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb
from swinir.imaging.formats import READABLE_SUFFIXES, WRITABLE_SUFFIXES
from swinir.imaging.frames import Frames, Timing, read_frames
from swinir.imaging.frames_writing import write_frames
from swinir.imaging.image import Image, Metadata
from swinir.imaging.io import encode, read, write
from swinir.imaging.limits import DEFAULT_LIMITS, Limits
from swinir.imaging.resize import Rounding, modcrop, resize_bicubic

__all__ = [
    "DEFAULT_LIMITS",
    "READABLE_SUFFIXES",
    "WRITABLE_SUFFIXES",
    "Frames",
    "Image",
    "Limits",
    "Metadata",
    "Rounding",
    "Timing",
    "encode",
    "modcrop",
    "read",
    "read_frames",
    "resize_bicubic",
    "rgb_to_gray",
    "rgb_to_y",
    "rgb_to_ycbcr",
    "write",
    "write_frames",
    "ycbcr_to_rgb",
]
