"""What bad input gets: one sentence that names the file, and nothing decoded beyond the limits."""

import io
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import pyvips

from swinir.errors import ImageError, ImageReadError, ImageTooLargeError, ImageWriteError
from swinir.imaging import Image, Limits, encode, read, read_frames
from swinir.imaging.io import errors_as

FORMATS = ["png", "jpg", "webp", "tif", "avif", "gif"]


def encoded(file_format: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    return encode(Image(pixels=pixels), file_format)[0]


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises much and holds 1,000 zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("part", [0.02, 0.3, 0.5, 0.9, 0.99])
def test_a_file_cut_short_is_an_error_and_no_half_picture(tmp_path: Path, file_format, part):
    whole = encoded(file_format)
    path = tmp_path / f"photo.{file_format}"
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ImageReadError, match=rf"photo\.{file_format} cannot be read"):
        read(path)


@pytest.mark.parametrize("file_format", ["png", "avif"])
@pytest.mark.parametrize("filling", [b"\0", b"\xa5"])
def test_a_damaged_stretch_is_an_error(file_format, filling):
    whole = encoded(file_format)
    middle = len(whole) // 2
    damaged = whole[:middle] + filling * 1500 + whole[middle + 1500 :]
    with pytest.raises(ImageReadError, match="damaged"):
        read(damaged)


@pytest.mark.parametrize("file_format", ["png", "jpg", "webp", "avif", "gif"])
def test_a_missing_stretch_is_an_error_and_no_gray_stripe(file_format):
    # JPEG and WebP have no checksum: other bytes of the same length can be other pixels.
    whole = encoded(file_format)
    third = len(whole) // 3
    with pytest.raises(ImageReadError, match="damaged"):
        read(whole[:third] + whole[-third:])


@pytest.mark.parametrize("file_format", FORMATS)
# pyvips prints, and goes on, when it cannot decode a warning that quotes damaged bytes.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_damage_ends_in_anything_but_an_error_of_ours(file_format):
    generator = np.random.default_rng(7)
    whole = encoded(file_format)
    num_refused = 0
    for _ in range(80):
        damaged = bytearray(whole)
        # Headers come first, and in TIFF last.
        places = generator.integers(0, 300, 6) * generator.choice([-1, 1])
        for place in places:
            damaged[place] = int(generator.integers(0, 256))
        try:
            read(bytes(damaged))
        except (ImageReadError, ImageTooLargeError):
            num_refused += 1
    assert num_refused > 0
    # Nor does what happened before matter to the next reader.
    assert read(whole).width == 128


def test_bytes_after_the_end_do_no_harm():
    for file_format in FORMATS:
        whole = encoded(file_format)
        np.testing.assert_array_equal(read(whole + b"trailing").pixels, read(whole).pixels)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "PCX"])
@pytest.mark.parametrize("part", [0.02, 0.5, 1])
def test_gigabytes_of_zeros_behind_a_file_are_not_read(tmp_path: Path, kind: str, part: float) -> None:
    whole = io.BytesIO()
    PIL.Image.open(io.BytesIO(encoded("png"))).save(whole, kind)
    start = whole.getvalue()
    path = tmp_path / "given"
    with path.open("wb") as file:
        file.write(start[: int(len(start) * part)])
        file.truncate(Limits().max_file_bytes)
    tracemalloc.start()
    began = time.process_time()
    for salvage in (False, True):
        try:
            picture = read(path, salvage=salvage)
        except ImageError:
            assert part < 1
        else:
            assert (picture.height, picture.width) == (96, 128)
    seconds, (_, peak_bytes) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 4
    assert peak_bytes < 40 * 2**20


