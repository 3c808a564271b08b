"""Formats that libvips' build does not have, by Pillow and packages that come apart from this one."""

import struct
import threading
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from swinir.errors import ImageReadError, MissingPackageError
from swinir.imaging.decode import checked_metadata, from_cmyk, turned_upright
from swinir.imaging.facts import Facts
from swinir.imaging.formats import HEIC, ICNS, ICO, JPEG_XL, PPM, PSD, ForeignFormat
from swinir.imaging.heic import read_heic
from swinir.imaging.image import Image, profile_fits
from swinir.imaging.limits import Limits
from swinir.imaging.pnm import decode_pnm
from swinir.imaging.source import Source
from swinir.imaging.text import text_of_comment

# What decoders raise for damaged data: Pillow's are Python code that reads structures and indexes tables.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    EOFError,
    struct.error,
    OverflowError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    AssertionError,
    ZeroDivisionError,
)
_PSD_EXIF, _PSD_XMP, _PSD_IPTC, _PSD_PROFILE = 1058, 1060, 1028, 1039
_INCH_MM = 25.4
_DAMAGE_LOCK = threading.Lock()
_ORIENTATION = 0x0112


def read(source: Source, file_format: ForeignFormat, limits: Limits, *, salvage: bool = False) -> Image:
    """Read a file of a format that is not written here.

    Args:
        source: the file.
        file_format: what it is.
        limits: beyond them nothing is decoded.
        salvage: let missing and damaged rows be whatever the decoder leaves there.

    Raises:
        ImageReadError: it is damaged.
        ImageTooLargeError: it is larger than the limits allow.
        MissingPackageError: its format takes a package that is not installed.
    """
    readers: dict[str, Callable[[], Image]] = {
        HEIC.name: lambda: read_heic(source, limits),
        PPM.name: lambda: decode_pnm(source, limits),
    }
    reader = readers.get(
        file_format.name, lambda: _read_by_pillow(source, file_format, limits, salvage=salvage)
    )
    try:
        return reader()
    except ImportError as error:
        raise MissingPackageError(
            f"{source.name} is a {file_format.name} file, which takes a package that is not installed: "
            f'pip install "swinir[{file_format.extra}]"'
        ) from error
    except _DAMAGE as error:
        reason = str(error).strip().splitlines()
        detail = f" ({reason[0]})" if reason else ""
        raise ImageReadError(
            f"{source.name} cannot be read: its {file_format.name} data are damaged, cut short or of an "
            f"unknown kind{detail}"
        ) from error


@contextmanager
def _damage_allowed(*, is_allowed: bool) -> Generator[None]:
    """Let Pillow end a picture where its data end, or refuse it; it has one switch for the whole process."""
    from PIL import ImageFile  # noqa: PLC0415  takes time that most commands need not

    with _DAMAGE_LOCK:
        ImageFile.LOAD_TRUNCATED_IMAGES = is_allowed
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False


def _read_by_pillow(source: Source, file_format: ForeignFormat, limits: Limits, *, salvage: bool) -> Image:
    if file_format is JPEG_XL:
        import pillow_jxl  # noqa: F401, PLC0415  # pyright: ignore[reportUnusedImport]  the extra "jxl" makes itself known to Pillow
    import PIL.Image  # noqa: PLC0415  takes time that most commands need not

    if file_format is PSD:
        _check_depth(source)
    with warnings.catch_warnings():
        # Pillow warns of sizes that the limits here judge.
        warnings.simplefilter("ignore")
        PIL.Image.init()
        # The plugin itself: Image.open() has a limit of its own, for the whole process.
        plugin: Any = PIL.Image.OPEN[file_format.pillow][0]
        with _damage_allowed(is_allowed=salvage), source.open() as file, plugin(file, "") as opened:
            limits.check_size(source.name, *opened.size, num_bytes=source.num_bytes)
            notes = _note_on_choice(opened, file_format)
            # Before anything else: a second try after a failure would return half a picture.
            opened.load()
            return _image_of(opened, file_format, notes)


def _check_depth(source: Source) -> None:
    """Refuse what Pillow does not read of Photoshop documents."""
    bits = int.from_bytes(source.start[22:24], "big")
    if bits in (16, 32):
        raise ImageReadError(
            f"{source.name} holds {bits} bits in each channel, and of PSD files 8 are read: save it as TIFF"
        )


