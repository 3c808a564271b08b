"""Pictures read and written a band of rows at a time are those read and written whole."""

import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swinir import imaging
from swinir.errors import ImageError, ImageReadError, ImageTooLargeError, ImageWriteError
from swinir.imaging import Band, Header, Image, ImageReader, ImageWriter, Metadata, Spool, TiffLayout, spool

TYPES = st.sampled_from([np.uint8, np.uint16, np.float32])
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def noise(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    if dtype == np.float32:
        return random.random(shape, np.float32)
    return random.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@st.composite
def pictures(draw: st.DrawFn, *, dtypes: st.SearchStrategy[Any] = TYPES) -> Image:
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    dtype = draw(dtypes)
    alpha = noise((height, width), dtype, 1) if draw(st.booleans()) else None
    return Image(pixels=noise((height, width, draw(st.sampled_from([1, 3]))), dtype), alpha=alpha)


def cut_rows(height: int, data: st.DataObject) -> list[tuple[int, int]]:
    cuts = sorted(data.draw(st.sets(st.integers(1, height), max_size=5)) | {0, height})
    return list(pairwise(cuts))


def read_in_bands(path: Path, data: st.DataObject) -> tuple[np.ndarray, np.ndarray | None, Header]:
    with ImageReader(path) as reader:
        bands = [reader.rows(top, bottom) for top, bottom in cut_rows(reader.header.height, data)]
        alphas = [band.alpha for band in bands if band.alpha is not None]
        pixels = np.concatenate([band.pixels for band in bands])
        return pixels, np.concatenate(alphas) if alphas else None, reader.header


def header_of(image: Image) -> Header:
    return Header(
        height=image.height,
        width=image.width,
        has_alpha=image.alpha is not None,
        template=replace(image, pixels=image.pixels[:1, :1], alpha=None),
        value_range=(0, 1),
    )


def write_in_bands(image: Image, path: Path, data: st.DataObject, **options: Any) -> tuple[str, ...]:
    with ImageWriter(path, header_of(image), **options) as writer:
        for top, bottom in cut_rows(image.height, data):
            alpha = None if image.alpha is None else image.alpha[top:bottom]
            writer.append(Band(image.pixels[top:bottom], alpha))
        return writer.finish()


@given(picture=pictures(), orientation=st.integers(1, 8), data=st.data())
@FEW
def test_rows_are_those_of_the_whole_picture(
    tmp_path: Path, picture: Image, orientation: int, data: st.DataObject
) -> None:
    path = tmp_path / "picture.tif"
    joined = picture.pixels
    if picture.alpha is not None:
        joined = np.concatenate([joined, picture.alpha[:, :, None]], axis=2)
    stored = pyvips.Image.new_from_array(joined).copy()
    stored.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    stored.tiffsave(str(path), tile=data.draw(st.booleans()), tile_width=16, tile_height=16)
    whole = imaging.read(path)
    pixels, alpha, header = read_in_bands(path, data)
    assert np.array_equal(pixels, whole.pixels)
    assert np.array_equal(alpha, whole.alpha)
    assert (header.height, header.width, header.channels) == whole.pixels.shape
    assert header.template.metadata == whole.metadata
    assert header.template.notes == whole.notes


@given(
    picture=pictures(dtypes=st.just(np.uint8)),
    data=st.data(),
    suffix=st.sampled_from(["png", "jpg", "webp", "gif"]),
)
@FEW
def test_every_format_is_read_by_rows(
    tmp_path: Path, picture: Image, data: st.DataObject, suffix: str
) -> None:
    path = tmp_path / f"picture.{suffix}"
    imaging.write(picture, path)
    whole = imaging.read(path)
    pixels, alpha, header = read_in_bands(path, data)
    assert np.array_equal(pixels, whole.pixels)
    assert np.array_equal(alpha, whole.alpha)
    assert header.template.notes == whole.notes


def test_palette_and_cmyk_are_read_by_rows_as_whole(tmp_path: Path) -> None:
    pixels = pyvips.Image.new_from_array(noise((30, 20, 3), np.uint8)).copy(interpretation="srgb")
    pixels.pngsave(str(tmp_path / "palette.png"), palette=True)
    pixels.icc_transform("cmyk", input_profile="srgb").tiffsave(str(tmp_path / "cmyk.tif"))
    for path in tmp_path.iterdir():
        whole = imaging.read(path)
        with ImageReader(path) as reader:
            assert np.array_equal(
                np.concatenate([reader.rows(0, 7).pixels, reader.rows(7, 30).pixels]), whole.pixels
            )
            assert reader.header.template.notes == whole.notes


def test_range_of_floats_is_known_before_the_first_row(tmp_path: Path) -> None:
    values = noise((50, 40, 3), np.float32)
    values[3, 4, 0], values[40, 3, 1], values[49, 39, 2] = np.nan, 1.5, -0.25
    pyvips.Image.new_from_array(values).tiffsave(str(tmp_path / "float.tif"))
    whole = imaging.read(tmp_path / "float.tif")
    with ImageReader(tmp_path / "float.tif") as reader:
        assert reader.header.value_range == (-0.25, 1.5)
        assert reader.header.template.notes == whole.notes
        assert len(whole.notes) == 2
        assert np.array_equal(reader.rows(0, 50).pixels, whole.pixels)


def test_rows_above_those_that_were_taken_are_refused(tmp_path: Path) -> None:
    imaging.write(Image(pixels=noise((20, 10, 3), np.uint8)), tmp_path / "picture.png")
    with ImageReader(tmp_path / "picture.png") as reader:
        reader.rows(5, 8)
        with pytest.raises(ValueError, match="rows 7 to 9"):
            reader.rows(7, 9)


def test_file_that_is_cut_short_is_an_error_where_rows_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "short.png"
    imaging.write(Image(pixels=noise((600, 500, 3), np.uint8)), path)
    path.write_bytes(path.read_bytes()[:400_000])
    with ImageReader(path) as reader:
        reader.rows(0, 10)
        with pytest.raises(ImageReadError, match=r"short\.png"):
            reader.rows(10, 600)


def test_what_decodes_whole_is_held_to_the_limits_of_whole_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "interlaced.png"
    pyvips.Image.new_from_array(noise((40, 30, 3), np.uint8)).pngsave(str(path), interlace=True)
    monkeypatch.setattr("swinir.imaging.rows.DEFAULT_LIMITS", imaging.Limits(max_pixels=1000))
    with pytest.raises(ImageTooLargeError):
        ImageReader(path)


@given(
    picture=pictures(),
    data=st.data(),
    suffix=st.sampled_from(["png", "jpg", "tif", "webp", "avif"]),
    has_words=st.booleans(),
)
@FEW
def test_file_written_by_rows_is_the_one_written_whole(
    tmp_path: Path, picture: Image, data: st.DataObject, suffix: str, has_words: bool
) -> None:
    if has_words:
        picture = replace(picture, metadata=Metadata(xmp=b"<x:xmpmeta/>", resolution=(10.0, 10.0)))
    by_rows, whole = tmp_path / f"rows.{suffix}", tmp_path / f"whole.{suffix}"
    notes = write_in_bands(picture, by_rows, data)
    assert sorted(notes) == sorted(imaging.write(picture, whole))
    assert by_rows.read_bytes() == whole.read_bytes()


@given(picture=pictures(), data=st.data())
@FEW
def test_pyramid_holds_the_picture_and_its_halves(
    tmp_path: Path, picture: Image, data: st.DataObject
) -> None:
    path = tmp_path / "pyramid.tif"
    write_in_bands(picture, path, data, layout=TiffLayout.PYRAMID)
    assert np.array_equal(imaging.read(path).pixels, picture.pixels)


def test_large_pyramid_has_tiles_and_several_sizes(tmp_path: Path) -> None:
    path = tmp_path / "pyramid.tif"
    picture = Image(pixels=noise((600, 700, 3), np.uint8))
    with ImageWriter(path, header_of(picture), layout=TiffLayout.PYRAMID) as writer:
        writer.append(Band(picture.pixels, None))
        writer.finish()
    sizes = [
        pyvips.Image.tiffload(str(path), page=page).width
        for page in range(int(pyvips.Image.tiffload(str(path)).get("n-pages")))
    ]
    assert sizes == [700, 350, 175]


def test_deep_zoom_is_a_description_and_a_folder_of_tiles(tmp_path: Path) -> None:
    picture = Image(pixels=noise((600, 700, 3), np.uint8))
    for _ in range(2):  # the second replaces the first
        with ImageWriter(tmp_path / "large.dzi", header_of(picture)) as writer:
            writer.append(Band(picture.pixels, None))
            writer.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.dzi", "large_files"]
    assert 'Width="700"' in (tmp_path / "large.dzi").read_text()
    deepest = max((tmp_path / "large_files").iterdir(), key=lambda folder: int(folder.name))
    tile = pyvips.Image.new_from_file(str(deepest / "0_0.jpg"))
    assert (tile.width, tile.height) == (255, 255)


def test_unfinished_file_leaves_what_was_there_and_no_thread(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"the old one")
    picture = Image(pixels=noise((600, 700, 3), np.uint8))
    with ImageWriter(path, header_of(picture)) as writer:
        writer.append(Band(picture.pixels[:200], None))
    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]
    assert "image encoder" not in [thread.name for thread in threading.enumerate()]


