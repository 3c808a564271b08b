"""Pages of TIFF files whose values libvips does not take: L*a*b* of 8 bits, 64 bits, odd numbers of bits, Zstandard.

A libtiff still unpacks them, that of libvips or that of Pillow: in a copy of the file in memory, the directory is
made to say that there are bytes, and the bytes are read as what they are.
"""

import struct
from io import BytesIO
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from swinir.imaging.image import UnsupportedPixelsError
from swinir.imaging.source import Source
from swinir.imaging.tiff_pages import CIELAB, ICCLAB, Field, Layout, Page, Tag, read_value

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK = 0, 1, 2, 5
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_SEPARATE_PLANES = 2
_DIFFERENCES, _FLOAT_DIFFERENCES = 2, 3
_LONG = 4
# LZMA and Zstandard: in Pillow's libtiff, not in that of libvips.
_PILLOW_COMPRESSIONS = (34925, 50000)
# What libtiff packs and libvips unpacks.
_KNOWN_BITS = (1, 2, 4, 8, 16, 32)
_VIPS_TYPES = {"|u1": "uchar", "<u2": "ushort", "<f4": "float"}


def needs_unpacking(page: Page) -> bool:
    """Whether libvips cannot read the values of a page."""
    # Planes of floats of 16 bits come out of libvips in disorder.
    is_half = page.bits == 16 and page.value(Tag.SAMPLE_FORMAT, _UNSIGNED) == _FLOAT
    is_known = page.bits in _KNOWN_BITS and _compression(page) not in _PILLOW_COMPRESSIONS
    return is_lab8(page) or not is_known or (is_half and page.value(Tag.PLANAR) == _SEPARATE_PLANES)


def is_lab8(page: Page) -> bool:
    """Whether the page has CIE L*a*b* of 8 bits."""
    return page.bits == 8 and page.value(Tag.PHOTOMETRIC) in (CIELAB, ICCLAB)


def unpack(source: Source, layout: Layout, page: Page) -> pyvips.Image:
    """Read such a page.

    Args:
        source: the file.
        layout: of its numbers.
        page: one for which ``needs_unpacking``.

    Returns:
        uchar, ushort or float, with resolution, orientation, profile and XMP.

    Raises:
        UnsupportedPixelsError: they are packed in a way that is not undone here.
        pyvips.Error, OSError: for damaged data.
    """
    samples = page.value(Tag.SAMPLES, 1)
    _check(page, samples)
    is_planar = page.value(Tag.PLANAR) == _SEPARATE_PLANES and samples > 1
    in_row = 1 if is_planar else samples
    data = source.content()
    rows = _unpacked_rows(data, layout, page, samples, is_planar=is_planar)
    values = _odd_bits(rows, page, in_row) if page.bits % 8 else _numbers(rows, layout, page, in_row)
    if is_planar:
        values = np.moveaxis(values.reshape(samples, page.height_px, page.width_px), 0, 2)
    values = values.reshape(page.height_px, page.width_px, samples)
    return _described(_interpreted(values, page), data, layout, page)


def _compression(page: Page) -> int:
    return page.value(Tag.COMPRESSION, 1)


def _check(page: Page, samples: int) -> None:
    """Refuse what is not undone here."""
    kind = page.value(Tag.SAMPLE_FORMAT, _UNSIGNED)
    are_numbers = kind == _UNSIGNED or (page.bits in (8, 16, 32, 64) and kind in (_SIGNED, _FLOAT))
    if not (1 <= samples <= 64 and 2 < page.bits <= 64 and are_numbers) or (
        kind == _FLOAT and page.bits == 8
    ):
        raise UnsupportedPixelsError(f"{samples} values of {page.bits} bits a pixel")
    if page.value(Tag.PHOTOMETRIC, _BLACK_IS_ZERO) not in (
        *(_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK, CIELAB, ICCLAB),
    ):
        raise UnsupportedPixelsError("a palette or another kind of colour, packed in a rare way")
    if Tag.TILE_WIDTH in page.fields and page.bits % 8:
        raise UnsupportedPixelsError(f"values of {page.bits} bits in tiles")
    if page.bits % 8 and page.value(Tag.PREDICTOR, 1) != 1:
        raise UnsupportedPixelsError(f"values of {page.bits} bits behind a predictor")


