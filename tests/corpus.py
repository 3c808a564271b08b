"""Some hundred small image files, made when they are needed: valid ones, damaged ones, and ones made to do harm."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import PIL.Image
import PIL.ImageCms
import pyvips

from tiffs import tiff_file

HEIGHT, WIDTH = 26, 38
_VIPS_TYPES = {"uint8": "uchar", "uint16": "ushort", "float32": "float"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One file, and what is known of the picture in it.

    Attributes:
        name: with the suffix of its format.
        data: the file.
        channels: 1 or 3.
        depth: bits of a value.
        has_alpha: it is transparent somewhere.
        size: height and width once it is upright.
        has_profile: its colours are described.
        corner: colours of the pixel at the top left once it is upright, from 0 to 1; None where that is not known.
    """

    name: str
    data: bytes
    channels: int = 3
    depth: int = 8
    has_alpha: bool = False
    size: tuple[int, int] = (HEIGHT, WIDTH)
    has_profile: bool = False
    corner: tuple[float, ...] | None = None


def picture(channels: int, dtype: str = "uint8", *, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Smooth colours, red at the top left; of four channels the last is transparent below."""
    y, x = np.mgrid[0:height, 0:width]
    red, green, blue = 1 - x / width / 2 - y / height / 2, x / width, y / height
    planes = {1: [red], 2: [red, 1 - blue], 3: [red, green, blue], 4: [red, green, blue, 1 - blue]}[channels]
    unit = np.stack(planes, axis=2)
    if dtype.startswith("float"):
        return unit.astype(dtype)
    return np.round(unit * np.iinfo(dtype).max).astype(dtype)


def vips(pixels: np.ndarray) -> pyvips.Image:
    height, width, bands = pixels.shape
    kind = _VIPS_TYPES[pixels.dtype.name]
    image = pyvips.Image.new_from_memory(pixels.tobytes(), width, height, bands, kind)
    wide = {"uchar": ("b-w", "srgb"), "ushort": ("grey16", "rgb16"), "float": ("b-w", "scrgb")}[kind]
    return image.copy(interpretation=wide[bands > 2])


def by_pillow(pixels: np.ndarray, file_format: str, mode: str | None = None, **options: object) -> bytes:
    picture = PIL.Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    file = io.BytesIO()
    (picture if mode is None else picture.convert(mode)).save(file, file_format, **options)
    return file.getvalue()


def srgb_profile() -> bytes:
    return PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()


def exif(orientation: int) -> bytes:
    return b"Exif\0\0" + struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def valid_files() -> Iterator[Case]:
    """Files that every good program opens."""
    yield from _valid_by_vips()
    yield from _valid_by_pillow()
    yield from _valid_tiffs()
    yield from _oriented()
    yield from _sizes()


def _valid_by_vips() -> Iterator[Case]:
    profile = srgb_profile()
    for channels, dtype in product((1, 2, 3, 4), ("uint8", "uint16", "float32")):
        pixels = picture(channels, dtype)
        depth = 8 * pixels.dtype.itemsize
        described = vips(pixels).copy()
        described.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
        colors = 1 if channels < 3 else 3
        about = {"channels": colors, "has_alpha": channels in (2, 4), "corner": (1.0, 0.0, 0.0)[:colors]}
        for suffix, options in _options_of(depth):
            name = f"{channels}x{depth}{'_'.join(f'_{k}-{v}' for k, v in options.items())}{suffix}"
            is_gray_lost = suffix in (".webp", ".avif")
            data = vips(pixels).write_to_buffer(suffix, **options)
            case = Case(name=name, data=data, depth=options.get("bitdepth", depth), **about)
            yield _replaced(case, channels=3) if is_gray_lost else case
            if colors == 3:
                data = described.write_to_buffer(suffix, **options)
                yield Case(name=f"icc_{name}", data=data, depth=case.depth, has_profile=True, **about)


def _options_of(depth: int) -> list[tuple[str, dict[str, object]]]:
    if depth == 32:
        return [(".tif", {}), (".tif", {"compression": "deflate", "predictor": "float"})]
    shared = [
        (".png", {}),
        (".png", {"interlace": True}),
        (".tif", {}),
        (".tif", {"compression": "lzw", "predictor": "horizontal"}),
        (".tif", {"tile": True, "tile_width": 16, "tile_height": 16}),
        (".tif", {"bigtiff": True}),
    ]
    if depth == 16:
        return [*shared, (".avif", {"bitdepth": 10, "Q": 100, "effort": 0})]
    return [*shared, (".webp", {"lossless": True}), (".avif", {"bitdepth": 8, "Q": 100, "effort": 0})]


def _replaced(case: Case, **changes: object) -> Case:
    fields = {**vars(case), **changes}
    if fields["channels"] == 3 and case.channels == 1:
        fields["corner"] = (1.0, 1.0, 1.0)
    return Case(**fields)


def _valid_by_pillow() -> Iterator[Case]:
    rgb, rgba, gray = picture(3), picture(4), picture(1)
    red = (1.0, 0.0, 0.0)
    for options in ({}, {"progressive": True}, {"subsampling": 0, "quality": 98}, {"optimize": True}):
        label = "-".join(options) or "plain"
        yield Case(name=f"{label}.jpg", data=by_pillow(rgb, "JPEG", **options))
        yield Case(name=f"{label}_gray.jpg", data=by_pillow(gray, "JPEG", **options), channels=1)
    yield Case(name="icc.jpg", data=by_pillow(rgb, "JPEG", icc_profile=srgb_profile()), has_profile=True)
    yield Case(name="cmyk.jpg", data=by_pillow(rgb, "JPEG", mode="CMYK"))
    yield Case(name="palette.png", data=by_pillow(rgb, "PNG", mode="P"))
    yield Case(name="bits.png", data=by_pillow(rgb, "PNG", mode="1"), channels=1)
    yield Case(name="palette.gif", data=by_pillow(rgb, "GIF", mode="P"))
    yield Case(name="palette.tif", data=by_pillow(rgb, "TIFF", mode="P"))
    for bits in (1, 2, 4):
        data = by_pillow(rgb, "PNG", mode="P", bits=bits)
        yield Case(name=f"palette{bits}.png", data=data)
    for file_format in ("BMP", "PCX", "PPM", "SGI", "QOI", "DDS", "TGA", "JPEG2000"):
        name = f"foreign.{file_format.lower()}"
        yield Case(name=name, data=by_pillow(rgb, file_format), corner=red)
    for file_format in ("TGA", "DDS", "QOI", "SGI", "JPEG2000"):
        data = by_pillow(rgba, file_format)
        yield Case(name=f"alpha.{file_format.lower()}", data=data, has_alpha=True, corner=red)
    for options in ({"rle": True}, {"compression": "tga_rle"}):
        yield Case(name=f"packed{'-'.join(options)}.tga", data=by_pillow(rgb, "TGA", **options), corner=red)
    data = by_pillow(picture(4, height=32, width=32), "ICO", sizes=[(16, 16), (32, 32)])
    yield Case(name="icon.ico", data=data, has_alpha=True, size=(32, 32))
    yield Case(name="gray16.pgm", data=by_pillow(picture(1, "uint16"), "PPM"), channels=1, depth=16)
    wide = picture(3, "uint16").astype(">u2").tobytes()
    yield Case(name="wide.ppm", data=b"P6 %d %d 65535\n" % (WIDTH, HEIGHT) + wide, depth=16, corner=red)
    for name, lossless in (("lossy", False), ("lossless", True)):
        data = by_pillow(rgba, "WEBP", lossless=lossless, exact=True)
        yield Case(name=f"{name}.webp", data=data, has_alpha=True)
    for file_format, suffix in (("GIF", "gif"), ("WEBP", "webp"), ("PNG", "png")):
        frames = [PIL.Image.fromarray(rgb), PIL.Image.fromarray(255 - rgb)]
        file = io.BytesIO()
        frames[0].save(file, file_format, save_all=True, append_images=frames[1:], duration=100)
        yield Case(name=f"film.{suffix}", data=file.getvalue())


def _valid_tiffs() -> Iterator[Case]:
    for dtype, order, planar in product(
        ("uint8", "uint16", "uint32", "int16", "float32", "float64"), "<>", (False, True)
    ):
        depth = {"uint8": 8, "uint16": 16}.get(dtype, 32)
        name = f"{dtype}{'be' if order == '>' else 'le'}{'_planar' * planar}.tif"
        yield Case(name=name, data=tiff_file(picture(3, dtype), order=order, planar=planar), depth=depth)
    for bits in (10, 12, 14):
        values = picture(3, "uint16") >> (16 - bits)
        yield Case(name=f"bits{bits}.tif", data=tiff_file(values, bits=bits), depth=16)
    yield Case(name="white_is_zero.tif", data=tiff_file(picture(1), photometric=0), channels=1)
    yield Case(name="lab8.tif", data=tiff_file(picture(3), photometric=8))
    yield Case(name="cmyk.tif", data=tiff_file(picture(4), photometric=5))
    for compression in ("zstd", "lzma", "packbits", "jpeg", "tiff_adobe_deflate"):
        data = by_pillow(picture(3), "TIFF", compression=compression)
        yield Case(name=f"{compression}.tif", data=data)
    yield Case(
        name="group4.tif", data=by_pillow(picture(3), "TIFF", mode="1", compression="group4"), channels=1
    )


def _oriented() -> Iterator[Case]:
    for orientation, (file_format, suffix) in product(
        range(1, 9), (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif"))
    ):
        upright = picture(3)
        stored = _as_stored(upright, orientation)
        options: dict[str, object] = {"exif": exif(orientation)}
        if file_format == "TIFF":
            options = {"tiffinfo": {0x0112: orientation}}
        if file_format == "JPEG":
            options |= {"quality": 98, "subsampling": 0}
        data = by_pillow(np.ascontiguousarray(stored), file_format, **options)
        yield Case(name=f"turned{orientation}.{suffix}", data=data, corner=(1.0, 0.0, 0.0))


def _as_stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    turn = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }
    return turn[orientation](upright)


def _sizes() -> Iterator[Case]:
    for height, width in ((1, 1), (1, 300), (300, 1), (2, 3), (17, 31)):
        pixels = picture(3, height=height, width=width)
        for suffix in (".png", ".jpg", ".webp", ".tif", ".avif", ".gif"):
            data = vips(pixels).write_to_buffer(suffix)
            yield Case(name=f"{height}x{width}{suffix}", data=data, size=(height, width))


def broken_files() -> Iterator[tuple[str, bytes]]:
    """Files that lack what no program can guess: name and content."""
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    whole = {
        suffix: vips(noise).write_to_buffer(suffix) for suffix in (".png", ".jpg", ".webp", ".tif", ".gif")
    }
    whole[".avif"] = vips(noise).write_to_buffer(".avif", effort=0)
    whole |= {
        ".bmp": by_pillow(noise, "BMP"),
        ".qoi": by_pillow(noise, "QOI"),
        ".ppm": by_pillow(noise, "PPM"),
    }
    whole[".jp2"] = by_pillow(noise, "JPEG2000")
    for suffix, data in whole.items():
        for part in (0.01, 0.2, 0.5, 0.8, 0.95):
            yield f"cut{part}{suffix}", data[: int(len(data) * part)]
    for suffix in (".png", ".avif"):
        data = whole[suffix]
        middle = len(data) // 2
        yield f"zeroed{suffix}", data[:middle] + bytes(1500) + data[middle + 1500 :]
    yield "short_rows.png", _png(60, 80, bytes(30 * 241))
    yield "no_palette.png", _png(4, 4, bytes(4 * 5), color_type=3)
    yield "bad_crc.png", whole[".png"].replace(b"IDAT", b"IDAT", 1)[:-20] + b"\1\2\3\4" + whole[".png"][-16:]
    for name, data in (
        ("empty.png", b""),
        ("text.png", b"Dear Sir or Madam, this is no image."),
        ("zeros.jpg", bytes(1000)),
        ("signature.png", b"\x89PNG\r\n\x1a\n"),
        ("signature.jpg", b"\xff\xd8\xff\xe0"),
        ("signature.tif", b"II*\0"),
        ("signature.gif", b"GIF89a"),
        ("signature.webp", b"RIFF\x10\0\0\0WEBPVP8 "),
        ("signature.avif", b"\0\0\0\x18ftypavif\0\0\0\0mif1avif"),
        ("page.html", b"<!DOCTYPE html><html></html>"),
        ("script.jpg", b"#!/bin/sh\nrm -rf /\n"),
    ):
        yield name, data


def hostile_files() -> Iterator[tuple[str, bytes]]:
    """Files made to take memory or time: name and content."""
    yield "wide.png", _png(2**31 - 1, 1, bytes(1000))
    yield "large.png", _png(100_000, 100_000, bytes(1000))
    yield "zero.png", _png(0, 10, b"")
    yield "flat.png", _flat_png(13_000)
    yield "large.gif", b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0xF0, 0, 0) + _GIF_REST
    yield "flat.gif", _flat_gif(12_000)
    yield "frames.gif", _many_frames(12_000)
    yield "large.jpg", _jpeg_with_size(65_500, 65_500)
    yield "scans.jpg", _many_scans(1_500)
    yield "large.tif", _changed_tiff({256: 200_000, 257: 200_000, 278: 200_000})
    yield "pages.tif", _chain_of_pages(8_000)
    yield "samples.tif", _changed_tiff({277: 60_000})
    yield "large.webp", _webp_canvas(16_384, 16_384, 2_000)
    yield "texts.png", _texts(50_000)
    yield "unfolding.png", _unfolding_text(200)
    yield "comments.jpg", _comments(100_000)
    yield "large.bmp", _changed_bytes(by_pillow(picture(3), "BMP"), {18: struct.pack("<ii", 60_000, 60_000)})
    yield "large.ppm", b"P6 60000 60000 255\n" + bytes(1000)
    yield "number.ppm", b"P6 " + b"9" * 5000 + b" 1 255\n"
    yield "large.tga", _changed_bytes(by_pillow(picture(3), "TGA"), {12: struct.pack("<HH", 65_535, 65_535)})
    yield "large.qoi", _changed_bytes(by_pillow(picture(3), "QOI"), {4: struct.pack(">II", 60_000, 60_000)})
    yield "large.psd", b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 30_000, 30_000, 8, 3) + bytes(100)
    yield "large.dds", _changed_bytes(by_pillow(picture(3), "DDS"), {12: struct.pack("<II", 60_000, 60_000)})
    yield "large.jp2", _large_jp2()
    yield "large.ico", b"\0\0\1\0\xff\xff" + bytes(16 * 100)
    yield "deep.avif", _nested_boxes(10_000)
    yield "boxes.avif", _avif_start + b"\0\0\0\0meta" + bytes(100)


_GIF_REST = bytes(6) + b"," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x02\x4c\x01\0;"
_avif_start = b"\0\0\0\x18ftypavif\0\0\0\0mif1avif"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(height: int, width: int, rows: bytes, *, color_type: int = 2, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    body = _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _flat_png(side: int) -> bytes:
    """A whole and valid picture of one colour: 169 megapixels from some hundred kilobytes."""
    packer = zlib.compressobj(9)
    row = bytes(1 + side)
    data = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side // 100 * 100, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _flat_gif(side: int) -> bytes:
    return vips(np.zeros((1, 1, 3), np.uint8)).gifsave_buffer()[:6] + _gif_body(
        side, side, _lzw_zeros(side * side)
    )


def _gif_body(width: int, height: int, data: bytes) -> bytes:
    screen = struct.pack("<HHBBB", width, height, 0xF0, 0, 0) + bytes(6)
    return screen + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02" + data + b";"


def _lzw_zeros(count: int) -> bytes:
    """Zeros by LZW of 2 bits: each code stands for one zero more than the last, up to 12 bits, then again."""
    codes: list[tuple[int, int]] = []
    left = count
    while left > 0:
        codes.append((4, 3))
        codes.append((0, 3))
        left -= 1
        length, code, bits = 2, 6, 3
        while left > 0 and code < 4094:
            codes.append((code, bits))
            left -= length
            length, code = length + 1, code + 1
            if code + 1 > 2**bits and bits < 12:
                bits += 1
    codes.append((5, codes[-1][1]))
    value = place = 0
    packed = bytearray()
    for code, bits in codes:
        value |= code << place
        place += bits
        while place >= 8:
            packed.append(value & 255)
            value >>= 8
            place -= 8
    packed.append(value & 255)
    blocks = (packed[start : start + 255] for start in range(0, len(packed), 255))
    return b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def _many_frames(count: int) -> bytes:
    frame = b"," + struct.pack("<HHHHB", 0, 0, 4000, 4000, 0) + b"\x02\x02\x4c\x01\0"
    return b"GIF89a" + struct.pack("<HHBBB", 4000, 4000, 0xF0, 0, 0) + bytes(6) + frame * count + b";"


def _jpeg_with_size(height: int, width: int) -> bytes:
    data = bytearray(by_pillow(picture(3), "JPEG"))
    start = data.find(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def _many_scans(count: int) -> bytes:
    """A progressive picture of 4096×4096 whose last scan is there again and again."""
    flat = np.full((4096, 4096, 1), 128, np.uint8)
    data = by_pillow(flat, "JPEG", progressive=True)
    start = data.rfind(b"\xff\xda")
    return data[:start] + data[start:-2] * count + data[-2:]


def _changed_bytes(data: bytes, changes: dict[int, bytes]) -> bytes:
    changed = bytearray(data)
    for place, value in changes.items():
        changed[place : place + len(value)] = value
    return bytes(changed)


def _changed_tiff(values: dict[int, int]) -> bytes:
    data = bytearray(tiff_file(picture(3)))
    (start,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[start : start + 2])
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        (tag,) = struct.unpack("<H", data[entry : entry + 2])
        if tag in values:
            data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, values[tag])
    return bytes(data)


def _chain_of_pages(count: int) -> bytes:
    entry = struct.pack("<HHII", 256, 4, 1, 10) + struct.pack("<HHII", 257, 4, 1, 10)
    size = 2 + len(entry) + 4
    pages = b"".join(
        struct.pack("<H", 2) + entry + struct.pack("<I", 8 + size * (index + 1)) for index in range(count)
    )
    return b"II*\0" + struct.pack("<I", 8) + pages


def _webp_canvas(height: int, width: int, frames: int) -> bytes:
    canvas = b"\x02\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + canvas + b"ANIM" + struct.pack("<I", 6) + bytes(6)
    picture = b"VP8L" + struct.pack("<I", 8) + b"\x2f" + bytes(7)
    frame = bytes(6) + bytes(6) + bytes(4) + picture
    body += (b"ANMF" + struct.pack("<I", len(frame)) + frame) * frames
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _texts(count: int) -> bytes:
    return _png(4, 4, bytes(4 * 13), extra=_chunk(b"tEXt", b"a\0b") * count)


def _unfolding_text(count: int) -> bytes:
    bomb = _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(8_000_000), 9))
    return _png(4, 4, bytes(4 * 13), extra=bomb * count)


def _comments(count: int) -> bytes:
    data = by_pillow(picture(3), "JPEG")
    return data[:2] + b"\xff\xfe\0\x06spam" * count + data[2:]


def _large_jp2() -> bytes:
    data = bytearray(by_pillow(picture(3), "JPEG2000"))
    for name, change in ((b"ihdr", 4), (b"\xff\x51", 6)):
        start = data.find(name) + change
        data[start : start + 8] = struct.pack(">II", 60_000, 60_000)
    return bytes(data)


def _nested_boxes(depth: int) -> bytes:
    boxes = b""
    for _ in range(depth):
        boxes = struct.pack(">I4s", 8 + len(boxes), b"iprp") + boxes
    meta = struct.pack(">I4sI", 12 + len(boxes), b"meta", 0) + boxes
    return _avif_start + meta
