"""What ``salvage`` gets out of damaged files: what is there, right; the rest said in a note."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import pyvips

from swinir.errors import ImageReadError, ImageTooLargeError
from swinir.imaging import Image, ImageReader, Limits, encode, read, read_frames

SHAPE = (160, 128, 3)


def photo() -> np.ndarray:
    """Blocks of colours with some noise: JPEG and WebP keep them nearly."""
    random = np.random.default_rng(0)
    blocks = random.integers(0, 190, (SHAPE[0] // 8, SHAPE[1] // 8, 3)).repeat(8, 0).repeat(8, 1)
    return (blocks + random.integers(0, 60, SHAPE)).astype(np.uint8)


def saved(file_format: str, **options: object) -> bytes:
    file = BytesIO()
    PIL.Image.fromarray(photo()).save(file, file_format, **options)
    return file.getvalue()


def animated(file_format: str, count: int = 5) -> bytes:
    frames = [PIL.Image.fromarray(np.roll(photo(), 20 * index, axis=0)) for index in range(count)]
    file = BytesIO()
    frames[0].save(file, file_format, save_all=True, append_images=frames[1:], duration=50, loop=0)
    return file.getvalue()


def share_of(notes: tuple[str, ...]) -> float:
    """How much a note says is missing."""
    (percent,) = re.findall(r"\((\d+)%\)", " ".join(notes))
    return int(percent) / 100


WHOLE = {
    "jpg": saved("JPEG", quality=95),
    "png": saved("PNG"),
    "webp": saved("WEBP", quality=95),
    "lossless.webp": saved("WEBP", lossless=True),
    "gif": saved("GIF", interlace=0),
    "tif": saved("TIFF"),
    "bmp": saved("BMP"),
}


@pytest.mark.parametrize("name", [name for name in WHOLE if name != "bmp"])
@pytest.mark.parametrize("part", [0.4, 0.8])
def test_rows_before_the_end_of_a_file_are_right_and_the_rest_is_said(name: str, part: float) -> None:
    whole = WHOLE[name]
    with pytest.raises(ImageReadError, match="--salvage restores what can be decoded"):
        read(whole[: int(part * len(whole))])
    salvaged = read(whole[: int(part * len(whole))], salvage=True)
    assert salvaged.pixels.shape == SHAPE
    missing = share_of(salvaged.notes)
    # The sharper half of a lossy WebP file is in its end.
    assert missing == pytest.approx(1 - part, abs=0.2)
    sound = int((1 - missing) * SHAPE[0]) - 16
    np.testing.assert_array_equal(salvaged.pixels[:sound], read(whole).pixels[:sound])


@pytest.mark.parametrize("name", WHOLE)
def test_a_sound_file_is_read_as_ever(name: str) -> None:
    salvaged, plain = read(WHOLE[name], salvage=True), read(WHOLE[name])
    assert salvaged.notes == plain.notes
    np.testing.assert_array_equal(salvaged.pixels, plain.pixels)


@pytest.mark.parametrize(
    "whole",
    [
        saved("JPEG", progressive=True),
        pyvips.Image.new_from_array(photo()).pngsave_buffer(interlace=True),
    ],
)
def test_of_interlaced_pictures_the_detail_that_is_there_is_read(whole: bytes) -> None:
    salvaged = read(whole[: len(whole) // 2], salvage=True)
    assert "detail" in salvaged.notes[0]
    assert salvaged.pixels[-16:].std() > 10


def test_a_damaged_stretch_of_a_png_leaves_the_rows_above_it() -> None:
    whole = bytearray(WHOLE["png"])
    middle = len(whole) // 2
    whole[middle : middle + 300] = b"\xa5" * 300
    salvaged = read(bytes(whole), salvage=True)
    np.testing.assert_array_equal(salvaged.pixels[:60], photo()[:60])
    assert 0.3 < share_of(salvaged.notes) < 0.6


def test_wrong_checksums_alone_cost_no_pixel() -> None:
    whole = bytearray(WHOLE["png"])
    whole[-13] ^= 1
    with pytest.raises(ImageReadError):
        read(bytes(whole))
    salvaged = read(bytes(whole), salvage=True)
    np.testing.assert_array_equal(salvaged.pixels, photo())
    assert "checksums" in salvaged.notes[0]


@pytest.mark.parametrize("name", WHOLE)
def test_of_a_header_alone_nothing_is_salvaged(name: str) -> None:
    with pytest.raises(ImageReadError, match=r"damaged|cut short"):
        read(WHOLE[name][:40], salvage=True)


def test_limits_hold_for_damaged_files_too() -> None:
    with pytest.raises(ImageTooLargeError):
        read(WHOLE["png"][:9000], salvage=True, limits=Limits(max_side_px=100))


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_frames_before_the_damage_are_read(file_format: str) -> None:
    whole = animated(file_format)
    frames = read_frames(whole[: len(whole) * 7 // 10], salvage=True)
    assert frames.count == 3
    assert re.search(r"3 frames are whole|first 3 are whole|has 5 frames and has 3", frames.notes[-1])
    sound = list(read_frames(whole))[:3]
    for salvaged, right in zip(frames, sound, strict=True):
        np.testing.assert_array_equal(salvaged.pixels, right.pixels)
    assert frames.timing is not None
    assert frames.timing.durations_ms == (50,) * 3


def test_an_animation_cut_within_its_last_frame_is_refused() -> None:
    whole = animated("GIF")
    with pytest.raises(ImageReadError, match="cut short"):
        read_frames(whole[:-300])


def test_a_reader_of_rows_reads_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(WHOLE["jpg"][: len(WHOLE["jpg"]) // 2])
    with ImageReader(path, salvage=True) as reader:
        assert "rows" in reader.header.template.notes[0]
        rows = np.concatenate([band.pixels for band in reader.bands()])
    assert rows.shape == SHAPE
    path.write_bytes(WHOLE["jpg"])
    with ImageReader(path, salvage=True) as reader:
        assert reader.header.template.notes == ()


def test_formats_of_another_reader_are_salvaged_too() -> None:
    salvaged = read(WHOLE["bmp"][: len(WHOLE["bmp"]) // 2], salvage=True)
    assert share_of(salvaged.notes) == pytest.approx(0.5, abs=0.1)


def test_nothing_is_promised_of_formats_that_decode_whole_or_not() -> None:
    whole = encode(Image(pixels=photo()), "avif")[0]
    with pytest.raises(ImageReadError) as caught:
        read(whole[: len(whole) // 2])
    assert "--salvage" not in str(caught.value)