def test_fewer_rows_than_promised_are_an_error(tmp_path: Path) -> None:
    picture = Image(pixels=noise((600, 700, 3), np.uint8))
    with ImageWriter(tmp_path / "picture.png", header_of(picture)) as writer:
        writer.append(Band(picture.pixels[:200], None))
        with pytest.raises(ImageWriteError):
            writer.finish()
    assert not list(tmp_path.iterdir())


def test_format_that_holds_no_such_size_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    header = replace(header_of(Image(pixels=noise((1, 1, 3), np.uint8))), height=70_000, width=70_000)
    with pytest.raises(ImageError, match="70,000"):
        ImageWriter(tmp_path / "large.jpg", header)
    assert not list(tmp_path.iterdir())


@given(
    height=st.integers(1, 30),
    width=st.integers(1, 700),
    is_small=st.booleans(),
    data=st.data(),
)
@FEW
def test_spool_returns_what_was_written(
    monkeypatch: pytest.MonkeyPatch, height: int, width: int, is_small: bool, data: st.DataObject
) -> None:
    monkeypatch.setattr(spool, "_MOST_BYTES_IN_MEMORY", 10**9 if is_small else 0)
    expected = np.zeros((height, width, 3), np.uint16)
    kept = Spool(height, width, 3, expected.dtype)
    for seed in range(3):
        top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        shape = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left)), 3
        window = noise(shape, np.uint16, seed)
        expected[top : top + shape[0], left : left + shape[1]] = window
        kept.write(top, left, window)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    assert np.array_equal(kept.read(top, height, left), expected[top:, left:])
    kept.close()


