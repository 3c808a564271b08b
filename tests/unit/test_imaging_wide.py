"""Files of very long rows are those that libvips writes of short ones."""

import gc
import re
import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import psutil
import pytest
import pyvips

from swinir import imaging
from swinir.errors import ImageReadError, ImageWriteError
from swinir.imaging import Band, Header, Image, ImageReader, ImageWriter, Metadata, TiffLayout
from swinir.imaging.image import Cicp
from swinir.imaging.png_blocks import PngBlocks

_TAGGED: Any = pyvips.Image.black(1, 1).copy(interpretation="srgb").icc_export(output_profile="srgb")
PROFILE = bytes(_TAGGED.get("icc-profile-data"))


def noise(height: int, width: int, channels: int, dtype: Any = np.uint8) -> np.ndarray:
    random = np.random.default_rng(height)
    if dtype == np.float32:
        return random.random((height, width, channels), np.float32)
    return random.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)


def picture(height: int, width: int, channels: int, dtype: Any, *, has_alpha: bool) -> Image:
    return Image(
        pixels=noise(height, width, channels, dtype),
        alpha=noise(height, width, 1, dtype)[:, :, 0] if has_alpha else None,
        profile=PROFILE if channels == 3 else None,
        metadata=Metadata(resolution=(11.0, 12.0), xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"),
    )


def write(image: Image, path: Path, **options: Any) -> tuple[str, ...]:
    height, width = image.pixels.shape[:2]
    template = replace(image, pixels=image.pixels[:1, :1], alpha=None)
    header = Header(
        height=height, width=width, has_alpha=image.alpha is not None, template=template, value_range=(0, 1)
    )
    with ImageWriter(path, header, **options) as writer:
        for top in range(0, height, 37):
            rows = slice(top, top + 37)
            writer.append(Band(image.pixels[rows], None if image.alpha is None else image.alpha[rows]))
        return writer.finish()


@pytest.fixture
def is_wide(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let rows be wide from so many bytes on."""

    def set_bytes(num_bytes: int) -> None:
        for name in ("row_encoders", "rows"):
            monkeypatch.setattr(f"swinir.imaging.{name}.WIDE_ROW_BYTES", num_bytes)

    return set_bytes


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_a_wide_png_is_that_of_libvips(
    tmp_path: Path, is_wide: Any, dtype: Any, channels: int, has_alpha: bool
) -> None:
    given = picture(90, 70, channels, dtype, has_alpha=has_alpha)
    notes = write(given, tmp_path / "usual.png")
    is_wide(0)
    assert write(given, tmp_path / "wide.png") == notes
    usual, wide = imaging.read(tmp_path / "usual.png"), imaging.read(tmp_path / "wide.png")
    np.testing.assert_array_equal(wide.pixels, given.pixels)
    assert (wide.alpha is None) == (not has_alpha)
    assert wide.alpha is None or given.alpha is None or np.array_equal(wide.alpha, given.alpha)
    assert (wide.profile, wide.metadata) == (usual.profile, usual.metadata)


def test_a_wide_png_keeps_code_points_of_colours(tmp_path: Path, is_wide: Any) -> None:
    given = replace(picture(5, 40, 3, np.uint16, has_alpha=False), profile=None, cicp=Cicp(9, 16))
    is_wide(0)
    write(given, tmp_path / "wide.png")
    assert imaging.read(tmp_path / "wide.png").cicp == Cicp(9, 16)


@pytest.mark.parametrize("size", [(1, 700), (601, 1025), (512, 2000), (900, 513)])
@pytest.mark.parametrize(
    "kind", [(3, np.uint8, False), (1, np.uint16, False), (3, np.uint8, True), (3, np.float32, False)]
)
def test_a_wide_pyramid_is_that_of_libvips(
    tmp_path: Path, is_wide: Any, size: tuple[int, int], kind: tuple[int, Any, bool]
) -> None:
    channels, dtype, has_alpha = kind
    given = picture(*size, channels, dtype, has_alpha=has_alpha)
    write(given, tmp_path / "usual.tif", layout=TiffLayout.PYRAMID)
    is_wide(size[1] // 3 * channels * np.dtype(dtype).itemsize)
    write(given, tmp_path / "wide.tif", layout=TiffLayout.PYRAMID)
    usual, wide = (num_pages(tmp_path / f"{name}.tif") for name in ("usual", "wide"))
    assert wide == usual
    most = {np.uint8: 1, np.uint16: 1, np.float32: 1e-6}[dtype]
    for page in range(usual):
        levels = [
            pyvips.Image.tiffload(str(tmp_path / f"{name}.tif"), page=page).numpy().astype(np.float64)
            for name in ("usual", "wide")
        ]
        assert levels[0].shape == levels[1].shape
        # Of what is transparent nothing is seen, and halves of halves round twice.
        weight = levels[0][..., -1:] / 255 if has_alpha else 1
        assert np.abs((levels[0] - levels[1]) * weight).max() <= most * (2 if has_alpha else 1)
    whole = imaging.read(tmp_path / "wide.tif")
    np.testing.assert_array_equal(whole.pixels, given.pixels)
    assert whole.metadata == imaging.read(tmp_path / "usual.tif").metadata
    assert sorted(path.name for path in tmp_path.iterdir()) == ["usual.tif", "wide.tif"]


def num_pages(path: Path) -> int:
    image: Any = pyvips.Image.new_from_file(str(path))
    return image.get("n-pages")


@pytest.mark.parametrize("size", [(1, 700), (254, 1100), (255, 1017), (600, 800), (900, 513)])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_a_wide_deep_zoom_picture_is_that_of_libvips(
    tmp_path: Path, is_wide: Any, size: tuple[int, int], has_alpha: bool
) -> None:
    given = picture(*size, 3, np.uint8, has_alpha=has_alpha)
    write(given, tmp_path / "usual.dzi")
    is_wide(size[1] // 3 * 3)
    write(given, tmp_path / "wide.dzi")
    usual, wide = (sorted_tiles(tmp_path / f"{name}_files") for name in ("usual", "wide"))
    assert wide.keys() == usual.keys()
    for name in usual:
        pixels = [pyvips.Image.new_from_file(str(tiles[name])).numpy().astype(int) for tiles in (usual, wide)]
        assert pixels[0].shape == pixels[1].shape, name
        if has_alpha:
            assert np.abs((pixels[0] - pixels[1]) * (pixels[0][..., 3:] / 255)).max() <= 2
        else:
            # Where a level differs the tiles' compression makes a few of it.
            assert np.abs(pixels[0] - pixels[1]).mean() <= 0.1, name
    told = [re.sub(r"\s+", " ", (tmp_path / f"{name}.dzi").read_text()) for name in ("usual", "wide")]
    assert told[0] == told[1]


def sorted_tiles(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.dzi"])
def test_of_a_wide_picture_that_does_not_come_to_its_end_nothing_is_left(
    tmp_path: Path, is_wide: Any, name: str
) -> None:
    is_wide(0)
    header = Header(
        height=600,
        width=600,
        has_alpha=False,
        template=Image(pixels=np.zeros((1, 1, 3), np.uint8)),
        value_range=(0, 255),
    )
    with (
        suppress(KeyboardInterrupt),
        ImageWriter(tmp_path / name, header, layout=TiffLayout.PYRAMID) as writer,
    ):
        writer.append(Band(noise(300, 600, 3), None))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_a_wide_png_with_a_sentence(
    tmp_path: Path, is_wide: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_wide(0)

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("swinir.imaging.wide_png.WidePng._write", refuse)
    with pytest.raises(ImageWriteError, match="No space left"):
        write(picture(50, 40, 3, np.uint8, has_alpha=False), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "kind",
    [
        (1, np.uint8, False),
        (3, np.uint8, True),
        (3, np.uint16, False),
        (1, np.uint16, True),
        (3, np.float32, False),
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        {"compression": "none", "tile_height": 32},
        {"compression": "none", "tile_height": 64, "bigtiff": True},
        {"compression": "deflate", "tile_height": 7, "predictor": "none"},
        {"compression": "deflate", "tile_height": 70, "predictor": "horizontal"},
        {"compression": "lzw", "tile_height": 16},
        {"compression": "lzw", "tile_height": 7, "predictor": "horizontal", "bigtiff": True},
        {"compression": "packbits", "tile_height": 16},
    ],
)
def test_rows_of_wide_strips_are_those_of_the_picture(
    tmp_path: Path, is_wide: Any, kind: tuple[int, Any, bool], options: dict[str, Any]
) -> None:
    channels, dtype, has_alpha = kind
    path = tmp_path / "given.tif"
    made = pyvips.Image.new_from_array(noise(70, 90, channels + has_alpha, dtype))
    names = ("b-w", "grey16") if channels == 1 else ("srgb", "rgb16")
    made = made.copy(interpretation=names[dtype is np.uint16])
    if dtype == np.float32 and options.get("predictor") == "horizontal":
        options = {**options, "predictor": "float"}
    made.tiffsave(str(path), **options)
    whole = imaging.read(path)
    is_wide(0)
    with ImageReader(path) as reader:
        bands = [reader.rows(2, 40), reader.rows(40, 41), reader.rows(41, 70)]
        header = reader.header
    np.testing.assert_array_equal(np.concatenate([band.pixels for band in bands]), whole.pixels[2:])
    assert header.has_alpha == has_alpha
    for band, rows in zip(bands, (slice(2, 40), slice(40, 41), slice(41, 70)), strict=True):
        if band.alpha is not None and whole.alpha is not None:
            np.testing.assert_array_equal(band.alpha, whole.alpha[rows])


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "none", "tile_height": 32},
        {"compression": "lzw", "tile_height": 16},
        {"compression": "deflate", "tile": True, "tile_width": 16, "tile_height": 16},
    ],
)
@pytest.mark.parametrize("has_alpha", [False, True])
def test_the_range_of_wide_floats_is_that_of_the_picture(
    tmp_path: Path, is_wide: Any, options: dict[str, Any], has_alpha: bool
) -> None:
    path = tmp_path / "given.tif"
    pixels = 3 * noise(70, 90, 3 + has_alpha, np.float32) - 1
    pixels[[5, 60], 7, 1] = np.nan, np.inf
    pyvips.Image.new_from_array(pixels).copy(interpretation="srgb").tiffsave(str(path), **options)
    read: list[tuple[Any, ...]] = []
    for num_bytes in (2**20, 0):
        is_wide(num_bytes)
        with ImageReader(path) as reader:
            header, band = reader.header, reader.rows(0, 70)
        read.append((header.value_range, header.template.notes, header.is_grey, band.pixels.tolist()))
    assert read[0] == read[1]
    assert read[0][1][0].startswith("2 values that are not finite")


# libvips halves the colours' resolution below 90.
@pytest.mark.parametrize("quality", [70, 95])
def test_rows_of_wide_strips_by_jpeg_are_those_of_the_picture(
    tmp_path: Path, is_wide: Any, quality: int
) -> None:
    path = tmp_path / "given.tif"
    made = pyvips.Image.new_from_array(noise(70, 90, 3)).copy(interpretation="srgb")
    made.tiffsave(str(path), compression="jpeg", tile_height=16, Q=quality)
    whole = imaging.read(path)
    is_wide(0)
    with ImageReader(path) as reader:
        np.testing.assert_array_equal(reader.rows(3, 70).pixels, whole.pixels[3:])


def save_drawing(path: Path, *, mode: str, **options: Any) -> None:
    """Save a picture of a kind that libvips does not write."""
    levels = 2 if mode == "1" else options.get("colors", 256)
    values = np.random.default_rng(3).integers(0, levels, (70, 93), np.uint8)
    if mode == "P":
        drawn = PIL.Image.fromarray(values).convert("P")
        drawn.putpalette([*np.random.default_rng(4).integers(0, 256, 768, np.uint8)])
        drawn.save(path, bits=options.get("bits", 8), **options.get("saved", {}))
    elif mode == "RGB":
        pixels = np.stack([values, values, values // 128], axis=2)
        PIL.Image.fromarray(pixels).save(path, **options["saved"])
    else:
        PIL.Image.fromarray(values * (255 if mode == "1" else 1)).convert(mode).save(path)


@pytest.mark.parametrize(
    "kind",
    [
        (1, np.uint8, "b-w"),
        (2, np.uint8, "b-w"),
        (3, np.uint8, "srgb"),
        (4, np.uint8, "srgb"),
        (1, np.uint16, "grey16"),
        (2, np.uint16, "grey16"),
        (3, np.uint16, "rgb16"),
        (4, np.uint16, "rgb16"),
    ],
)
@pytest.mark.parametrize("filters", ["none", "sub", "up", "avg", "paeth", "all"])
def test_rows_of_a_wide_png_are_those_of_the_picture(
    tmp_path: Path, is_wide: Any, monkeypatch: pytest.MonkeyPatch, kind: tuple[int, Any, str], filters: str
) -> None:
    values, dtype, interpretation = kind
    path = tmp_path / "given.png"
    # Smooth enough that filters differ.
    pixels = np.cumsum(noise(70, 93, values, dtype) % 9, axis=1, dtype=dtype)
    made = pyvips.Image.new_from_array(pixels).copy(interpretation=interpretation)
    made.pngsave(str(path), filter=filters)
    check_png_rows(path, is_wide, monkeypatch)


@pytest.mark.parametrize(
    "drawing",
    [
        {"mode": "1"},
        {"mode": "P"},
        {"mode": "P", "bits": 4, "colors": 16},
        {"mode": "P", "bits": 1, "colors": 2},
        {"mode": "P", "saved": {"transparency": bytes(range(256))}},
        {"mode": "RGB", "saved": {"transparency": (7, 7, 0)}},
    ],
    ids=str,
)
def test_rows_of_a_wide_drawing_are_those_of_the_picture(
    tmp_path: Path, is_wide: Any, monkeypatch: pytest.MonkeyPatch, drawing: dict[str, Any]
) -> None:
    save_drawing(tmp_path / "given.png", **drawing)
    check_png_rows(tmp_path / "given.png", is_wide, monkeypatch)


def check_png_rows(path: Path, is_wide: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare rows of a file of 70 rows, in blocks of 7, with the whole."""
    whole = imaging.read(path)
    with ImageReader(path) as reader:
        monkeypatch.setattr("swinir.imaging.png_blocks._BLOCK_BYTES", 7 * reader.header.row_bytes)
    is_wide(0)
    opened: list[int] = []
    real_open = PngBlocks.open
    monkeypatch.setattr(PngBlocks, "open", lambda self, index: opened.append(index) or real_open(self, index))
    with ImageReader(path) as reader:
        opened.clear()
        bands = [reader.rows(*rows) for rows in ((2, 20), (20, 21), (37, 70))]
    assert opened == [0, 1, 2, *range(5, 10)]
    for band, rows in zip(bands, (slice(2, 20), slice(20, 21), slice(37, 70)), strict=True):
        np.testing.assert_array_equal(band.pixels, whole.pixels[rows])
        assert (band.alpha is None) == (whole.alpha is None)
        if band.alpha is not None and whole.alpha is not None:
            np.testing.assert_array_equal(band.alpha, whole.alpha[rows])


@pytest.mark.parametrize("damage", ["cut", "flipped", "end"])
def test_a_wide_png_that_is_damaged_is_an_error(tmp_path: Path, is_wide: Any, damage: str) -> None:
    path = tmp_path / "given.png"
    pyvips.Image.new_from_array(noise(70, 90, 3)).copy(interpretation="srgb").pngsave(str(path))
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[9000] ^= 255
    path.write_bytes(data[: {"cut": 9000, "flipped": None, "end": -20}[damage]])
    is_wide(0)
    with pytest.raises(ImageReadError), ImageReader(path) as reader:
        reader.rows(0, 70)


@pytest.mark.parametrize("compression", ["none", "deflate"])
def test_a_wide_strip_that_is_cut_short_is_an_error(tmp_path: Path, is_wide: Any, compression: str) -> None:
    path = tmp_path / "given.tif"
    pyvips.Image.new_from_array(noise(70, 90, 3)).copy(interpretation="srgb").tiffsave(
        str(path), compression=compression, tile_height=70
    )
    with path.open("r+b") as file:
        data = file.read()
        file.seek(8)
        file.truncate(8)
        file.write(b"\0" * 1000 + data[9000:])
    is_wide(0)
    with pytest.raises(ImageReadError), ImageReader(path) as reader:
        reader.rows(0, 70)


def test_large_strips_of_which_the_last_is_low_are_read(tmp_path: Path) -> None:
    path = tmp_path / "given.tif"
    values = pyvips.Image.xyz(9_000, 5_000) % 251
    values.bandjoin(values[0]).cast("uchar").copy(interpretation="srgb").tiffsave(
        str(path), tile_height=4_000
    )
    last = np.stack([np.arange(9_000) % 251, np.full(9_000, 4_999 % 251), np.arange(9_000) % 251], axis=1)
    np.testing.assert_array_equal(imaging.read(path).pixels[-1], last)
    with ImageReader(path) as reader:
        np.testing.assert_array_equal(reader.rows(4_999, 5_000).pixels[0], last)


TIFF_CASES = {
    # Colours times opacity, which libtiff says and libvips undoes.
    "premultiplied": {"extrasamples": 1},
    # libtiff looks at it only where strips are compressed.
    "predictor": {"predictor": 2},
    # libtiff finds them where there is one strip.
    "empty lengths": {"lengths": 0, "rows": 70},
    "no lengths": {"lengths": None, "rows": 70},
}


def write_tiff(path: Path, pixels: np.ndarray, changes: dict[str, Any]) -> None:
    """Write strips that are not compressed, as no library does."""
    height, width, values = pixels.shape
    rows = changes.get("rows", 32)
    strips = [pixels[top : top + rows].tobytes() for top in range(0, height, rows)]
    places = np.cumsum([8, *map(len, strips)])
    entries = {
        256: (3, [width]),
        257: (3, [height]),
        258: (3, [8] * values),
        259: (3, [1]),
        262: (3, [2]),
        273: (4, places[:-1].tolist()),
        277: (3, [values]),
        278: (3, [rows]),
    }
    lengths = [len(strip) for strip in strips]
    if changes.get("lengths", 1) is not None:
        entries[279] = (4, [length * changes.get("lengths", 1) for length in lengths])
    if values == 4:
        entries[338] = (3, [changes.get("extrasamples", 2)])
    if "predictor" in changes:
        entries[317] = (3, [changes["predictor"]])
    directory_at = int(places[-1])
    long_at = directory_at + 2 + 12 * len(entries) + 4
    directory, longs = struct.pack("<H", len(entries)), b""
    for tag, (kind, numbers) in sorted(entries.items()):
        packed = struct.pack(f"<{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(packed) > 4:
            longs, packed = longs + packed, struct.pack("<I", long_at + len(longs))
        directory += struct.pack("<HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0")
    path.write_bytes(
        struct.pack("<2sHI", b"II", 42, directory_at) + b"".join(strips) + directory + bytes(4) + longs
    )


@pytest.mark.parametrize("name", TIFF_CASES)
def test_wide_strips_are_read_as_libtiff_reads_them(tmp_path: Path, is_wide: Any, name: str) -> None:
    path = tmp_path / "given.tif"
    pixels = noise(70, 90, 4)
    pixels[..., :3] = np.minimum(pixels[..., :3], pixels[..., 3:])
    write_tiff(path, pixels, TIFF_CASES[name])
    whole = imaging.read(path)
    is_wide(0)
    with ImageReader(path) as reader:
        band = reader.rows(1, 70)
    np.testing.assert_array_equal(band.pixels, whole.pixels[1:])
    assert band.alpha is not None
    assert whole.alpha is not None
    np.testing.assert_array_equal(band.alpha, whole.alpha[1:])


@pytest.mark.parametrize("height", [0, 1])
def test_a_page_without_rows_is_an_error(tmp_path: Path, height: int) -> None:
    path = tmp_path / "given.tif"
    write_tiff(path, noise(32, 90, 4), {})
    data = bytearray(path.read_bytes())
    place = data.index(struct.pack("<HHIH", 257, 3, 1, 32)) + 8
    data[place : place + 2] = struct.pack("<H", height)
    path.write_bytes(data)
    if height:
        assert imaging.read(path).height == 1
        return
    for read in (imaging.read, ImageReader):
        with pytest.raises(ImageReadError):
            read(path)


@pytest.mark.parametrize("rows_per_strip", [7, 16, 61, 70])
def test_strips_that_are_cut_are_read_to_their_ends(
    tmp_path: Path, is_wide: Any, monkeypatch: pytest.MonkeyPatch, rows_per_strip: int
) -> None:
    monkeypatch.setattr("swinir.imaging.strip_blocks._BLOCK_BYTES", 4 * 90 * 3)
    pixels = noise(70, 90, 3)
    for compression in ("none", "deflate"):
        path = tmp_path / f"{compression}.tif"
        made = pyvips.Image.new_from_array(pixels).copy(interpretation="srgb")
        made.tiffsave(str(path), compression=compression, predictor="horizontal", tile_height=rows_per_strip)
        is_wide(0)
        with ImageReader(path) as reader:
            parts = [reader.rows(top, bottom).pixels for top, bottom in ((3, 5), (30, 31), (31, 70))]
        np.testing.assert_array_equal(np.concatenate(parts), pixels[[3, 4, *range(30, 70)]])


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_behind_damage_no_rows_are_returned(tmp_path: Path, is_wide: Any, name: str) -> None:
    path = tmp_path / name
    made = pyvips.Image.new_from_array(noise(70, 90, 3)).copy(interpretation="srgb")
    if name == "a.png":
        made.pngsave(str(path), compression=0)
    else:
        made.tiffsave(str(path), compression="lzw", tile_height=8)
    data = path.read_bytes()
    path.write_bytes(data[:5000] + bytes(3000) + data[8000:])
    is_wide(0)
    with ImageReader(path) as reader:
        for rows in ((0, 40), (40, 70)):
            with pytest.raises(ImageReadError, match="cannot be read"):
                reader.rows(*rows)


def test_a_wide_png_with_a_wrong_checksum_is_an_error_that_says_so(tmp_path: Path, is_wide: Any) -> None:
    path = tmp_path / "given.png"
    pyvips.Image.new_from_array(noise(70, 90, 3)).copy(interpretation="srgb").pngsave(str(path))
    data = bytearray(path.read_bytes())
    # Behind the last chunk of pixels.
    data[-16] ^= 1
    path.write_bytes(data)
    is_wide(0)
    with pytest.raises(ImageReadError, match="a chunk of pixels is damaged"), ImageReader(path) as reader:
        reader.rows(0, 70)


def test_reading_wide_files_leaves_nothing_open(tmp_path: Path, is_wide: Any) -> None:
    made = pyvips.Image.new_from_array(noise(70, 90, 3, np.float32)).copy(interpretation="scrgb")
    made.tiffsave(str(tmp_path / "a.tif"), compression="lzw", tile_height=8)
    made.tiffsave(str(tmp_path / "b.tif"), tile=True, tile_width=16, tile_height=16)
    made.cast("uchar").copy(interpretation="srgb").pngsave(str(tmp_path / "c.png"))
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "damaged.tif").write_bytes(data[:2000] + bytes(5000) + data[7000:])
    is_wide(0)
    remembered = pyvips.vips_lib.vips_cache_get_max()
    gc.disable()
    try:
        before = psutil.Process().num_fds()
        for path in sorted(tmp_path.iterdir()):
            with suppress(ImageReadError), ImageReader(path) as reader:
                reader.rows(0, 70)
        assert psutil.Process().num_fds() == before
    finally:
        gc.enable()
    assert pyvips.vips_lib.vips_cache_get_max() == remembered
