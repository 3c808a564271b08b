"""Animations and pages: every frame in, every frame out, as long and as often as before."""

import io
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from swinir.errors import ImageReadError, ImageTooLargeError, ImageWriteError
from swinir.imaging import Image, Limits, Timing, encode, read, read_frames, write_frames
from swinir.imaging.png import packed_chunk

COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
DURATIONS = (50, 200, 1000)


def flat_frames(height: int = 16, width: int = 24) -> list[np.ndarray]:
    return [np.full((height, width, 3), color, np.uint8) for color in COLORS]


def by_pillow(file_format: str, frames: list[np.ndarray], **options: object) -> bytes:
    pictures = [PIL.Image.fromarray(frame) for frame in frames]
    file = io.BytesIO()
    pictures[0].save(file, file_format, save_all=True, append_images=pictures[1:], **options)
    return file.getvalue()


def film(file_format: str) -> bytes:
    # A GIF says how often it is shown again.
    loop = 2 if file_format == "GIF" else 3
    return by_pillow(file_format, flat_frames(), duration=list(DURATIONS), loop=loop)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_every_frame_of_an_animation_is_read_with_its_time(file_format):
    frames = read_frames(film(file_format))
    assert frames.timing == Timing(DURATIONS, 3)
    decoded = list(frames)
    assert len(decoded) == frames.count == 3
    for frame, color in zip(decoded, COLORS, strict=True):
        assert np.abs(frame.pixels.astype(int) - color).max() <= 8


@pytest.mark.parametrize("source", ["GIF", "WEBP", "PNG"])
@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animation_goes_from_any_format_to_any(tmp_path: Path, source, suffix):
    frames = read_frames(film(source))
    write_frames(frames, tmp_path / f"film{suffix}", count=frames.count, timing=frames.timing)
    again = read_frames(tmp_path / f"film{suffix}")
    assert again.timing == Timing(DURATIONS, 3)
    for frame, color in zip(again, COLORS, strict=True):
        assert np.abs(frame.pixels.astype(int) - color).max() <= 8
    # By another reader too.
    with PIL.Image.open(tmp_path / f"film{suffix}") as opened:
        assert opened.n_frames == 3


def test_a_film_in_avif_is_read_and_written(tmp_path: Path):
    frames = read_frames(by_pillow("AVIF", flat_frames(64, 64), duration=list(DURATIONS)))
    assert frames.timing == Timing(DURATIONS, 0)
    write_frames(frames, tmp_path / "film.avif", count=3, timing=frames.timing)
    again = read_frames(tmp_path / "film.avif")
    assert again.timing == Timing(DURATIONS, 0)
    for frame, color in zip(again, COLORS, strict=True):
        assert np.abs(frame.pixels.astype(int) - color).mean() < 8


def test_pages_of_any_size_depth_and_channels_come_back(tmp_path: Path):
    generator = np.random.default_rng(0)
    pages = [
        Image(pixels=generator.integers(0, 256, (9, 300, 3), dtype=np.uint8)),
        Image(pixels=generator.integers(0, 65_536, (31, 7, 1), dtype=np.uint16)),
        Image(pixels=generator.random((700, 40, 3), dtype=np.float32)),
    ]
    write_frames(pages, tmp_path / "pages.tif", count=3, timing=None)
    again = read_frames(tmp_path / "pages.tif")
    assert (again.count, again.timing) == (3, None)
    for page, before in zip(again, pages, strict=True):
        np.testing.assert_array_equal(page.pixels, before.pixels)


def test_smaller_copies_of_a_page_are_no_pages():
    large, small = (PIL.Image.fromarray(np.zeros((side, side, 3), np.uint8)) for side in (32, 16))
    file = io.BytesIO()
    small.encoderinfo = {"tiffinfo": {254: 1}}
    large.save(file, "TIFF", save_all=True, append_images=[small])
    assert read_frames(file.getvalue()).count == 1


def control(number: int, *, box: tuple[int, int, int, int], dispose: int, blend: int) -> bytes:
    return packed_chunk(b"fcTL", struct.pack(">I4IHHBB", number, *box, 1, 10, dispose, blend))