@given(
    height=st.integers(1, 60),
    scale=st.sampled_from([1, 2, 3, 4, 8, 0.5, 0.3]),
    channels=st.sampled_from([None, 1, 3]),
    data=st.data(),
)
@FEW
def test_rows_of_bicubic_are_those_of_the_whole(
    height: int, scale: float, channels: int | None, data: st.DataObject
) -> None:
    shape = (height, 9) if channels is None else (height, 9, channels)
    picture = noise(shape, np.uint8)
    whole = imaging.resize_bicubic(picture, scale)
    for top, bottom in cut_rows(len(whole), data):
        first, stop = imaging.rows_needed(top, bottom, scale, height)
        rows = imaging.resize_rows(
            picture[first:stop], top, bottom, scale, source_top=first, source_height=height
        )
        assert np.array_equal(rows, whole[top:bottom])


@given(picture=pictures(), data=st.data())
@FEW
def test_wide_tiff_is_written_and_read_tile_by_tile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Image, data: st.DataObject
) -> None:
    path = tmp_path / "wide.tif"
    with monkeypatch.context() as patch:
        for name in ("row_encoders", "rows"):
            patch.setattr(f"swinir.imaging.{name}.WIDE_ROW_BYTES", 0)
        patch.setattr("swinir.imaging.saving._COLUMN", {"tile_height": 16})
        patch.setattr("swinir.imaging.tiff_column.TILE_PX", 16)
        patch.setattr("swinir.imaging.tiff_column.TileColumn.width", 16)
        write_in_bands(picture, path, data)
        pixels, alpha, _ = read_in_bands(path, data)
    whole = imaging.read(path)
    for read_pixels, read_alpha in ((pixels, alpha), (whole.pixels, whole.alpha)):
        assert np.array_equal(read_pixels, picture.pixels)
        assert (read_alpha is None) == (picture.alpha is None)
        assert read_alpha is None or np.array_equal(read_alpha, picture.alpha)


