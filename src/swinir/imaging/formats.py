"""The file formats: how each is recognised, what it can hold, and how it is compressed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# A classic TIFF's offsets have 32 bits; the margin is for directories and metadata.
_CLASSIC_TIFF_BYTES = 2**32 - 2**26
_OPTIMIZED_BYTES = 2**27


@dataclass(frozen=True, kw_only=True)
class Format:
    """What a file of one format can hold.

    Attributes:
        name: for people.
        suffixes: of file names, lower case; the first is the usual one.
        operation: libvips' name of it: `<operation>load`, `<operation>save`.
        bits: the most per value that is written here.
        max_side_px: the longest side that it can hold.
        default_quality: visually lossless, at a fraction of the size of 100; None for formats without loss.
        has_gray: it can hold one channel; others get three equal ones.
        has_cicp: it can state colours by code points.
        holds_frames: an animation.
        holds_pages: pictures of different sizes, one after the other.
        options: of libvips' save operation, whatever the picture.
    """

    name: str
    suffixes: tuple[str, ...]
    operation: str
    bits: int
    max_side_px: int
    default_quality: int | None = None
    has_float: bool = False
    has_alpha: bool = True
    has_gray: bool = True
    has_profile: bool = True
    has_exif: bool = True
    has_iptc: bool = False
    has_cicp: bool = False
    holds_frames: bool = False
    holds_pages: bool = False
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def save_options(
        self, *, quality: int | None, bits: int, is_float: bool, num_bytes: int
    ) -> dict[str, Any]:
        """Arguments of libvips' save operation.

        Args:
            quality: from 1 to 100, None for the default; formats without loss ignore it.
            bits: of a value in the file.
            is_float: the values in the file are floats.
            num_bytes: of all pixels uncompressed.
        """
        options = dict(self.options)
        if self.default_quality is not None:
            options["Q"] = self.default_quality if quality is None else quality
        if self is AVIF:
            options["bitdepth"] = bits
        if self is JPEG:
            # Smaller by some percent, but it keeps the whole picture in memory as coefficients.
            options["optimize_coding"] = num_bytes <= _OPTIMIZED_BYTES
        if self is TIFF:
            options["predictor"] = "float" if is_float else "horizontal"
            options["bigtiff"] = num_bytes > _CLASSIC_TIFF_BYTES
        return options


PNG = Format(
    name="PNG",
    suffixes=(".png", ".apng"),
    operation="png",
    holds_frames=True,
    bits=16,
    has_cicp=True,
    max_side_px=2**31 - 1,
    # Of an enlarged photo of 4000×3000: 8.5 MB in 0.4 s; level 6 with all filters took 1.8 s for 8.2 MB.
    options={"compression": 3, "filter": "up"},
)
JPEG = Format(
    name="JPEG",
    suffixes=(".jpg", ".jpeg", ".jpe", ".jfif"),
    operation="jpeg",
    bits=8,
    max_side_px=65_500,
    default_quality=95,
    has_alpha=False,
    has_iptc=True,
    options={"subsample_mode": "off"},
)
WEBP = Format(
    name="WebP",
    suffixes=(".webp",),
    operation="webp",
    holds_frames=True,
    bits=8,
    max_side_px=16_383,
    default_quality=95,
    has_gray=False,
    options={"alpha_q": 100, "smart_subsample": True},
)
TIFF = Format(
    name="TIFF",
    suffixes=(".tif", ".tiff"),
    operation="tiff",
    holds_pages=True,
    bits=16,
    max_side_px=2**31 - 1,
    has_float=True,
    has_iptc=True,
    options={"compression": "deflate"},
)
AVIF = Format(
    name="AVIF",
    suffixes=(".avif",),
    operation="heif",
    holds_frames=True,
    bits=10,
    has_cicp=True,
    max_side_px=16_384,
    default_quality=85,
    has_gray=False,
    # Effort 4 takes six times as long for 2 % fewer bytes.
    options={"compression": "av1", "effort": 3, "subsample_mode": "off"},
)
GIF = Format(
    name="GIF",
    suffixes=(".gif",),
    operation="gif",
    holds_frames=True,
    bits=8,
    max_side_px=65_535,
    has_gray=False,
    has_profile=False,
    has_exif=False,
)

FORMATS = (PNG, JPEG, WEBP, TIFF, AVIF, GIF)
WRITABLE_SUFFIXES = tuple(suffix for known in FORMATS for suffix in known.suffixes)


@dataclass(frozen=True, kw_only=True)
class ForeignFormat:
    """A format that is read and not written, by another library than libvips.

    Attributes:
        name: for people.
        suffixes: of file names, lower case.
        pillow: Pillow's name of it.
        extra: of this package, if reading takes another package; empty where Pillow alone does.
    """

    name: str
    suffixes: tuple[str, ...]
    pillow: str
    extra: str = ""


HEIC = ForeignFormat(name="HEIC", suffixes=(".heic", ".heif", ".hif"), pillow="HEIF", extra="heif")
JPEG_XL = ForeignFormat(name="JPEG XL", suffixes=(".jxl",), pillow="JXL", extra="jxl")
TGA = ForeignFormat(name="TGA", suffixes=(".tga", ".vda", ".icb", ".vst"), pillow="TGA")
PPM = ForeignFormat(name="PNM", suffixes=(".ppm", ".pgm", ".pbm", ".pnm", ".pfm"), pillow="PPM")
PSD = ForeignFormat(name="PSD", suffixes=(".psd",), pillow="PSD")
DDS = ForeignFormat(name="DDS", suffixes=(".dds",), pillow="DDS")
BMP = ForeignFormat(name="BMP", suffixes=(".bmp", ".dib"), pillow="BMP")
ICO = ForeignFormat(name="ICO", suffixes=(".ico",), pillow="ICO")
CUR = ForeignFormat(name="CUR", suffixes=(".cur",), pillow="CUR")
PCX = ForeignFormat(name="PCX", suffixes=(".pcx",), pillow="PCX")
JPEG_2000 = ForeignFormat(
    name="JPEG 2000", suffixes=(".jp2", ".j2k", ".jpx", ".j2c", ".jpf", ".jpc"), pillow="JPEG2000"
)
QOI = ForeignFormat(name="QOI", suffixes=(".qoi",), pillow="QOI")
SGI = ForeignFormat(name="SGI", suffixes=(".sgi", ".rgb", ".rgba", ".bw"), pillow="SGI")
SUN = ForeignFormat(name="Sun raster", suffixes=(".ras",), pillow="SUN")
ICNS = ForeignFormat(name="ICNS", suffixes=(".icns",), pillow="ICNS")
XBM = ForeignFormat(name="XBM", suffixes=(".xbm",), pillow="XBM")
XPM = ForeignFormat(name="XPM", suffixes=(".xpm",), pillow="XPM")

FOREIGN_FORMATS = (
    *(HEIC, JPEG_XL, BMP, TGA, PPM, ICO, CUR, PCX, DDS, PSD, JPEG_2000, QOI, SGI, SUN, ICNS, XBM, XPM),
)
READABLE_SUFFIXES = (
    *WRITABLE_SUFFIXES,
    ".avifs",
    *(suffix for known in FOREIGN_FORMATS for suffix in known.suffixes),
)


def format_of_suffix(suffix: str) -> Format | None:
    """Find the writable format that a suffix, with or without its dot, stands for."""
    wanted = "." + suffix.lower().removeprefix(".")
    return next((known for known in FORMATS if wanted in known.suffixes), None)
