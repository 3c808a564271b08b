"""Every kind of file that people have: read with its own depth, by its bytes and not by its name."""

import builtins
import io
import struct
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import pyvips

from swinir.errors import ImageReadError, ImageTooLargeError, MissingPackageError
from swinir.imaging import Image, Limits, encode, read
from tiffs import tiff_file

RGB = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
RGBA = np.dstack([RGB, np.random.default_rng(1).integers(0, 256, (12, 16), dtype=np.uint8)])
GRAY16 = np.random.default_rng(2).integers(0, 65_536, (12, 16), dtype=np.uint16)


def by_pillow(pixels: np.ndarray, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, file_format, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("file_format", "pixels"),
    [
        *((name, RGB) for name in ("BMP", "PCX", "PPM", "SGI", "QOI", "DDS", "TGA", "JPEG2000")),
        *((name, RGBA) for name in ("TGA", "DDS", "QOI", "ICO", "SGI")),
        *((name, RGB[:, :, 0]) for name in ("BMP", "PPM", "TGA", "SGI", "JPEG2000")),
        ("PPM", GRAY16),
    ],
)
def test_formats_of_the_second_reader_are_read(tmp_path: Path, file_format, pixels):
    options = {"sizes": [(16, 12)]} if file_format == "ICO" else {}
    path = tmp_path / f"picture.{file_format.lower()}"
    path.write_bytes(by_pillow(pixels, file_format, **options))
    again = read(path)
    colors = pixels if pixels.ndim == 3 else pixels[:, :, None]
    np.testing.assert_array_equal(again.pixels, colors[:, :, :3])
    if pixels.shape[2:] == (4,):
        np.testing.assert_array_equal(again.alpha, pixels[:, :, 3])
    else:
        assert again.alpha is None
    assert again.notes == ()


def test_content_decides_though_the_name_says_another_format(tmp_path: Path):
    for name in ("picture.jpg", "picture.tga", "picture", "picture.heic"):
        (tmp_path / name).write_bytes(by_pillow(RGB, "BMP"))
        np.testing.assert_array_equal(read(tmp_path / name).pixels, RGB)


def test_the_largest_of_an_icons_sizes_is_read_and_said():
    large = np.kron(RGBA, np.ones((8, 4, 1), np.uint8))[:64, :64]
    again = read(by_pillow(large, "ICO", sizes=[(16, 16), (32, 32), (64, 64)]))
    assert (again.width, again.notes) == (64, ("Of 3 sizes the largest was read.",))


def psd_file(planes: np.ndarray, mode: int) -> bytes:
    """Write a Photoshop document that is flat: planes [C, H, W] behind an empty header."""
    channels, height, width = planes.shape
    header = struct.pack(">H6xHIIHH", 1, channels, height, width, 8 * planes.itemsize, mode)
    return b"8BPS" + header + bytes(3 * 4 + 2) + planes.astype(planes.dtype.newbyteorder(">")).tobytes()


def test_inks_of_a_photoshop_document_mean_what_those_of_a_tiff_do():
    inks = np.dstack([RGB, RGB[:, :, 0] // 4])
    tiff = io.BytesIO()
    PIL.Image.fromarray(inks, "CMYK").save(tiff, "TIFF")
    # A document has 255 for no ink.
    again, wanted = read(psd_file(255 - inks.transpose(2, 0, 1), mode=4)), read(tiff.getvalue())
    np.testing.assert_array_equal(again.pixels, wanted.pixels)
    assert again.notes == wanted.notes == ("CMYK was converted to sRGB by a standard profile, having none.",)


def test_a_photoshop_document_of_16_bits_is_refused_by_a_sentence():
    with pytest.raises(ImageReadError, match=r"the image holds 16 bits in each channel.*save it as TIFF"):
        read(psd_file(np.zeros((3, 4, 5), np.uint16), mode=3))


def test_16_bits_of_a_ppm_stay():
    wide = np.random.default_rng(0).integers(0, 65_536, (5, 7, 3), dtype=np.uint16)
    data = b"P6\n# made by hand\n7 5\n65535\n" + wide.astype(">u2").tobytes()
    np.testing.assert_array_equal(read(data).pixels, wide)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"P1\n3 2\n1 0 1\n0 1 0\n", [[0, 255, 0], [255, 0, 255]]),
        (b"P4\n3 2\n\xa0\x40", [[0, 255, 0], [255, 0, 255]]),
        (b"P2 3 1 3 #white is 3\n0 1 3", [[0, 85, 255]]),
        (b"P5 2 1 1023 \x03\xff\x02\x00", [[65_535, 32_800]]),
    ],
)
def test_small_anymaps_mean_what_netpbm_says(data, expected):
    assert read(data).pixels[:, :, 0].tolist() == expected


def test_floats_of_a_pfm_stand_from_the_bottom_up():
    values = np.arange(6, dtype="<f4").reshape(2, 3) / 8
    again = read(b"Pf\n3 2\n-1.0\n" + values.tobytes())
    np.testing.assert_array_equal(again.pixels[:, :, 0], values[::-1])


@pytest.mark.parametrize("cut", [40, 100])
@pytest.mark.parametrize("file_format", ["BMP", "PPM", "PCX", "TGA", "QOI", "DDS", "ICO", "SGI"])
def test_foreign_files_cut_short_are_damaged(file_format, cut, tmp_path: Path):
    path = tmp_path / f"picture.{file_format.lower()}"
    path.write_bytes(by_pillow(RGB, file_format)[:-cut])
    with pytest.raises(ImageReadError, match="picture"):
        read(path)


