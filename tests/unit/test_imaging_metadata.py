"""EXIF, XMP, IPTC, profile and resolution: kept, and true of the new picture."""

import struct
from dataclasses import replace
from io import BytesIO

import numpy as np
import PIL.Image
import pytest
import pyvips

from swinir.imaging import Image, Metadata, encode, read
from swinir.imaging.iptc import iptc_from_photoshop, photoshop_from_iptc
from swinir.imaging.jpeg import APP1, EXIF_PREFIX, insert_segments, packed_segment
from swinir.imaging.png import insert_chunks
from swinir.imaging.text import Text
from swinir.imaging.tiff import exif_resolution, upright_exif
from swinir.imaging.xmp import upright_xmp

SHORT, LONG, ASCII, RATIONAL, UNDEFINED = 3, 4, 2, 5, 7
MAKER_NOTE = b"maker's own, with offsets into the record"
IPTC = b"\x1c\x02\x78\x00\x05hello"
WITH_EXIF = ["jpg", "png", "webp", "tif", "avif"]


def exif_record(order: str, orientation: int = 1, *, has_thumbnail: bool = False) -> bytes:
    """An EXIF record as a camera writes it: make, orientation, date, size, maker note, place."""

    def directory(start: int, entries: list[tuple[int, int, int, bytes]], following: int = 0) -> bytes:
        table = struct.pack(order + "H", len(entries))
        values, place = b"", start + 2 + 12 * len(entries) + 4
        for tag, kind, count, data in entries:
            table += struct.pack(order + "HHI", tag, kind, count)
            if len(data) <= 4:
                table += data.ljust(4, b"\0")
            else:
                table += struct.pack(order + "I", place + len(values))
                values += data + b"\0" * (len(data) % 2)
        return table + struct.pack(order + "I", following) + values

    def short(value: int) -> bytes:
        return struct.pack(order + "H", value)

    date = b"2020:01:02 03:04:05\0"
    exif = [
        (0x9003, ASCII, len(date), date),
        (0x927C, UNDEFINED, len(MAKER_NOTE), MAKER_NOTE),
        (0xA002, SHORT, 1, short(32)),
        (0xA003, SHORT, 1, short(24)),
    ]
    latitude = struct.pack(order + "6I", 52, 1, 30, 1, 3, 2)
    gps = [(1, ASCII, 2, b"N\0"), (2, RATIONAL, 3, latitude)]
    exif_start = 8
    exif_bytes = directory(exif_start, exif)
    gps_start = exif_start + len(exif_bytes)
    gps_bytes = directory(gps_start, gps)
    first_start = gps_start + len(gps_bytes)
    first = [
        (0x010F, ASCII, 9, b"Maker Co\0"),
        (0x0112, SHORT, 1, short(orientation)),
        (0x8769, LONG, 1, struct.pack(order + "I", exif_start)),
        (0x8825, LONG, 1, struct.pack(order + "I", gps_start)),
    ]
    thumbnail_start = first_start + len(directory(first_start, first))
    first_bytes = directory(first_start, first, thumbnail_start if has_thumbnail else 0)
    thumbnail = directory(thumbnail_start, [(0x0103, SHORT, 1, short(6))]) if has_thumbnail else b""
    start = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, first_start)
    return start + exif_bytes + gps_bytes + first_bytes + thumbnail


def insert_jpeg_exif(source: BytesIO, target: BytesIO, exif: bytes) -> None:
    insert_segments(source, target, [packed_segment(APP1, EXIF_PREFIX + exif)])