def _unpacked_rows(
    data: bytes, layout: Layout, page: Page, samples: int, *, is_planar: bool
) -> NDArray[np.uint8]:
    """Bytes of all rows as they were before compression; planes stand one below the other."""
    in_row = 1 if is_planar else samples
    row_bytes = (page.width_px * in_row * page.bits + 7) // 8
    height = page.height_px * (samples if is_planar else 1)
    changes = {Tag.WIDTH: row_bytes, Tag.HEIGHT: height, Tag.BITS: 8, Tag.SAMPLES: 1, Tag.PREDICTOR: 1}
    changes |= {Tag.PHOTOMETRIC: _BLACK_IS_ZERO, Tag.SAMPLE_FORMAT: _UNSIGNED, Tag.EXTRA_SAMPLES: 0}
    changes |= {Tag.PLANAR: 1, Tag.ORIENTATION: 1}
    if is_planar:
        changes[Tag.ROWS_PER_STRIP] = _rows_per_strip(page)
    if Tag.TILE_WIDTH in page.fields:
        changes[Tag.TILE_WIDTH] = page.value(Tag.TILE_WIDTH) * in_row * page.bits // 8
    patched = bytearray(data)
    for tag, value in changes.items():
        field = page.fields.get(tag)
        if field is not None:
            _overwrite(patched, layout, field, value)
    read = _read_by_pillow if _compression(page) in _PILLOW_COMPRESSIONS else _read_by_vips
    return read(bytes(patched), page.number).reshape(height, row_bytes)


def _rows_per_strip(page: Page) -> int:
    """Rows of a strip, which must not reach from one plane into the next."""
    rows = min(page.value(Tag.ROWS_PER_STRIP, page.height_px), page.height_px)
    if Tag.TILE_WIDTH in page.fields or rows < 1 or page.height_px % rows:
        raise UnsupportedPixelsError(f"values of {page.bits} bits in separate planes")
    return rows


def _read_by_vips(data: bytes, number: int) -> NDArray[np.uint8]:
    return pyvips.Image.tiffload_buffer(data, page=number, fail_on="error").numpy()


def _read_by_pillow(data: bytes, number: int) -> NDArray[np.uint8]:
    import PIL.Image  # noqa: PLC0415  takes time that most pictures need not

    with PIL.Image.open(BytesIO(data), formats=["TIFF"]) as opened:
        opened.seek(number)
        return np.asarray(opened)


def _overwrite(data: bytearray, layout: Layout, field: Field, value: int) -> None:
    """Make an entry state one LONG."""
    count_format = "Q" if layout.is_big else "I"
    head = struct.pack(layout.order + "H" + count_format + "I", _LONG, 1, value)
    data[field.place + 2 : field.place + 2 + len(head)] = head


def _numbers(rows: NDArray[np.uint8], layout: Layout, page: Page, in_row: int) -> NDArray[Any]:
    """Whole bytes as numbers, [rows, columns, samples], predictors undone."""
    letter = {_UNSIGNED: "u", _SIGNED: "i", _FLOAT: "f"}[page.value(Tag.SAMPLE_FORMAT, _UNSIGNED)]
    num_bytes = page.bits // 8
    shape = (len(rows), page.width_px, in_row)
    if num_bytes not in (1, 2, 4, 8):
        return _wide_integers(rows, layout, page, in_row)
    predictor = page.value(Tag.PREDICTOR, 1)
    if predictor == _FLOAT_DIFFERENCES:
        # TIFF Technical Note 3: bytes of equal weight stand together, as differences.
        summed = np.cumsum(rows.reshape(len(rows), -1, in_row), axis=1, dtype=np.uint8)
        planes = summed.reshape(len(rows), num_bytes, page.width_px * in_row)
        return np.ascontiguousarray(np.moveaxis(planes, 1, 2)).view(f">{letter}{num_bytes}").reshape(shape)
    values = rows.view(f"{layout.order}{letter}{num_bytes}").reshape(shape)
    if predictor == _DIFFERENCES:
        values = np.cumsum(values, axis=1, dtype=values.dtype.newbyteorder("="))
    return values