def _note_on_choice(opened: Any, file_format: ForeignFormat) -> list[str]:
    """Say which of several pictures it is, and how it was put together."""
    sizes = opened.info.get("sizes", ())
    if file_format in (ICO, ICNS) and len(sizes) > 1:
        return [f"Of {len(sizes)} sizes the largest was read."]
    if file_format is PSD and getattr(opened, "n_frames", 1) > 1:
        return ["The layers were read flattened, as the file keeps them for other programs."]
    return []


def _image_of(opened: Any, file_format: ForeignFormat, notes: list[str]) -> Image:
    """Colours, alpha and metadata of a picture that Pillow has decoded."""
    resources = {number: data for number, _, data in getattr(opened, "resources", ())}
    profile = opened.info.get("icc_profile") or resources.get(_PSD_PROFILE)
    values = _values(opened, profile, notes)
    num_colors = 1 if values.shape[2] < 3 else 3
    if profile is not None and not profile_fits(profile, num_colors):
        if opened.mode != "CMYK":
            notes.append("The colour profile was left out, for it does not fit the pixels.")
        profile = None
    exif = opened.info.get("exif") or resources.get(_PSD_EXIF)
    comment = opened.info.get("comment")
    dpi = opened.info.get("dpi")
    texts = (text_of_comment(comment),) if isinstance(comment, bytes) and comment.strip(b"\0 ") else ()
    orientation = _orientation(exif) if exif else 1
    metadata = checked_metadata(
        exif=exif,
        xmp=opened.info.get("xmp") or resources.get(_PSD_XMP),
        iptc=resources.get(_PSD_IPTC),
        resolution=(dpi[0] / _INCH_MM, dpi[1] / _INCH_MM) if dpi and min(dpi) > 0 else None,
        orientation=orientation,
        facts=Facts(texts=texts),
        notes=notes,
    )
    image = Image(
        pixels=np.ascontiguousarray(values[:, :, :num_colors]),
        alpha=np.ascontiguousarray(values[:, :, num_colors]) if values.shape[2] > num_colors else None,
        profile=profile,
        metadata=metadata,
        notes=tuple(notes),
    )
    return turned_upright(image, orientation)


def _values(opened: Any, profile: bytes | None, notes: list[str]) -> NDArray[Any]:
    """Pixels [H, W, C]: grey, grey + alpha, RGB or RGB + alpha."""
    mode: str = opened.mode
    if mode in ("CMYK", "LAB"):
        return _converted(opened, profile, notes)
    if mode == "P":
        has_alpha = "transparency" in opened.info or opened.palette.mode == "RGBA"
        opened = opened.convert("RGBA" if has_alpha else "RGB")
    elif mode == "1":
        opened = opened.convert("L")
    elif mode in ("PA", "La", "RGBa"):
        opened = opened.convert({"PA": "RGBA", "La": "LA", "RGBa": "RGBA"}[mode])
    elif mode in ("RGBX", "YCbCr", "HSV"):
        opened = opened.convert("RGB")
    values = np.asarray(opened)
    values = values[:, :, None] if values.ndim == 2 else values
    if values.dtype in (np.dtype(">u2"), np.dtype("<u2")):
        return values.astype(np.uint16)
    if values.dtype == np.int32:
        # Pillow has 16 bits of grey as 32.
        return values.clip(0, 65_535).astype(np.uint16)
    return values


def _converted(opened: Any, profile: bytes | None, notes: list[str]) -> NDArray[Any]:
    """CMYK or L*a*b* in sRGB, through the profile where there is one."""
    if opened.mode == "CMYK" and (profile is None or profile[16:20] != b"CMYK"):
        inks = pyvips.Image.new_from_array(np.asarray(opened), interpretation="cmyk")
        return from_cmyk(inks, notes).numpy()
    from PIL import ImageCms  # noqa: PLC0415  little CMS is for these alone

    if opened.mode == "LAB":
        notes.append("CIE colours were converted to sRGB.")
        source = ImageCms.createProfile("LAB")
    else:
        notes.append("CMYK was converted to sRGB by its profile.")
        source = ImageCms.ImageCmsProfile(BytesIO(profile or b""))
    converted = ImageCms.profileToProfile(opened, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return np.asarray(converted)


def _orientation(exif: bytes) -> int:
    import PIL.Image  # noqa: PLC0415

    record = PIL.Image.Exif()
    try:
        record.load(exif)
    except _DAMAGE:
        return 1
    value = record.get(_ORIENTATION, 1)
    return value if isinstance(value, int) else 1
