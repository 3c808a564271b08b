"""Pixels into files and back, what formats cannot hold, and how files come to be."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import pyvips

from swinir.errors import ImageWriteError
from swinir.imaging import Image, Metadata, encode, read, write

DEPTHS = [np.uint8, np.uint16, np.float32]


def noise(*shape: int, dtype: type = np.uint8, seed: int = 0):
    generator = np.random.default_rng(seed)
    if dtype is np.float32:
        return generator.random(shape, dtype=np.float32)
    return generator.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def smooth(height: int, width: int, dtype: type = np.uint8):
    """RGB gradients that lossy formats keep well."""
    y, x = np.mgrid[:height, :width]
    colors = np.stack([x / width, y / height, (x + y) / (width + height)], axis=2)
    return colors.astype(np.float32) if dtype is np.float32 else (colors * np.iinfo(dtype).max).astype(dtype)


def vips(pixels: np.ndarray, interpretation: str) -> pyvips.Image:
    height, width, bands = pixels.shape
    kind = {"uint8": "uchar", "uint16": "ushort", "float32": "float"}[pixels.dtype.name]
    flat = np.ascontiguousarray(pixels)
    return pyvips.Image.new_from_memory(flat.data, width, height, bands, kind).copy(
        interpretation=interpretation
    )


LOSSLESS = [(dtype, ".tif") for dtype in DEPTHS] + [(np.uint8, ".png"), (np.uint16, ".png")]


@pytest.mark.parametrize(("dtype", "suffix"), LOSSLESS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_png_and_tiff_return_the_same_pixels(tmp_path: Path, dtype, suffix, channels, has_alpha):
    alpha = noise(9, 14, dtype=dtype, seed=1) if has_alpha else None
    image = Image(pixels=noise(9, 14, channels, dtype=dtype), alpha=alpha)
    path = tmp_path / f"image{suffix}"
    assert write(image, path) == ()
    again = read(path)
    assert again.pixels.dtype == dtype
    np.testing.assert_array_equal(again.pixels, image.pixels)
    np.testing.assert_array_equal(again.alpha, alpha)
    assert again.notes == ()
    assert (again.height, again.width, again.channels) == (9, 14, channels)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 300, 1), (2500, 3, 3), (700, 900, 3)])
def test_any_size_survives_png(shape):
    image = Image(pixels=noise(*shape))
    np.testing.assert_array_equal(read(encode(image, "png")[0]).pixels, image.pixels)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif"])
@pytest.mark.parametrize("dtype", DEPTHS)
def test_lossy_formats_stay_near_the_picture_at_every_depth(suffix, dtype):
    image = Image(pixels=smooth(64, 80, dtype))
    again = read(encode(image, suffix)[0])
    error = again.pixels / again.white - image.pixels / image.white
    assert np.sqrt(np.mean(error**2)) < 0.01


@pytest.mark.parametrize("suffix", [".webp", ".avif", ".png", ".tif"])
def test_alpha_stays_beside_the_colours(suffix):
    alpha = np.zeros((32, 32), np.uint8)
    alpha[8:24, 8:24] = 255
    again = read(encode(Image(pixels=smooth(32, 32), alpha=alpha), suffix)[0])
    assert again.alpha is not None
    assert np.abs(again.alpha.astype(int) - alpha).mean() < 2


def test_jpeg_shows_transparency_on_white_and_says_so():
    image = Image(pixels=np.zeros((16, 16, 3), np.uint8), alpha=np.zeros((16, 16), np.uint8))
    data, notes = encode(image, "jpg")
    assert notes == ("JPEG cannot hold transparency: the picture was laid on white.",)
    assert read(data).pixels.min() >= 250


def test_jpeg_drops_an_opaque_alpha_without_a_word():
    image = Image(pixels=smooth(16, 16), alpha=np.full((16, 16), 255, np.uint8))
    assert encode(image, "jpg")[1] == ()


@pytest.mark.parametrize(
    ("dtype", "suffix", "note"),
    [
        (np.uint16, ".jpg", "JPEG cannot hold 16 bits: they were reduced to 8 bits."),
        (np.uint16, ".webp", "WebP cannot hold 16 bits: they were reduced to 8 bits."),
        (np.uint16, ".avif", "AVIF cannot hold 16 bits: they were reduced to 10 bits."),
        (np.float32, ".png", "PNG cannot hold floating-point values: they were reduced to 16 bits."),
        (np.float32, ".jpg", "JPEG cannot hold floating-point values: they were reduced to 8 bits."),
    ],
)
def test_reduced_depth_is_said(dtype, suffix, note):
    assert encode(Image(pixels=smooth(16, 16, dtype)), suffix)[1] == (note,)


def test_16_bits_are_rounded_to_8_and_not_cut():
    # 200 and a half of 256ths: cutting gives 200, rounding 201.
    level = np.full((16, 16, 3), 200 * 257 + 129, np.uint16)
    assert set(read(encode(Image(pixels=level), "jpg", quality=100)[0]).pixels.ravel().tolist()) == {201}


def test_overshoot_of_floats_is_clipped_and_said():
    values = np.array([[[-0.1], [0.0], [0.5], [1.0], [1.2]]], np.float32)
    data, notes = encode(Image(pixels=values), "png")
    assert read(data).pixels[0, :, 0].tolist() == [0, 0, 32768, 65535, 65535]
    assert notes[0] == "PNG holds no values from -0.1 to 1.2: they were clipped."


def test_floats_of_another_range_are_scaled_to_16_bits_and_said():
    values = np.array([[[-50.0], [0.0], [150.0]]], np.float32)
    data, notes = encode(Image(pixels=values), "png")
    assert read(data).pixels[0, :, 0].tolist() == [0, 16384, 65535]
    assert notes[0] == "PNG holds no values from -50 to 150: they were scaled to its range."


def test_white_of_10_bit_avif_is_white():
    again = read(encode(Image(pixels=np.full((16, 16, 3), 65535, np.uint16)), "avif")[0])
    assert again.pixels.dtype == np.uint16
    assert again.pixels.min() >= 65535 - 64
    assert again.pixels.max() == 65535


def test_palettes_become_colours():
    pixels = np.repeat(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]], np.uint8), 4, axis=0)
    again = read(vips(pixels, "srgb").pngsave_buffer(palette=True))
    np.testing.assert_array_equal(again.pixels, pixels)


def test_transparent_palettes_become_colours_and_alpha():
    pixels = np.full((8, 8, 4), (200, 10, 10, 255), np.uint8)
    pixels[:4, :, 3] = 0
    again = read(vips(pixels, "srgb").gifsave_buffer())
    assert again.pixels.shape == (8, 8, 3)
    assert again.alpha is not None
    assert again.alpha[0, 0] == 0
    assert again.alpha[-1, 0] == 255


def test_single_bits_become_black_and_white():
    pixels = np.where(noise(16, 16, 1) > 127, 255, 0).astype(np.uint8)
    for data in (
        vips(pixels, "b-w").pngsave_buffer(bitdepth=1),
        vips(pixels, "b-w").tiffsave_buffer(bitdepth=1),
    ):
        again = read(data)
        assert again.channels == 1
        np.testing.assert_array_equal(again.pixels, pixels)


@pytest.mark.parametrize("save", ["tiffsave_buffer", "jpegsave_buffer"])
def test_cmyk_becomes_srgb_and_is_said(save):
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[:, 8:] = (0, 255, 255, 0)
    again = read(getattr(vips(inks, "cmyk"), save)())
    assert again.notes == ("CMYK was converted to sRGB by a standard profile, having none.",)
    assert again.pixels[8, 2].tolist() == pytest.approx([255, 255, 255], abs=3)
    red, green, blue = again.pixels[8, 13].tolist()
    assert red > 180
    assert max(green, blue) < 90
    assert again.profile is None


def test_first_frame_is_read_and_said(tmp_path: Path):
    first, second = smooth(8, 8), 255 - smooth(8, 8)
    film = vips(first, "srgb").join(vips(second, "srgb"), "vertical")
    film.set_type(pyvips.GValue.gint_type, "page-height", 8)
    for suffix, note in (
        (".gif", "Of 2 frames the first was read."),
        (".webp", "Of 2 frames the first was read."),
        (".tif", "Of 2 pages the first was read."),
    ):
        again = read(film.write_to_buffer(suffix, **({"lossless": True} if suffix == ".webp" else {})))
        assert again.notes == (note,)
        np.testing.assert_array_equal(again.pixels, first)


def test_a_png_that_moves_is_said():
    still, _ = encode(Image(pixels=noise(8, 8, 3)), "png")
    data = struct.pack(">4sII", b"acTL", 12, 0)
    chunk = struct.pack(">I", 8) + data + struct.pack(">I", zlib.crc32(data))
    assert read(still[:33] + chunk + still[33:]).notes == ("Of 12 frames the first was read.",)


def test_values_that_are_no_numbers_are_read_as_black_and_said():
    pixels = np.full((4, 4, 1), 0.5, np.float32)
    pixels[0, 0], pixels[0, 1] = np.nan, np.inf
    again = read(encode(Image(pixels=pixels), "tif")[0])
    assert again.notes == ("2 values that are not finite were read as 0.",)
    assert again.pixels[0, :3, 0].tolist() == [0, 0, 0.5]


def test_floats_beyond_their_nominal_range_are_kept_and_said():
    again = read(encode(Image(pixels=np.array([[[0.0], [200.0]]], np.float32)), "tif")[0])
    assert again.notes == ("The values go from 0 to 200, where 0 to 1 is nominal.",)
    assert again.pixels.max() == 200


def test_a_name_may_be_a_string(tmp_path: Path):
    image = Image(pixels=noise(8, 8, 3))
    write(image, str(tmp_path / "image.png"))
    np.testing.assert_array_equal(read(str(tmp_path / "image.png")).pixels, image.pixels)


def test_content_decides_and_not_the_name(tmp_path: Path):
    path = tmp_path / "photo.jpg"
    image = Image(pixels=noise(8, 8, 3))
    path.write_bytes(encode(image, "png")[0])
    np.testing.assert_array_equal(read(path).pixels, image.pixels)


def test_names_need_not_be_utf_8_nor_free_of_brackets(tmp_path: Path):
    path = tmp_path / os.fsdecode(b"caf\xe9 [page=1].png")
    image = Image(pixels=noise(8, 8, 3))
    write(image, path)
    np.testing.assert_array_equal(read(path).pixels, image.pixels)


def test_a_file_that_has_changed_is_read_afresh(tmp_path: Path):
    path = tmp_path / "image.png"
    for seed in range(2):
        image = Image(pixels=noise(8, 8, 3, seed=seed))
        write(image, path)
        np.testing.assert_array_equal(read(path).pixels, image.pixels)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".gif"])
def test_a_file_and_its_encoding_in_memory_are_the_same(tmp_path: Path, suffix):
    image = Image(pixels=smooth(20, 30), metadata=Metadata(resolution=(10.0, 10.0)))
    notes = write(image, tmp_path / f"image{suffix}")
    assert encode(image, suffix) == ((tmp_path / f"image{suffix}").read_bytes(), notes)


def test_quality_decides_the_size():
    image = Image(pixels=noise(64, 64, 3))
    for suffix in (".jpg", ".webp", ".avif"):
        sizes = [len(encode(image, suffix, quality=quality)[0]) for quality in (20, 90)]
        assert sizes[0] < sizes[1]
    with pytest.raises(ValueError, match="from 1 to 100, got 101"):
        encode(image, "jpg", quality=101)


def test_jpeg_keeps_colour_at_full_resolution():
    data, _ = encode(Image(pixels=smooth(16, 16)), "jpg")
    assert pyvips.Image.jpegload_buffer(data).get("jpeg-chroma-subsample") == "4:4:4"


def test_a_written_file_is_an_ordinary_one(tmp_path: Path):
    path = tmp_path / "image.png"
    plain = tmp_path / "plain"
    plain.touch()
    write(Image(pixels=noise(8, 8, 3)), path)
    assert path.stat().st_mode == plain.stat().st_mode
    assert sorted(tmp_path.iterdir()) == [path, plain]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch):
    path = tmp_path / "image.png"
    path.write_bytes(b"precious")

    def fail(*_: object, **__: object) -> None:
        raise pyvips.Error("unable to call pngsave", "no space left")

    monkeypatch.setattr("swinir.imaging.io._save", fail)
    with pytest.raises(ImageWriteError, match=r"image\.png cannot be written"):
        write(Image(pixels=noise(8, 8, 3)), path)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["image.xyz", "image", "image.bmp"])
def test_unknown_suffixes_are_refused_with_those_that_are_known(tmp_path: Path, name):
    with pytest.raises(ImageWriteError, match=r"use one of \.png, "):
        write(Image(pixels=noise(8, 8, 3)), tmp_path / name)
    with pytest.raises(ImageWriteError, match=r"use one of \.png, "):
        encode(Image(pixels=noise(8, 8, 3)), "xyz")


def test_a_missing_folder_and_a_folder_in_the_way_are_refused(tmp_path: Path):
    image = Image(pixels=noise(8, 8, 3))
    with pytest.raises(ImageWriteError, match="No such file or directory"):
        write(image, tmp_path / "missing" / "image.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageWriteError, match="is a folder"):
        write(image, tmp_path / "folder.png")
    with pytest.raises(ImageWriteError, match="cannot be written"):
        write(image, tmp_path / ("long" * 80 + ".png"))


def test_a_picture_larger_than_its_format_is_refused():
    with pytest.raises(ImageWriteError, match=r"20,000 × 1 pixels and WebP holds 16,383"):
        encode(Image(pixels=np.zeros((1, 20_000, 1), np.uint8)), "webp")


def test_large_images_are_coded_in_bands():
    image = Image(pixels=smooth(1200, 1500), alpha=smooth(1200, 1500)[:, :, 0].copy())
    again = read(encode(image, "tif")[0])
    np.testing.assert_array_equal(again.pixels, image.pixels)
    np.testing.assert_array_equal(again.alpha, image.alpha)


@pytest.mark.parametrize(
    ("pixels", "alpha"),
    [
        (np.zeros((4, 4), np.uint8), None),
        (np.zeros((4, 4, 2), np.uint8), None),
        (np.zeros((0, 4, 3), np.uint8), None),
        (np.zeros((4, 4, 3), np.float64), None),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8)),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint16)),
    ],
)
def test_an_image_of_impossible_planes_is_refused(pixels, alpha):
    with pytest.raises(ValueError, match="must be"):
        Image(pixels=pixels, alpha=alpha)


def test_new_pixels_keep_all_that_the_file_said():
    image = Image(pixels=noise(4, 4, 3), profile=b"profile", metadata=Metadata(xmp=b"xmp"), notes=("note",))
    larger = image.with_pixels(noise(8, 8, 3), None)
    assert (larger.height, larger.profile, larger.metadata, larger.notes) == (
        8,
        b"profile",
        image.metadata,
        ("note",),
    )