def test_heic_is_read_with_its_bits():
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    wide = (np.arange(64 * 64 * 3, dtype=np.uint16) * 5).reshape(64, 64, 3)
    pillow_heif.from_bytes("RGB;16", (64, 64), wide.tobytes()).save(file, quality=-1)
    again = read(file.getvalue())
    assert (again.bits, again.pixels.dtype, again.width) == (10, np.uint16, 64)


@pytest.mark.parametrize(
    ("start", "extra"),
    [(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heif"), (b"\xff\x0a\0\0", "jxl")],
)
def test_a_missing_package_is_named_with_how_to_get_it(monkeypatch, start, extra):
    find = builtins.__import__

    def without_extras(name: str, *rest: object) -> object:
        if name in ("pillow_heif", "pillow_jxl"):
            raise ImportError(name)
        return find(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_extras)
    with pytest.raises(MissingPackageError, match=rf'pip install "swinir\[{extra}\]"'):
        read(start + bytes(100))


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"%PDF-1.7", "a PDF document"),
        (b"v/1\x01\x02\0\0\0", "an OpenEXR file"),
        (b"\0\0\0\x18ftypcrx \0\0\0\0", "a camera's raw file"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a film"),
        (b'<?xml version="1.0"?><svg/>', "a drawing"),
    ],
)
def test_what_is_no_picture_here_is_named(start, what):
    with pytest.raises(ImageReadError, match=what):
        read(start + bytes(64))


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8", "u8", "i8"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_number_of_a_tiff_is_read(dtype, planar, order):
    values = np.random.default_rng(3).integers(0, 100, (6, 5, 3)).astype(dtype)
    again = read(tiff_file(values, order=order, planar=planar))
    np.testing.assert_array_equal(again.pixels, values)


@pytest.mark.parametrize(("dtype", "name"), [("u4", "uint32"), ("i2", "int16"), ("i4", "int32")])
def test_integers_come_back_from_tiff_as_what_they_were(dtype, name):
    values = np.array([[[0], [70], [3000]]], dtype)
    data, _ = encode(read(tiff_file(values)), "tif")
    again = read(data)
    assert again.number_type == name
    np.testing.assert_array_equal(again.pixels, values)


@pytest.mark.parametrize("bits", [3, 6, 10, 12, 14, 24])
def test_bits_that_fill_no_bytes_are_read_white_as_white(bits):
    values = np.array([[0, 2**bits - 1, 2 ** (bits - 1)], [1, 2, 3]], np.uint32)[:, :, None]
    again = read(tiff_file(values, bits=bits, order=">"))
    expected = values / (2**bits - 1)
    assert np.abs(again.pixels / again.white - expected).max() < 1e-5


def test_lab_of_8_bits_becomes_srgb_and_is_said():
    lab = np.array([[[255, 0, 0], [0, 0, 0], [136, 80, 67]]], np.uint8)
    again = read(tiff_file(lab, photometric=8))
    assert again.notes == ("CIE colours were converted to sRGB.",)
    white, black, red = again.pixels[0].tolist()
    assert white == [255, 255, 255]
    assert black == [0, 0, 0]
    assert red[0] > 240
    assert max(red[1:]) < 15


@pytest.mark.parametrize("compression", ["zstd", "tiff_lzw", "tiff_adobe_deflate", "lzma", "packbits"])
@pytest.mark.parametrize("pixels", [RGB, RGB[:, :, 0], GRAY16])
def test_every_compression_of_a_tiff_is_read(compression, pixels):
    data = by_pillow(pixels, "TIFF", compression=compression)
    again = read(data)
    np.testing.assert_array_equal(again.pixels, pixels.reshape(12, 16, -1))


def test_descriptions_that_state_the_old_size_are_left_out_and_said():
    data = tiff_file(RGB, description=b"ImageJ=1.53\nimages=3\n\0")
    again = read(data)
    assert again.notes == (
        "The description that ImageJ wrote was left out, for it states the old size or pages.",
    )
    kept = read(encode(read(tiff_file(RGB, description=b"My cat\0")), "tif")[0])
    assert kept.notes == ()
    assert kept.metadata.exif is not None
    assert b"My cat" in kept.metadata.exif


def test_a_chain_of_pages_that_bites_its_tail_ends():
    data = bytearray(tiff_file(RGB))
    (start,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[start : start + 2])
    struct.pack_into("<I", data, start + 2 + 12 * count, start)
    assert read(bytes(data)).width == 16


def test_pages_beyond_the_limit_are_refused():
    pages = [PIL.Image.fromarray(RGB) for _ in range(5)]
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    with pytest.raises(ImageTooLargeError, match="has 4 frames or pages and the limit is 3") as caught:
        read(file.getvalue(), limits=Limits(max_frames=3))
    assert caught.value.limit == "max_frames"


def test_a_file_object_is_read():
    data, _ = encode(Image(pixels=RGB), "png")
    np.testing.assert_array_equal(read(io.BytesIO(data)).pixels, RGB)


def test_a_tiff_whose_strip_is_all_of_a_large_picture_is_read(tmp_path: Path) -> None:
    path = tmp_path / "given.tif"
    # Compressed it is longer than what libtiff takes into its memory at once.
    pixels = np.random.default_rng(0).integers(0, 256, (7200, 7200), np.uint8)
    made = pyvips.Image.new_from_array(pixels).copy(interpretation="b-w")
    made.tiffsave(str(path), compression="lzw", tile_height=len(pixels))
    np.testing.assert_array_equal(read(path).pixels[:, :, 0], pixels)