def animated(second: np.ndarray, *, dispose: int, blend: int, parts: int = 1) -> bytes:
    """A red picture of 4×4, a second frame of 2×2 in its middle, and a third of one white pixel in the corner."""
    whole, spot, dot = (
        encode(Image(pixels=pixels[:, :, :3].copy(), alpha=pixels[:, :, 3].copy()), "png")[0]
        for pixels in (
            np.full((4, 4, 4), (255, 0, 0, 255), np.uint8),
            second,
            np.full((1, 1, 4), 255, np.uint8),
        )
    )

    def data(png: bytes) -> bytes:
        start = png.find(b"IDAT")
        return png[start + 4 : start + 4 + struct.unpack(">I", png[start - 4 : start])[0]]

    cuts = np.linspace(0, len(data(spot)), parts + 1, dtype=int)
    middle = [data(spot)[start:end] for start, end in pairwise(cuts)]
    chunks = packed_chunk(b"acTL", struct.pack(">II", 3, 0))
    chunks += control(0, box=(4, 4, 0, 0), dispose=0, blend=0) + packed_chunk(b"IDAT", data(whole))
    chunks += control(1, box=(2, 2, 1, 1), dispose=dispose, blend=blend)
    for number, part in enumerate(middle):
        chunks += packed_chunk(b"fdAT", struct.pack(">I", 2 + number) + part)
    chunks += control(9, box=(1, 1, 0, 0), dispose=0, blend=0)
    chunks += packed_chunk(b"fdAT", struct.pack(">I", 10) + data(dot))
    return whole[:33] + chunks + packed_chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("dispose", "middle_of_third"), [(0, [0, 0, 255, 255]), (1, [0, 0, 0, 0]), (2, [255, 0, 0, 255])]
)
@pytest.mark.parametrize("parts", [1, 3])
def test_frames_of_a_png_are_laid_on_each_other_as_it_says(dispose, middle_of_third, parts):
    blue = np.full((2, 2, 4), (0, 0, 255, 255), np.uint8)
    first, second, third = read_frames(animated(blue, dispose=dispose, blend=0, parts=parts))
    assert (first.pixels == (255, 0, 0)).all()
    assert second.pixels[1, 1].tolist() == [0, 0, 255]
    assert second.pixels[0, 0].tolist() == [255, 0, 0]
    assert third.alpha is not None
    assert [*third.pixels[2, 2], third.alpha[2, 2]] == middle_of_third
    assert third.pixels[0, 0].tolist() == [255, 255, 255]


def test_a_transparent_frame_laid_over_another_mixes_with_it():
    half_blue = np.full((2, 2, 4), (0, 0, 255, 128), np.uint8)
    _, second, _ = read_frames(animated(half_blue, dispose=0, blend=1))
    assert second.pixels[1, 1].tolist() == [127, 0, 128]


def test_a_damaged_frame_is_an_error():
    data = bytearray(film("PNG"))
    last = data.rfind(b"fdAT")
    data[last + 10 : last + 14] = b"\0\0\0\0"
    with pytest.raises(ImageReadError, match="cannot be read"):
        list(read_frames(bytes(data)))


def test_frames_times_pixels_have_a_limit():
    with pytest.raises(ImageTooLargeError, match="has 3 frames or pages of 24 × 16 pixels") as caught:
        read_frames(film("GIF"), limits=Limits(max_total_pixels=1000))
    assert caught.value.limit == "max_total_pixels"


def test_what_cannot_hold_several_is_refused(tmp_path: Path):
    frames = read_frames(film("GIF"))
    for name, kind in (("film.jpg", "frames"), ("film.tif", "frames")):
        with pytest.raises(ImageWriteError, match=f"cannot hold several {kind}"):
            write_frames(frames, tmp_path / name, count=3, timing=frames.timing)
    with pytest.raises(ImageWriteError, match="cannot hold several pages"):
        write_frames([], tmp_path / "pages.png", count=0, timing=None)
    assert list(tmp_path.iterdir()) == []


def test_a_still_picture_is_one_frame():
    data, _ = encode(Image(pixels=flat_frames()[0]), "png")
    frames = read_frames(data)
    assert (frames.count, frames.timing) == (1, None)
    np.testing.assert_array_equal(next(iter(frames)).pixels, read(data).pixels)