def picture(height: int = 24, width: int = 32) -> np.ndarray:
    """No two of its eight orientations look alike."""
    pixels = np.full((height, width, 3), 128, np.uint8)
    pixels[: height // 3] = (250, 10, 10)
    pixels[:, : width // 5] = (10, 250, 10)
    pixels[2 * height // 3 :, 3 * width // 4 :] = (10, 10, 250)
    return pixels


def fields(data: bytes) -> dict[str, str]:
    """EXIF as libexif, which is not ours, reads it; without the explanations in brackets."""
    opened = pyvips.Image.new_from_buffer(data, "")
    return {
        name.split("-", 2)[2]: str(opened.get(name)).split(" (")[0]
        for name in opened.get_fields()
        if name.startswith("exif-ifd")
    }


def as_stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """What a camera held that way stores, by libvips, which is not ours."""
    height, width, bands = upright.shape
    image = pyvips.Image.new_from_memory(
        np.ascontiguousarray(upright).data, width, height, bands, "uchar"
    ).copy(interpretation="srgb")
    undo = {
        1: lambda i: i,
        2: lambda i: i.fliphor(),
        3: lambda i: i.rot180(),
        4: lambda i: i.flipver(),
        5: lambda i: i.rot90().fliphor(),
        6: lambda i: i.rot270(),
        7: lambda i: i.rot270().fliphor(),
        8: lambda i: i.rot90(),
    }
    return undo[orientation](image).numpy()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_orientation_is_applied_exactly_once(orientation, order):
    stored = Image(pixels=as_stored(picture(), orientation))
    bare, _ = encode(stored, "png")
    file = BytesIO()
    insert_chunks(BytesIO(bare), file, [(b"eXIf", exif_record(order, orientation))])
    once = read(file.getvalue())
    np.testing.assert_array_equal(once.pixels, picture())
    again, _ = encode(once, "png")
    assert fields(again)["Orientation"] == "1"
    np.testing.assert_array_equal(read(again).pixels, picture())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_tiff_file_is_applied_too(orientation):
    stored = as_stored(picture(), orientation)
    image = pyvips.Image.new_from_memory(stored.data, stored.shape[1], stored.shape[0], 3, "uchar").copy(
        interpretation="srgb"
    )
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    image.set_type(pyvips.GValue.gint_type, "exif-ifd0-Orientation", orientation)
    again = read(image.tiffsave_buffer())
    np.testing.assert_array_equal(again.pixels, picture())


def test_alpha_turns_with_the_colours():
    alpha = picture()[:, :, 0].copy()
    stored = as_stored(np.dstack([picture(), alpha]), 6)
    bare, _ = encode(Image(pixels=stored[:, :, :3].copy(), alpha=stored[:, :, 3].copy()), "png")
    file = BytesIO()
    insert_chunks(BytesIO(bare), file, [(b"eXIf", exif_record("<", 6))])
    np.testing.assert_array_equal(read(file.getvalue()).alpha, alpha)


@pytest.mark.parametrize("suffix", WITH_EXIF)
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_survives_and_tells_the_new_size(suffix, order):
    bare, _ = encode(Image(pixels=picture()), "jpg")
    file = BytesIO()
    insert_jpeg_exif(BytesIO(bare), file, exif_record(order, 1, has_thumbnail=True))
    image = read(file.getvalue())
    enlarged = image.with_pixels(np.repeat(np.repeat(image.pixels, 2, axis=0), 2, axis=1), None)
    data, notes = encode(enlarged, suffix)
    assert notes == ()
    # libvips does not read EXIF of TIFF files: carry it through a PNG to see it.
    seen = fields(encode(read(data), "png")[0] if suffix == "tif" else data)
    wanted = {
        "Make": "Maker Co",
        "DateTimeOriginal": "2020:01:02 03:04:05",
        "GPSLatitudeRef": "N",
        "GPSLatitude": "52/1 30/1 3/2",
        "PixelXDimension": "64",
        "PixelYDimension": "48",
    }
    assert {name: seen[name] for name in wanted} == wanted
    assert seen.get("Orientation", "1") == "1"
    assert "Compression" not in seen


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_exif_is_kept_to_the_byte_where_nothing_changed(suffix):
    record = exif_record(">")
    image = Image(pixels=picture(), metadata=Metadata(exif=record))
    kept = read(encode(image, suffix)[0]).metadata.exif
    assert kept is not None
    # The size is written as a longer integer in the place of the shorter.
    assert len(kept) == len(record)
    assert kept[kept.index(MAKER_NOTE) :] == record[record.index(MAKER_NOTE) :]


def test_exif_too_long_for_jpeg_is_left_out_and_said():
    image = Image(pixels=picture(), metadata=Metadata(exif=exif_record("<") + bytes(70_000)))
    data, notes = encode(image, "jpg")
    assert len(notes) == 1
    assert "more than JPEG can hold" in notes[0]
    np.testing.assert_allclose(read(data).pixels[0, 31], picture()[0, 31], atol=4)


@pytest.mark.parametrize("record", [b"garbage", b"MM\0*\0\0\xff\xff", b"II*\0\x08\0\0\0\xff\xff", b""])
def test_damaged_exif_is_recognised(record):
    assert upright_exif(record) is None


def test_damaged_exif_in_a_file_is_left_out_and_said():
    bare, _ = encode(Image(pixels=picture()), "jpg")
    file = BytesIO()
    insert_jpeg_exif(BytesIO(bare), file, b"MM\0*\0\0\xff\xff")
    assert read(file.getvalue()).notes == ("EXIF was left out, for it is damaged.",)


def test_the_thumbnail_is_cut_off_and_the_rest_stays_in_place():
    record = exif_record(">", 6, has_thumbnail=True)
    upright = upright_exif(record)
    assert upright is not None
    assert upright == upright_exif(upright)
    assert len(upright) == len(record)
    # Orientation, and the pointer to the thumbnail's directory.
    assert sum(a != b for a, b in zip(record, upright, strict=True)) <= 5


def test_xmp_is_kept_and_its_orientation_is_upright():
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/>'
        b"<tiff:Orientation> 8</tiff:Orientation></x:xmpmeta>"
    )
    assert upright_xmp(xmp) == xmp.replace(b'"6"', b'"1"').replace(b" 8", b" 1")
    image = Image(pixels=picture(), metadata=Metadata(xmp=upright_xmp(xmp)))
    for suffix in WITH_EXIF:
        assert read(encode(image, suffix)[0]).metadata.xmp == upright_xmp(xmp)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
@pytest.mark.parametrize("iptc", [IPTC, IPTC + b"x", IPTC * 100])
def test_iptc_survives_where_it_can(suffix, iptc):
    image = Image(pixels=picture(), metadata=Metadata(iptc=iptc))
    data, notes = encode(image, suffix)
    assert notes == ()
    assert read(data).metadata.iptc == iptc


@pytest.mark.parametrize("suffix", ["png", "webp", "avif"])
def test_iptc_is_missed_where_it_cannot(suffix):
    _, notes = encode(Image(pixels=picture(), metadata=Metadata(iptc=IPTC)), suffix)
    assert any("cannot hold IPTC" in note for note in notes)


def test_iptc_is_found_behind_other_resources_of_photoshop():
    other = b"8BIM" + struct.pack(">H", 0x040C) + b"\x03abc" + struct.pack(">I", 4) + b"8BI!"
    block = b"Photoshop 3.0\0" + other + photoshop_from_iptc(IPTC).removeprefix(b"Photoshop 3.0\0")
    assert iptc_from_photoshop(block) == IPTC
    assert iptc_from_photoshop(b"Photoshop 3.0\0" + other) is None
    assert iptc_from_photoshop(b"8BIM\x04\x04") is None


@pytest.mark.parametrize("suffix", WITH_EXIF)
@pytest.mark.parametrize("exif", [None, exif_record(">")])
def test_resolution_survives_with_and_without_exif(suffix, exif):
    image = Image(pixels=picture(), metadata=Metadata(exif=exif, resolution=(300 / 25.4, 200 / 25.4)))
    kept = read(encode(image, suffix)[0]).metadata.resolution
    assert kept == pytest.approx((300 / 25.4, 200 / 25.4), rel=1e-3)


def test_resolution_turns_with_the_picture():
    bare, _ = encode(Image(pixels=picture(), metadata=Metadata(resolution=(10.0, 20.0))), "png")
    file = BytesIO()
    insert_chunks(BytesIO(bare), file, [(b"eXIf", exif_record("<", 6))])
    turned = read(file.getvalue())
    assert turned.metadata.resolution == pytest.approx((20.0, 10.0), rel=1e-3)
    data, _ = encode(turned, "jpg")
    assert read(data).metadata.resolution == pytest.approx((20.0, 10.0), rel=1e-3)


def test_resolution_may_be_in_centimetres_or_missing():
    assert exif_resolution(exif_record("<")) is None
    assert exif_resolution(b"garbage") is None


def profile_of(name: str) -> bytes:
    image = pyvips.Image.profile_load(name)
    return bytes(image)


@pytest.mark.parametrize("suffix", WITH_EXIF)
@pytest.mark.parametrize("name", ["srgb", "p3"])
def test_colour_profile_is_kept_to_the_byte(suffix, name):
    profile = profile_of(name)
    data, notes = encode(Image(pixels=picture(), profile=profile), suffix)
    assert notes == ()
    assert read(data).profile == profile


def test_a_profile_for_other_colours_is_left_out_and_said():
    note = "The colour profile was left out, for it does not fit the pixels."
    fitting = encode(Image(pixels=picture(), profile=profile_of("srgb")), "jpg")[0]
    again = read(fitting.replace(b"mntrRGB ", b"mntrGRAY"))
    assert (again.profile, again.notes) == (None, (note,))
    data, notes = encode(Image(pixels=picture(), profile=profile_of("cmyk")), "jpg")
    assert notes == (note,)
    assert b"ICC_PROFILE" not in data


def test_gif_takes_the_colours_of_the_profile_and_says_so():
    green = np.zeros((8, 8, 3), np.uint8)
    green[:, :, 1] = 200
    data, notes = encode(Image(pixels=green, profile=profile_of("p3")), "gif")
    assert "GIF cannot hold this colour profile: the colours were converted to sRGB." in notes
    # P3's green is greener than sRGB can show: nearest is a brighter level.
    assert read(data).pixels[0, 0, 1] > 200


def test_what_a_tiff_file_says_of_its_picture_is_carried_to_jpeg():
    image = Image(pixels=picture(), metadata=Metadata(exif=exif_record(">"), iptc=IPTC))
    through_tiff = read(encode(image, "tif")[0])
    data, notes = encode(replace(through_tiff, alpha=None), "jpg")
    assert notes == ()
    assert fields(data)["Make"] == "Maker Co"
    assert MAKER_NOTE in data
    assert read(data).metadata.iptc == IPTC


def test_gif_keeps_xmp_and_comments() -> None:
    metadata = Metadata(xmp=b"<x:xmpmeta>" + bytes(range(32, 256)) * 9 + b"</x:xmpmeta>")
    metadata = replace(metadata, texts=(Text("Comment", "first " * 100), Text("Title", "second")))
    image = Image(pixels=np.zeros((5, 7, 3), np.uint8), metadata=metadata)
    data, notes = encode(image, "gif")
    assert not any("left out" in note for note in notes)
    again = read(data)
    assert again.metadata.xmp == metadata.xmp
    assert [text.text for text in again.metadata.texts] == ["first " * 100, "Title: second"]
    # What passes over blocks comes to the picture behind them.
    with PIL.Image.open(BytesIO(data)) as opened:
        opened.load()
        assert opened.size == (7, 5)


def test_xmp_that_a_png_keeps_compressed_is_no_text() -> None:
    image = pyvips.Image.black(4, 4).copy()
    image.set_type(pyvips.GValue.blob_type, "xmp-data", "<x:xmpmeta>ü</x:xmpmeta>".encode())
    image = read(image.pngsave_buffer())
    assert image.metadata.texts == ()
    assert image.metadata.xmp == "<x:xmpmeta>ü</x:xmpmeta>".encode()