@pytest.mark.parametrize("is_big", [False, True])
@pytest.mark.parametrize("compression", ["none", "lzw", "jpeg"])
def test_wide_tiff_of_others_is_read_tile_by_tile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str, is_big: bool
) -> None:
    path = tmp_path / "given.tif"
    made = pyvips.Image.new_from_array(noise((70, 90, 3), np.uint8)).copy(interpretation="srgb")
    tiles = {"tile": True, "tile_width": 32, "tile_height": 16}
    made.tiffsave(str(path), compression=compression, bigtiff=is_big, **tiles)
    whole = imaging.read(path)
    monkeypatch.setattr("swinir.imaging.rows.WIDE_ROW_BYTES", 0)
    with ImageReader(path) as reader:
        rows = [reader.rows(3, 40), reader.rows(40, 41), reader.rows(41, 70)]
    assert np.array_equal(np.concatenate([band.pixels for band in rows]), whole.pixels[3:])


@pytest.mark.parametrize("first_colour", [0, 100, 300])
def test_wide_tiff_that_is_grey_at_first_is_read_from_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_colour: int
) -> None:
    path = tmp_path / "given.tif"
    pixels = noise((400, 2000, 1), np.uint8).repeat(3, axis=2)
    pixels[first_colour:, :, 0] //= 2
    made = pyvips.Image.new_from_array(pixels).copy(interpretation="srgb")
    made.tiffsave(str(path), tile=True, tile_width=32, tile_height=32)
    monkeypatch.setattr("swinir.imaging.rows.WIDE_ROW_BYTES", 0)
    monkeypatch.setattr("swinir.imaging.rows.rows_of_band", lambda _: 1000)
    with ImageReader(path) as reader:
        assert not reader.header.is_grey
        assert np.array_equal(reader.rows(0, 400).pixels, pixels)


def test_wide_tiff_that_is_cut_short_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "given.tif"
    made = pyvips.Image.new_from_array(noise((70, 90, 3), np.uint8)).copy(interpretation="srgb")
    made.tiffsave(str(path), tile=True, tile_width=16, tile_height=16, compression="none", bigtiff=True)
    with path.open("r+b") as file:
        data = bytearray(file.read())
        data[1000:9000] = b""
        file.seek(0)
        file.write(data)
        file.truncate()
    monkeypatch.setattr("swinir.imaging.rows.WIDE_ROW_BYTES", 0)
    with pytest.raises(ImageReadError), ImageReader(path) as reader:
        reader.rows(0, 70)
