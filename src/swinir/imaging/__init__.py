"""Pixels without torch: reading and writing files, colour, MATLAB's bicubic."""

from swinir.imaging.band import Band, Header, rows_of_band
from swinir.imaging.color import rgb_to_gray, rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb
from swinir.imaging.formats import READABLE_SUFFIXES, WRITABLE_SUFFIXES
from swinir.imaging.frames import Frames, Timing, read_frames
from swinir.imaging.frames_writing import write_frames
from swinir.imaging.image import Image, Metadata, has_equal_channels
from swinir.imaging.io import check_writable, encode, read, write
from swinir.imaging.limits import DEFAULT_LIMITS, NO_LIMITS, Limits
from swinir.imaging.peek import PeekedSize, peek_size
from swinir.imaging.reader import STREAM_LIMITS, ImageReader
from swinir.imaging.resize import Rounding, modcrop, resize_bicubic, resize_rows, rows_needed
from swinir.imaging.source import shown_path
from swinir.imaging.spool import Spool
from swinir.imaging.writer import DEEP_ZOOM_SUFFIX, ImageWriter
from swinir.options import TiffLayout

__all__ = [
    "DEEP_ZOOM_SUFFIX",
    "DEFAULT_LIMITS",
    "NO_LIMITS",
    "READABLE_SUFFIXES",
    "STREAM_LIMITS",
    "WRITABLE_SUFFIXES",
    "Band",
    "Frames",
    "Header",
    "Image",
    "ImageReader",
    "ImageWriter",
    "Limits",
    "Metadata",
    "PeekedSize",
    "Rounding",
    "Spool",
    "TiffLayout",
    "Timing",
    "check_writable",
    "encode",
    "has_equal_channels",
    "modcrop",
    "peek_size",
    "read",
    "read_frames",
    "resize_bicubic",
    "resize_rows",
    "rgb_to_gray",
    "rgb_to_y",
    "rgb_to_ycbcr",
    "rows_needed",
    "rows_of_band",
    "shown_path",
    "write",
    "write_frames",
    "ycbcr_to_rgb",
]