def _wide_integers(rows: NDArray[np.uint8], layout: Layout, page: Page, in_row: int) -> NDArray[np.float32]:
    """Unsigned numbers of 3, 5, 6 or 7 bytes, white at 1."""
    parts = rows.reshape(len(rows), page.width_px, in_row, page.bits // 8).astype(np.float64)
    parts = parts if layout.order == ">" else parts[..., ::-1]
    values = np.zeros(parts.shape[:3])
    for index in range(parts.shape[3]):
        values = values * 256 + parts[..., index]
    return (values / (2.0**page.bits - 1)).astype(np.float32)


def _odd_bits(rows: NDArray[np.uint8], page: Page, in_row: int) -> NDArray[Any]:
    """Unsigned values of 3 to 63 bits, each row beginning with a byte; white stays white."""
    count = page.width_px * in_row
    bits = np.unpackbits(rows, axis=1)[:, : count * page.bits].reshape(len(rows), count, page.bits)
    values = np.zeros(bits.shape[:2])
    for index in range(page.bits):
        values = values * 2 + bits[:, :, index]
    values /= 2.0**page.bits - 1
    scaled = (
        values.astype(np.float32) if page.bits > 16 else np.floor(values * 65_535 + 0.5).astype(np.uint16)
    )
    return scaled.reshape(len(rows), page.width_px, in_row)


def _interpreted(values: NDArray[Any], page: Page) -> pyvips.Image:
    """Wrap values [H, W, C] for libvips, meaning what the page says that they mean."""
    photometric = page.value(Tag.PHOTOMETRIC, _BLACK_IS_ZERO)
    if is_lab8(page):
        return _lab(values, is_signed=photometric == CIELAB)
    if photometric in (CIELAB, ICCLAB):
        raise UnsupportedPixelsError(f"CIE colours of {page.bits} bits, packed in a rare way")
    if values.dtype.kind in "ui" and values.dtype.itemsize <= 2 and values.dtype.kind == "u":
        values = values.astype(values.dtype.newbyteorder("="))
        if photometric == _WHITE_IS_ZERO:
            values = np.iinfo(values.dtype).max - values
    else:
        with np.errstate(over="ignore"):
            # What float32 cannot hold becomes infinite, and is read as 0 with a note.
            values = values.astype(np.float32)
    kinds = {"uint8": ("b-w", "srgb"), "uint16": ("grey16", "rgb16"), "float32": ("b-w", "scrgb")}
    meaning = "cmyk" if photometric == _CMYK else kinds[values.dtype.name][values.shape[2] > 2]
    return _wrapped(values).copy(interpretation=meaning)


def _wrapped(values: NDArray[Any]) -> pyvips.Image:
    height, width, bands = values.shape
    kind = _VIPS_TYPES[values.dtype.str]
    return pyvips.Image.new_from_memory(np.ascontiguousarray(values).tobytes(), width, height, bands, kind)


def _lab(values: NDArray[np.uint8], *, is_signed: bool) -> pyvips.Image:
    """8-bit CIE L*a*b*: TIFF 6.0, section 23 (a* and b* signed); ICC's adds 128 instead."""
    lightness = values[:, :, :1] * np.float32(100 / 255)
    chroma = values[:, :, 1:3].astype(np.int16)
    chroma = np.where(chroma > 127, chroma - 256, chroma) if is_signed else chroma - 128
    planes = np.concatenate([lightness, chroma, values[:, :, 3:]], axis=2).astype(np.float32)
    return _wrapped(planes).copy(interpretation="lab")


def _described(image: pyvips.Image, data: bytes, layout: Layout, page: Page) -> pyvips.Image:
    """Add what libvips would have read of the page."""
    described = image.copy()
    file = BytesIO(data)
    for tag, name in ((Tag.PROFILE, "icc-profile-data"), (Tag.XMP, "xmp-data")):
        value = read_value(file, layout, page, tag)
        if value:
            described.set_type(pyvips.GValue.blob_type, name, value)  # pyright: ignore[reportArgumentType]
    described.set_type(pyvips.GValue.gint_type, "orientation", page.value(Tag.ORIENTATION, 1))
    sides: list[float] = []
    for tag in (Tag.X_RESOLUTION, Tag.Y_RESOLUTION):
        value = read_value(file, layout, page, tag) or b""
        if len(value) == 8:
            numerator, denominator = struct.unpack(layout.order + "II", value)
            sides.append(numerator / denominator if denominator else 0.0)
    unit_mm = {2: 25.4, 3: 10.0}.get(page.value(Tag.RESOLUTION_UNIT, 2))
    if unit_mm is not None and len(sides) == 2 and min(sides) > 0:
        described = described.copy(xres=sides[0] / unit_mm, yres=sides[1] / unit_mm)
    return described