@pytest.mark.parametrize("num_zeros", [1024, 100_000, 2**32 - 2**20])
def test_a_jpeg_that_a_download_left_unfinished_is_read_or_refused_by_what_is_there(
    tmp_path: Path, num_zeros: int
) -> None:
    whole = encoded("jpg")
    path = tmp_path / "photo.jpg"
    path.write_bytes(whole[:-2])
    with path.open("r+b") as file:
        file.truncate(len(whole) - 2 + num_zeros)
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, read(whole).pixels)
    assert picture.notes == ("The end marker was missing; the picture is whole.",)
    with path.open("r+b") as file:
        file.truncate(len(whole) // 2)
        file.truncate(len(whole) // 2 + num_zeros)
    with pytest.raises(ImageReadError, match="damaged"):
        read(path)
    (note,) = read(path, salvage=True).notes
    assert "rows" in note


def test_bytes_that_fill_up_before_a_marker_cost_no_time() -> None:
    whole = encoded("jpg")
    filled = whole[:2] + b"\xff" * 2**21 + whole[2:]
    began = time.process_time()
    np.testing.assert_array_equal(read(filled).pixels, read(whole).pixels)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "photo.png is empty"),
        (b"Dear Sir or Madam", "photo.png is not an image that can be read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is a drawing"),
        (b"\x89PNG\r\n\x1a\n", "photo.png cannot be read"),
        (b"\xff\xd8\xff", "photo.png cannot be read"),
    ],
)
def test_what_is_no_image_is_named(tmp_path: Path, content, message):
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    with pytest.raises(ImageReadError, match=message):
        read(path)


def test_missing_files_and_folders_are_named(tmp_path: Path):
    with pytest.raises(ImageReadError, match=r"missing\.png does not exist"):
        read(tmp_path / "missing.png")
    with pytest.raises(ImageReadError, match="is a folder, not an image"):
        read(tmp_path)
    with pytest.raises(ImageReadError, match="is a device, not an image"):
        read(Path("/dev/null"))


def test_every_message_is_one_line():
    for damaged in (b"", b"text", encoded("avif")[:300], encoded("tif")[:-5]):
        with pytest.raises(ImageReadError) as caught:
            read(damaged)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [
        (100_000, 100_000, "100,000 × 100,000 pixels and the limit is 268,435,456 in all"),
        (2_000_000, 10, "2,000,000 × 10 pixels and the limit is 100,000 a side"),
    ],
)
def test_bombs_are_refused_by_their_header(width, height, message):
    with pytest.raises(ImageTooLargeError, match=message):
        read(png_header(width, height))


def test_limits_can_be_lowered_and_are_inclusive():
    data = encoded("png")
    just_enough = Limits(max_pixels=96 * 128, max_side_px=128, max_file_bytes=len(data))
    assert read(data, limits=just_enough).width == 128
    for limits in (
        Limits(max_pixels=96 * 128 - 1),
        Limits(max_side_px=127),
        Limits(max_file_bytes=len(data) - 1),
    ):
        with pytest.raises(ImageTooLargeError, match="raise the limit to read it"):
            read(data, limits=limits)


def test_a_limit_below_one_is_refused():
    with pytest.raises(ValueError, match="max_pixels must be at least 1, got 0"):
        Limits(max_pixels=0)


def test_complex_numbers_are_refused():
    data = pyvips.Image.black(8, 8).cast("dpcomplex").tiffsave_buffer()
    with pytest.raises(ImageReadError, match="cannot be read"):
        read(data)


def test_the_systems_reason_is_told_before_the_librarys():
    told = "out.png: write error\nsystem error: No space left on device\nwbuffer_write: write failed\n"
    with (
        pytest.raises(ImageWriteError, match=r"^a \(No space left on device\)$"),
        errors_as(ImageWriteError, "a"),
    ):
        raise pyvips.Error("", told)


def test_a_damaged_frame_of_an_avif_film_is_an_error_of_ours(tmp_path: Path):
    path = tmp_path / "film.avif"
    pictures = [PIL.Image.new("RGB", (32, 32), color) for color in ("red", "blue", "green")]
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    path.write_bytes(path.read_bytes()[:-12] + b"\xff" * 12)
    with pytest.raises(
        ImageReadError, match=r"film.avif cannot be read: frame 3 of its AVIF data is damaged"
    ):
        list(read_frames(path))
